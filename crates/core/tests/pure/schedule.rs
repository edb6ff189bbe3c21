//! When schedules run next.

use jiff::Timestamp;
use onward_core::model::{Schedule, Stop, When};
use onward_core::schedule::Timing;

fn schedule(when: When, zone: Option<&str>) -> Schedule {
    Schedule {
        run: "true".to_owned(),
        when,
        zone: zone.map(str::to_owned),
        within_ms: 60_000,
        late_ms: 3_600_000,
        stop: Stop { signal: "TERM".to_owned(), within_ms: 10_000 },
        on: Vec::new(),
    }
}

/// The next runs after a moment.
fn runs(when: When, zone: &str, after: &str, count: usize) -> Vec<String> {
    let timing = Timing::of(&schedule(when, Some(zone))).expect("a legal schedule");
    let mut at: Timestamp = after.parse().expect("a moment");
    let mut found = Vec::new();
    for _ in 0..count {
        at = timing.next(at).expect("there is always a next one");
        found.push(at.to_string());
    }
    found
}

fn at(text: &str) -> When {
    When::At(text.to_owned())
}

fn cron(text: &str) -> When {
    When::Cron(text.to_owned())
}

#[test]
fn a_time_of_day_is_one_of_the_zone() {
    let found = runs(at("03:15"), "Asia/Kolkata", "2026-01-01T00:00:00Z", 2);
    assert_eq!(found, ["2026-01-01T21:45:00Z", "2026-01-02T21:45:00Z"]);
    let found = runs(at("Mon,Thu 03:15"), "UTC", "2026-01-01T03:15:00Z", 3);
    assert_eq!(found, ["2026-01-05T03:15:00Z", "2026-01-08T03:15:00Z", "2026-01-12T03:15:00Z"]);
    let found = runs(at("Fri-Sun 00:00"), "UTC", "2026-01-01T00:00:00Z", 4);
    let days = ["2026-01-02", "2026-01-03", "2026-01-04", "2026-01-09"];
    assert_eq!(found, days.map(|day| format!("{day}T00:00:00Z")));
}

#[test]
fn every_is_a_multiple_since_1970() {
    let found = runs(When::Every(900_000), "UTC", "2026-01-01T10:07:00.5Z", 2);
    assert_eq!(found, ["2026-01-01T10:15:00Z", "2026-01-01T10:30:00Z"]);
}

#[test]
fn cron_has_lists_ranges_steps_and_names() {
    let cases: [(&str, &[&str]); 7] = [
        ("*/20 9 * * *", &["2026-01-01T09:00:00Z", "2026-01-01T09:20:00Z"]),
        ("5/25 * * * *", &["2026-01-01T00:05:00Z", "2026-01-01T00:30:00Z", "2026-01-01T00:55:00Z"]),
        ("0 0 1 Feb,mar *", &["2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"]),
        ("0 12 * * 7", &["2026-01-04T12:00:00Z"]),
        ("0 12 * * 0", &["2026-01-04T12:00:00Z"]),
        // Either kind of day will do when both are given.
        ("0 0 13 * Fri", &["2026-01-02T00:00:00Z", "2026-01-09T00:00:00Z", "2026-01-13T00:00:00Z"]),
        ("0 0 29 2 *", &["2028-02-29T00:00:00Z"]),
    ];
    for (text, expected) in cases {
        let found = runs(cron(text), "UTC", "2026-01-01T00:00:00Z", expected.len());
        assert_eq!(found, expected, "{text}");
    }
}

/// Berlin: 2026-03-29 02:00 becomes 03:00, 2026-10-25 03:00 becomes 02:00.
#[test]
fn a_time_that_clocks_leave_out_runs_later_on_that_day() {
    let found = runs(at("02:30"), "Europe/Berlin", "2026-03-28T02:00:00Z", 2);
    assert_eq!(found, ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]);
}

#[test]
fn a_time_that_clocks_show_twice_runs_once() {
    let found = runs(at("02:30"), "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
    assert_eq!(found, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
}

#[test]
fn what_runs_every_hour_follows_the_clock_as_it_goes() {
    let found = runs(cron("30 * * * *"), "Europe/Berlin", "2026-03-29T00:00:00Z", 3);
    assert_eq!(found, ["2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z"]);
    let found = runs(cron("30 * * * *"), "Europe/Berlin", "2026-10-25T00:00:00Z", 3);
    assert_eq!(found, ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:30:00Z"]);
    // Half an hour is the jump of Lord Howe.
    let found = runs(cron("*/30 * * * *"), "Australia/Lord_Howe", "2026-04-04T14:00:00Z", 4);
    let times = ["14:30", "15:00", "15:30", "16:00"];
    assert_eq!(found, times.map(|time| format!("2026-04-04T{time}:00Z")));
}

#[test]
fn of_several_that_were_missed_the_last_is_known() {
    let timing = Timing::of(&schedule(cron("*/5 * * * *"), None)).unwrap();
    let moment = |text: &str| text.parse::<Timestamp>().unwrap();
    let (after, until) = (moment("2026-01-01T00:00:00Z"), moment("2026-01-01T01:02:00Z"));
    assert_eq!(timing.last_between(after, until), Some(moment("2026-01-01T01:00:00Z")));
    assert_eq!(timing.last_between(after, moment("2026-01-01T00:04:00Z")), None);
}

#[test]
fn other_texts_are_refused_with_their_reason() {
    let cases = [
        (at("3:15"), "not a time of day"),
        (at("24:00"), "not a time of day"),
        (at("noon"), "not a time of day"),
        (at("Funday 03:15"), "`Funday` is not a day of the week"),
        (at("Mon  03:15"), "more than days and a time"),
        (cron("* * * *"), "4 fields instead of five"),
        (cron("60 * * * *"), "`60` is not a minute"),
        (cron("*/0 * * * *"), "`*/0` is not a minute"),
        (cron("5-1 * * * *"), "`5-1` is not a minute"),
        (cron("0 0 30 2 *"), "never comes true"),
        (cron("0 0 , * *"), "`` is not a day of the month"),
        (When::Every(0), "no time at all"),
    ];
    for (when, expected) in cases {
        let refused = Timing::of_when(&when).unwrap_err();
        assert_eq!(refused.label, expected, "{when:?}");
        assert!(!refused.help.is_empty());
    }
    assert!(onward_core::schedule::zone("Mars/Olympus").is_err());
}
