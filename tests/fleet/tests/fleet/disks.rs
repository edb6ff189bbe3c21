//! A disk that is full.

use onward::providers::nspawn::ServerSpec;
use onward_fleet_tests::{Line, server};

const ALONE: &str = "{ name = \"small\" }";
/// Room for Debian, onward and what it keeps, and little more.
const DISK_MIB: u32 = 400;

fn small() -> Option<Line> {
    let line = Line::of_hello(ALONE, "[release]\nwatch = \"1s\"")?;
    line.boot(&[ServerSpec { name: server("small"), disk_mib: Some(DISK_MIB) }]);
    line.onward(&["up"]);
    Some(line)
}

/// Takes all room but so many MiB.
fn fill(line: &Line, left_mib: u32) {
    line.run(
        "small",
        &format!(
            "sync; free=$(df -m --output=avail /var/lib/onward | tail -1); \
             fallocate -l $((free - {left_mib}))M /var/fill || true"
        ),
    );
}

fn noise(line: &Line, mib: usize) {
    let mut state = 1_u64;
    let bytes: Vec<u8> = std::iter::repeat_with(|| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(mib << 20)
    .collect();
    std::fs::write(line.project.path().join("noise"), bytes).expect("a file");
}

#[test]
fn a_release_that_has_no_room_is_refused_before_it_travels() {
    let Some(line) = small() else { return };
    noise(&line, 48);
    fill(&line, 30);
    let visitors = line.visitors("small");
    let refused = line.project.run(&["deploy"]);
    assert!([Some(1), Some(3)].contains(&refused.code), "{refused:?}");
    for text in ["small", "needed", "free"] {
        assert!(refused.stderr.contains(text), "{text} in {}", refused.stderr);
    }
    let free = line.run("small", "df -m --output=avail /var/lib/onward | tail -1");
    let free: u32 = free.trim().parse().expect("a number");
    assert!(free > 20, "nothing travelled: {free} MiB are free");
    assert_eq!(line.settled(), 1);
    line.run("small", "rm /var/fill");
    line.onward(&["deploy"]);
    assert_eq!(line.settled(), 2);
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
}

#[test]
fn a_document_that_cannot_be_written_leaves_what_serves_and_the_next_command_goes_on() {
    let Some(line) = small() else { return };
    let visitors = line.visitors("small");
    // To the last byte: not even what onward keeps back is left.
    line.run("small", "cat /dev/zero > /var/fill 2> /dev/null; sync; cat /dev/zero >> /var/fill 2> /dev/null; true");
    let failed = line.project.run(&["deploy", "--force"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.to_lowercase().contains("space"), "{}", failed.stderr);
    line.run("small", "rm /var/fill");
    line.onward(&["deploy", "--force"]);
    line.settled();
    let log = line.onward(&["state", "log"]);
    assert!(!log.stdout.contains("damaged"), "{}", log.stdout);
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
}
