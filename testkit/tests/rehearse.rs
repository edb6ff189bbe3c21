//! A project's rehearsal: what it tells is what happens, and it tells it the same way every time.

use std::collections::{BTreeMap, BTreeSet};

use onward_core::document::Server;
use onward_core::model::{Config, Process, Run, ServerName, Stop};
use onward_testkit::sim::rehearse::{Act, Rehearsal, Story, Then};
use onward_testkit::sim::{Fault, Plan};

fn process(run: &str) -> Process {
    let stop = Stop { signal: "TERM".to_owned(), within_ms: 10_000 };
    Process {
        run: Run::Command(run.to_owned()),
        probe: None,
        stop,
        overlap: false,
        limits: onward_core::model::Limits::default(),
        count: 1,
        total: None,
        on: BTreeSet::new(),
    }
}

fn rehearsal(servers: usize) -> Rehearsal {
    let processes = [("web", process("./web")), ("worker", process("./worker"))];
    let config = Config {
        processes: processes.map(|(name, own)| (name.parse().expect("a name"), own)).into(),
        release_command: Some("./migrate".to_owned()),
        watch_ms: 10_000,
        warm_ms: 600_000,
        ..Config::default()
    };
    let roles: BTreeSet<_> = ["web", "worker"].map(|role| role.parse().expect("a role")).into();
    let servers: BTreeMap<ServerName, Server> = (0..servers)
        .map(|n| {
            let name = format!("server-{n}").parse().expect("a name");
            (name, Server { address: format!("10.0.0.{n}"), roles: roles.clone(), reach: None })
        })
        .collect();
    Rehearsal::new(&config, &servers).expect("few servers")
}

fn plain(act: Act) -> Story {
    Story { act, plan: Plan::none() }
}

#[test]
fn acts_in_which_nothing_goes_wrong_come_to_what_they_are() {
    for servers in [1, 2, 5] {
        let rehearsal = rehearsal(servers);
        for act in Act::ALL {
            let told = rehearsal.tell(&plain(act), false);
            let then = match act {
                Act::NeverReady | Act::DiesInWatch => Then::TakenBack,
                _ => Then::Done,
            };
            assert_eq!(told.then, then, "{act:?} with {servers}: {:?}", told.reason);
            assert_eq!(told.violation, None);
            // Instances that die after the switch leave their server without an answer.
            if act != Act::DiesInWatch {
                assert_eq!(told.dark_ms, 0, "{act:?} with {servers}");
            }
        }
    }
}

#[test]
fn one_server_without_power_is_dark_and_one_of_two_is_not() {
    let dark = |servers| {
        let rehearsal = rehearsal(servers);
        let stories = rehearsal.stories(0);
        let power = stories.iter().filter(|story| {
            story.act == Act::Deploy && story.plan.faults.values().eq([&Fault::HostReboot])
        });
        power.map(|story| rehearsal.tell(story, false).dark_ms).max().unwrap_or_default()
    };
    assert!(dark(1) > 0, "a rehearsal sees that nothing answers");
    assert_eq!(dark(2), 0);
}

#[test]
fn whatever_goes_wrong_once_nothing_is_left_half_done() {
    let rehearsal = rehearsal(2);
    let stories = rehearsal.stories(0);
    assert!(stories.len() > 2_000, "{} stories", stories.len());
    for story in stories.iter().step_by(7) {
        let told = rehearsal.tell(story, false);
        assert_eq!(told.violation, None, "{story}");
    }
}

#[test]
fn a_story_reads_what_it_wrote_and_goes_the_same_way() {
    let rehearsal = rehearsal(2);
    for story in rehearsal.stories(0).iter().step_by(501) {
        let again: Story = story.to_string().parse().expect("a story");
        assert_eq!(again, *story);
        let told = rehearsal.tell(story, true);
        assert_eq!(told.trace.hash(), rehearsal.tell(&again, true).trace.hash(), "{story}");
    }
    for text in ["", "deploy/x", "sing/1:LostAck"] {
        assert!(text.parse::<Story>().is_err(), "{text}");
    }
}
