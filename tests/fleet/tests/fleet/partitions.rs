//! A server that is cut off, in each phase and in each direction.

use std::io::{BufRead, BufReader};
use std::process::Child;
use std::thread;

use onward::providers::nspawn::{Cut, End};
use onward_cli_tests::Outcome;
use onward_fleet_tests::{Line, eventually, is_long, server};

const TWO: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\", \"web\"] }, \
                   { name = \"two\", roles = [\"web\"] }";

/// How packets to and from `two` are lost.
#[derive(Debug, Clone, Copy)]
enum Way {
    Both,
    /// It hears, and is not heard.
    Out,
    /// It is heard, and does not hear.
    In,
}

fn cut(line: &Line, way: Way) {
    let two = server("two");
    let cut = match way {
        Way::Both => return line.lab().cut_off(&two).expect("cut"),
        Way::Out => Cut { from: End::Server(two), to: End::Everyone },
        Way::In => Cut { from: End::Everyone, to: End::Server(two) },
    };
    line.lab().cut(cut).expect("cut");
}

/// Runs a deploy, and does something when its output says that it has come to a phase.
fn deploy_until(line: &Line, arguments: &[&str], phase: &str, then: impl FnOnce()) -> Outcome {
    let mut deploy: Child = line.project.start(arguments);
    let stderr = deploy.stderr.take().expect("it is piped");
    let stderr = thread::spawn(move || std::io::read_to_string(stderr).unwrap_or_default());
    let began = std::time::Instant::now();
    let (mut stdout, mut then) = (String::new(), Some(then));
    for text in BufReader::new(deploy.stdout.take().expect("it is piped")).lines() {
        let text = text.expect("text");
        if text.contains(phase)
            && let Some(then) = then.take()
        {
            then();
        }
        stdout += &text;
        stdout.push('\n');
    }
    let code = deploy.wait().expect("it ends").code();
    assert!(then.is_none(), "it never came to {phase:?}: {stdout}");
    let stderr = stderr.join().expect("text");
    Outcome { code, stdout, stderr, took: began.elapsed() }
}

/// Before the decision nothing has changed for anybody, and nothing does.
fn before_the_decision(line: &Line, way: Way, phase: &str) {
    let before = line.settled();
    let deploy = deploy_until(line, &["deploy", "--force"], phase, || cut(line, way));
    assert!([Some(1), Some(3)].contains(&deploy.code), "{way:?}, {phase}: {deploy:?}");
    assert!(deploy.stderr.contains("two"), "{way:?}, {phase}: {deploy:?}");
    assert!(line.visit("front").contains(&format!("release {before} ")), "{way:?}, {phase}");
    line.lab().heal().expect("healed");
    line.onward(&["up"]);
    line.settled();
}

/// After it everything goes forward, without the server until that is back.
fn after_the_decision(line: &Line, way: Way, phase: &str) {
    let before = line.settled();
    let deploy = deploy_until(line, &["deploy", "--force"], phase, || cut(line, way));
    assert_eq!(deploy.code, Some(4), "{way:?}, {phase}: {deploy:?}");
    let status = line.project.status();
    let degraded = status["degraded"].to_string();
    assert!(degraded.contains("two"), "{way:?}, {phase}: {status:#}");
    let visitors = line.visitors("front");
    line.lab().heal().expect("healed");
    line.onward(&["up"]);
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{way:?}, {phase}: {:?}", seen.reasons());
    assert!(line.settled() > before, "{way:?}, {phase}");
    assert!(line.visit("two").contains(&format!("release {} ", line.settled())));
}

#[test]
fn a_server_that_is_cut_off_before_the_decision_stops_the_release() {
    let Some(line) = Line::of_hello(TWO, "[release]\nwatch = \"1s\"\nrun = \"sleep 1\"") else {
        return;
    };
    line.onward(&["up"]);
    before_the_decision(&line, Way::Both, "release command");
    if is_long() {
        for way in [Way::Both, Way::Out, Way::In] {
            for phase in ["staging files", "release command", "starting and probing"] {
                before_the_decision(&line, way, phase);
            }
        }
    }
    // One that nobody reaches when a deploy begins.
    cut(&line, Way::Out);
    let refused = line.project.run(&["deploy", "--force"]);
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("--without two"), "{refused:?}");
    let went = line.project.run(&["deploy", "--force", "--without", "two"]);
    assert!([Some(0), Some(4)].contains(&went.code), "{went:?}");
    let release = line.project.status()["release"]["number"].as_u64().expect("a release");
    let visitors = line.visitors("front");
    line.lab().heal().expect("healed");
    line.onward(&["up"]);
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    assert!(line.settled() >= release);
}

#[test]
fn a_server_that_is_cut_off_after_the_decision_catches_up() {
    let Some(line) = Line::of_hello(TWO, "[release]\nwatch = \"2s\"") else { return };
    line.onward(&["up"]);
    after_the_decision(&line, Way::In, "watching the new version");
    if is_long() {
        for way in [Way::Both, Way::Out, Way::In] {
            for phase in ["switching traffic", "watching the new version"] {
                after_the_decision(&line, way, phase);
            }
        }
    }
    eventually("it is as demanded", || line.status_of("two")["release"] == line.settled());
}
