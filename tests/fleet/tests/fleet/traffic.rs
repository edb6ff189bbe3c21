//! Visitors through everything that is done with an environment: none is lost.

use std::process::Command;

use onward_cli_tests::binary;
use onward_fleet_tests::{Line, eventually, is_long};

const THREE: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\"] }, \
                     { name = \"one\", roles = [\"web\"] }, { name = \"two\", roles = [\"web\"] }";

/// The same command with another program.
fn with_program(line: &Line, program: &std::path::Path, arguments: &[&str]) {
    let own = line.project.command(arguments);
    let mut command = Command::new(program);
    command.args(arguments).current_dir(line.project.path()).env_clear();
    command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.output().expect("the binary runs");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

#[test]
fn nobody_is_lost_in_deploys_rollbacks_scales_and_upgrades_of_onward() {
    let Some(line) = Line::of_hello(THREE, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    let rebuilt = line.rebuilt();
    let visitors = line.visitors("front");
    let mut visitors = Some(visitors);
    let mut unlost = |what: &str| {
        if visitors.as_ref().is_some_and(|own| own.losses() > 0) {
            let seen = visitors.take().expect("they are there").end();
            panic!("after {what}: {:?}", seen.reasons());
        }
    };
    for round in 0..if is_long() { 20 } else { 1 } {
        for command in
            [&["deploy", "--force"][..], &["scale", "web=2"], &["rollback"], &["scale", "web=1"]]
        {
            line.onward(command);
            unlost(&format!("{command:?} of round {round}"));
        }
        let programs = [&rebuilt, &binary()];
        with_program(&line, programs[round % 2], &["agent", "upgrade"]);
        unlost(&format!("the upgrade of round {round}"));
    }
    // The other build is what runs, and is spoken to by that of the command.
    line.onward(&["deploy", "--force"]);
    line.settled();
    unlost("the last deploy");
    let visitors = visitors.expect("nothing was lost");
    line.run("front", "systemctl stop onward-http.socket 'onward-proxy@*'");
    eventually("a loss is counted, a control", || visitors.losses() > 0);
    let seen = visitors.end();
    assert!(seen.answers.len() > 500, "a control: {} answers", seen.answers.len());
    assert!(seen.answers.iter().any(|answer| answer.release >= 2), "a control");
}
