//! Files on their way to servers over a slow line.

use std::process::Command;

use onward_fleet_tests::{Line, eventually, server};

const ALONE: &str = "{ name = \"alone\" }";
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
    let sent = deploy.stdout.lines().find(|line| line.contains("\"sent\"")).expect("it is told");
    let sent: serde_json::Value = serde_json::from_str(sent).expect("JSON");
    let sent = sent["bytes"].as_u64().expect("a number") >> 20;
    assert!(sent < NOISE_MIB as u64 - 6, "{sent} MiB were sent, {there} were there");
    assert_eq!(line.settled(), 2);
}
