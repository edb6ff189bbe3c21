use super::due::pause;
use super::*;

fn at(hours: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH.saturating_add(SignedDuration::from_hours(hours)).unwrap()
}

fn certificate(names: &[&str], until: i64) -> Certificate {
    Certificate {
        names: names.iter().map(ToString::to_string).collect(),
        chain: String::new(),
        key: SecretVersion(1),
        not_before: at(0),
        not_after: at(until),
        issuer: "test".into(),
        by: "test".into(),
    }
}

fn with_authority() -> Https {
    let authority = Authority { directory: "https://a".into(), email: None, ca: None };
    Https { authority: Some(authority), ..Https::default() }
}

fn wanted(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

#[test]
fn a_third_of_its_life_before_its_end_it_is_due() {
    let mut https = with_authority();
    let wanted = wanted(&["a.example", "b.example"]);
    https.succeeded(certificate(&["a.example"], 90));
    let due = |https: &Https, hour| https.due(&wanted, at(hour), Asker::Person);
    let missing = ("b.example".to_owned(), Due::Missing);
    assert_eq!(due(&https, 59), std::slice::from_ref(&missing));
    assert_eq!(due(&https, 60), [("a.example".to_owned(), Due::Ending), missing]);
    https.succeeded(certificate(&["b.example"], 900));
    let next = https.next_due(&wanted).unwrap();
    assert!(at(60) <= next && next <= at(63), "{next}");
    assert!(https.due(&wanted, at(60), Asker::Timer).is_empty() || next == at(60));
    assert_eq!(https.due(&wanted, next, Asker::Timer).len(), 1);
    https.authority = None;
    assert_eq!((due(&https, 999), https.next_due(&wanted)), (vec![], None));
}

#[test]
fn failures_are_followed_by_pauses_that_double() {
    let mut https = with_authority();
    let wanted = wanted(&["a.example"]);
    let mut now = at(0);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        https.begin_try("a.example", now, 0);
        https.failed("a.example", "nobody is there");
        let next = https.next_due(&wanted).unwrap();
        pauses.push(next.duration_since(now).as_mins());
        assert!(https.due(&wanted, now, Asker::Timer).is_empty());
        now = next;
        assert_eq!(https.due(&wanted, now, Asker::Timer).len(), 1);
    }
    assert_eq!(pauses, [15, 30, 60, 120, 240, 480, 960, 1440, 1440]);
    https.succeeded(certificate(&["a.example"], 90_000));
    assert!(https.attempts.is_empty());
    for jitter in [0, 7, u64::MAX] {
        let spread = pause(3, jitter).as_mins();
        assert!((45..=60).contains(&spread), "{spread}");
    }
}

#[test]
fn nobody_asks_more_than_four_times_an_hour() {
    let mut https = with_authority();
    let wanted = wanted(&["a.example"]);
    let minute = |m: i64| at(0).saturating_add(SignedDuration::from_mins(m)).unwrap();
    let mut asked = Vec::new();
    for m in 0..130 {
        if !https.due(&wanted, minute(m), Asker::Person).is_empty() {
            https.begin_try("a.example", minute(m), 0);
            https.failed("a.example", "nobody is there");
            asked.push(m);
        }
    }
    assert_eq!(asked, [0, 1, 2, 3, 60, 61, 62, 63, 120, 121, 122, 123]);
}

#[test]
fn nobody_asks_for_a_name_that_somebody_is_asking_for() {
    let mut https = with_authority();
    let wanted = wanted(&["a.example"]);
    https.begin_try("a.example", at(0), 0);
    let until = https.under_way("a.example").unwrap();
    assert_eq!(until.duration_since(at(0)), TRY_WITHIN);
    let before = until.saturating_sub(SignedDuration::from_secs(1)).unwrap();
    for asker in [Asker::Person, Asker::Timer] {
        assert!(https.due(&wanted, before, asker).is_empty(), "{asker:?}");
    }
    // Whoever began it is gone.
    assert_eq!(https.due(&wanted, until, Asker::Person).len(), 1);
    assert_eq!(https.tried_by(&wanted, before).count(), 0, "it did not say");
    https.is_tried_by("a.example", Some("7".to_owned()));
    let tried: Vec<_> = https.tried_by(&wanted, before).collect();
    assert_eq!(tried, [(&"a.example".to_owned(), "7")]);
    assert_eq!(https.tried_by(&wanted, until).count(), 0);
    https.failed("a.example", "nobody is there");
    assert_eq!(https.tried_by(&wanted, before).count(), 0);
    assert_eq!(https.under_way("a.example"), None);
    assert_eq!(https.due(&wanted, before, Asker::Person).len(), 1);
}

#[test]
fn timers_spread_what_was_issued_at_once() {
    let names: Vec<String> = (0..100).map(|n| format!("{n}.example")).collect();
    let at_of = |name: &String| certificate(&[name.as_str()], 90).timer_at();
    let moments: BTreeSet<Timestamp> = names.iter().map(at_of).collect();
    assert!(moments.len() > 90, "{}", moments.len());
    assert!(moments.iter().all(|own| (at(60)..=at(63)).contains(own)), "{moments:?}");
    let (first, last) = (moments.first().unwrap(), moments.last().unwrap());
    assert!(last.duration_since(*first).as_hours() >= 2);
}

#[test]
fn a_certificate_takes_the_place_of_those_whose_names_it_has() {
    let mut https = with_authority();
    https.succeeded(certificate(&["a.example"], 9));
    https.succeeded(certificate(&["b.example", "c.example"], 9));
    https.succeeded(certificate(&["b.example"], 10));
    assert_eq!(https.certificate("b.example").unwrap().not_after, at(10));
    assert!(https.certificate("c.example").is_none(), "one first name has one certificate");
    https.succeeded(certificate(&["c.example", "b.example", "a.example"], 11));
    assert_eq!(https.certificates.len(), 1);
    https.succeeded(certificate(&["*.example"], 12));
    assert_eq!(https.certificate("x.example").unwrap().not_after, at(12));
    assert_eq!(https.certificate("a.example").unwrap().not_after, at(11));
    assert!(https.certificate("y.x.example").is_none() && https.certificate("example").is_none());
}

#[test]
fn what_nobody_needs_is_forgotten() {
    let mut https = with_authority();
    https.succeeded(certificate(&["a.example"], 9));
    https.succeeded(certificate(&["old.example"], 9));
    https.begin_try("old.example", at(0), 0);
    let challenge =
        |until| Challenge { name: "a.example".into(), answer: "x".into(), until: at(until) };
    https.challenges = [("one".into(), challenge(1)), ("two".into(), challenge(3))].into();
    https.forget(&wanted(&["a.example"]), at(2));
    assert_eq!(Vec::from_iter(https.certificates.keys()), ["a.example"]);
    assert_eq!(Vec::from_iter(https.challenges.keys()), ["two"]);
    assert!(https.attempts.is_empty());
}
