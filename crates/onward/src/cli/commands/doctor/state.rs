//! The state document: damage, clocks, what is in flight, what waits.

use jiff::{SignedDuration, Timestamp};
use onward_core::document::Document;
use onward_core::ports::StoreError;
use onward_core::secrets::Secrets;

use super::check::Check;
use crate::cli::certified;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::fleet;
use crate::cli::lost;
use crate::cli::outcome;

/// Machines whose clocks agree better than this are said to agree.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(5);

/// Looks at the state.
pub fn checks(context: &Context) -> Vec<Check> {
    let broken = |complaint: Complaint| {
        vec![Check::broken("state", complaint.what, complaint.hints.join("; "))]
    };
    let stored = match context.read() {
        Ok(Some(stored)) => stored,
        Ok(None) => match lost::must_not_be(context) {
            Ok(()) => return vec![Check::fine("state", "nothing has been released here yet")],
            Err(complaint) => return broken(complaint),
        },
        Err(StoreError::Unavailable { .. }) if context.is_carried_on() => {
            let manager = context.ways().map(|ways| ways.manager().name().to_string());
            let manager = manager.unwrap_or_default();
            return vec![Check::broken(
                "state",
                format!("not seen: {manager} keeps it, and cannot be asked"),
                format!("mend the way to {manager} first"),
            )];
        }
        Err(error) => return broken(error.into()),
    };
    let document = &*stored.document;
    let mut checks = vec![at_rest(document), clock(document.written, Timestamp::now())];
    checks.extend(document.secrets.as_ref().map(readers));
    checks.extend(certificates(document, Timestamp::now()));
    for (server, report) in fleet::reports(context, Some(document)) {
        let Some(first) = report.as_ref().and_then(|report| report.waiting.first()) else {
            continue;
        };
        let place = if document.servers.len() > 1 { format!("{server}: ") } else { String::new() };
        checks.push(Check::warning(
            "waiting",
            format!("{place}{}: {}", first.what, first.why),
            "`onward status` shows all that waits, `onward logs` what it printed",
        ));
    }
    checks
}

fn at_rest(document: &Document) -> Check {
    match &document.operation {
        Some(operation) => Check::warning(
            "state",
            format!("operation {} is in flight: {}", operation.number, operation.phase.title()),
            "`onward up` carries it on, `onward abort` stops one that is not decided",
        ),
        None => Check::fine(
            "state",
            format!("generation {}, {}", document.generation, outcome::serves(document, None)),
        ),
    }
}

/// Secrets that one person alone can read are lost with that person's key.
fn readers(secrets: &Secrets) -> Check {
    let readers = secrets.operators.len();
    if readers > 1 {
        return Check::fine("secrets", format!("{readers} keys can read them"));
    }
    let who = secrets.operators.values().next().map_or("nobody", |own| own.name.as_str());
    Check::warning(
        "secrets",
        format!("only the key of {who} can read them: lost with it, they are lost"),
        "`onward secret share PUBLIC_KEY` lets somebody else read them too",
    )
}

/// Certificates that are missing, or end although they should have been renewed.
fn certificates(document: &Document, now: Timestamp) -> Vec<Check> {
    let Some(https) = &document.https else { return Vec::new() };
    let fix = "`onward certificate renew` asks at once and tells what it finds; its name has to lead \
               here, and port 80 has to be open to the authority";
    let bad = certified::degraded(document, now);
    let ending = https
        .certificates
        .values()
        .filter(|own| own.not_after > now && own.renew_at() <= now && https.authority.is_none());
    let brought = ending.map(|own| {
        let text = format!(
            "{}: ends in {}",
            own.names.join(", "),
            certified::long(own.not_after.duration_since(now))
        );
        Check::warning("https", text, "put a new one in its place, then `onward up`")
    });
    let mut checks: Vec<Check> =
        bad.into_iter().map(|text| Check::warning("https", text, fix)).chain(brought).collect();
    if checks.is_empty() && !https.certificates.is_empty() {
        checks.push(Check::fine("https", certified::lines(document, now).join("; ")));
    }
    checks
}

/// A document from the future was written by a machine whose clock is ahead, or ours is behind.
fn clock(written: Timestamp, now: Timestamp) -> Check {
    let ahead = written.duration_since(now);
    if ahead <= CLOCK_TOLERANCE {
        return Check::fine("clock", now.strftime("%Y-%m-%d %H:%M:%SZ").to_string());
    }
    Check::warning(
        "clock",
        format!("the state was written {} s in the future", ahead.as_secs()),
        "set the clock: `timedatectl set-ntp true`; safety does not hang on it, times that you read do",
    )
}

#[cfg(test)]
mod tests {
    use super::super::check::Verdict;
    use super::*;

    #[test]
    fn a_state_from_the_future_warns() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let later = now + SignedDuration::from_secs(60);
        assert_eq!(clock(later, now).verdict, Verdict::Warning);
        assert_eq!(clock(now, later).verdict, Verdict::Fine);
    }
}
