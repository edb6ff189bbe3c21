//! Files on their way to servers over a slow line.

use std::process::Command;

use onward_cli_tests::Outcome;
use onward_fleet_tests::{Line, eventually, server};
use serde_json::Value;

const ALONE: &str = "{ name = \"alone\" }";
const THREE: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\", \"web\"] }, \
                     { name = \"one\", roles = [\"web\"] }, { name = \"two\", roles = [\"web\"] }";
const PACKS: &str = "/var/lib/onward/bundles/packs";
const NOISE_MIB: usize = 24;

/// Lets only so much through from this machine to the servers.
fn slow(line: &Line, rate: &str) {
    let bridge = format!("ownsp-{}", line.lab().id());
    let tc = Command::new("tc")
        .args(["qdisc", "add", "dev", &bridge, "root", "tbf", "rate", rate])
        .args(["burst", "64kb", "latency", "200ms"])
        .status();
    assert!(tc.expect("tc runs").success());
}

fn noise(line: &Line) {
    let mut state = 7_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(NOISE_MIB << 20)
    .collect();
    std::fs::write(line.project.path().join("noise"), bytes).expect("a file");
}

fn arrived(line: &Line) -> u64 {
    let answer = line.ssh("alone").run(&format!("du -sm {PACKS} | cut -f1"));
    answer.stdout.trim().parse().unwrap_or(0)
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_was() {
    let Some(line) = Line::of_hello(ALONE, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    noise(&line);
    slow(&line, "40mbit");
    let deploy = line.project.start(&["deploy"]);
    eventually("a part of it is there", || arrived(&line) >= 8);
    line.lab().cut_off(&server("alone")).expect("cut");
    let broken = deploy.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&broken.stderr).into_owned();
    assert_eq!(broken.status.code(), Some(1), "{said}");
    assert!(said.contains("What arrived there stays"), "{said}");
    line.lab().heal().expect("healed");
    let there = arrived(&line);
    assert!((8..20).contains(&there), "a control: {there} MiB arrived");

    let deploy = line.onward(&["deploy", "--json"]);
    let sent = event(&deploy, "sent").expect("it is told")["bytes"].as_u64().expect("bytes") >> 20;
    assert!(sent < NOISE_MIB as u64 - 6, "{sent} MiB were sent, {there} were there");
    assert_eq!(line.settled(), 2);
}

#[test]
fn over_a_slow_line_the_manager_brings_files_on_to_the_others() {
    let Some(line) = Line::of_hello(THREE, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    // All three over a line that is fast enough: a control.
    line.project.write("change.txt", "a change\n");
    let quick = line.onward(&["deploy", "--json"]);
    assert!(event(&quick, "spread").is_none(), "{}", quick.stdout);

    noise(&line);
    slow(&line, "40mbit");
    let deploy = line.onward(&["deploy", "--json"]);
    let all = NOISE_MIB as u64;
    let spread = event(&deploy, "spread").expect("it is told");
    assert_eq!(spread["from"], "front");
    assert_eq!(spread["servers"], serde_json::json!(["one", "two"]));
    let sent = event(&deploy, "sent").expect("it is told")["bytes"].as_u64().expect("bytes") >> 20;
    eprintln!(
        "{sent} MiB over the slow line, {} MiB on from the manager, {:.1?}",
        spread["bytes"].as_u64().expect("bytes") >> 20,
        deploy.took
    );
    assert!((all..all * 2).contains(&sent), "{sent} MiB for three servers");
    assert_eq!(line.settled(), 3);
}

fn event(outcome: &Outcome, name: &str) -> Option<Value> {
    let events = outcome.stdout.lines().filter_map(|line| serde_json::from_str(line).ok());
    let mut named = events.filter(|event: &Value| event["event"] == name);
    named.next()
}
