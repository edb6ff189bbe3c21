//! What people and machines read of certificates.

use jiff::{SignedDuration, Timestamp};
use onward_core::document::Document;
use onward_core::https::{Certificate, Https};
use serde_json::{Value, json};

use super::numbers;

/// How long something is, for people: days from two days on.
pub fn long(time: SignedDuration) -> String {
    let time = time.unsigned_abs();
    let days = time.as_secs() / (24 * 3600);
    if days >= 2 { numbers::count(days, "day") } else { numbers::duration(time) }
}

/// Whether something renews certificates without a command: the manager of servers behind SSH.
pub fn renews_itself(document: &Document) -> bool {
    let has_authority = document.https.as_ref().is_some_and(|own| own.authority.is_some());
    has_authority && document.servers.values().any(|server| server.reach.is_some())
}

/// What `status` says about certificates, one line each; `now` is the present.
pub fn lines(document: &Document, now: Timestamp) -> Vec<String> {
    let Some(https) = &document.https else { return Vec::new() };
    let wanted = document.https_names();
    let certificate = |own: &Certificate| {
        let left = long(own.not_after.duration_since(now));
        let (names, issuer) = (own.names.join(", "), &own.issuer);
        if own.not_after <= now {
            return format!("{names}: ended {left} ago ({issuer})");
        }
        let renewal = match (renews_itself(document), own.timer_at() > now) {
            (true, true) => {
                format!(", renewed by itself in {}", long(own.timer_at().duration_since(now)))
            }
            _ => String::new(),
        };
        format!("{names}: good for {left}{renewal} ({issuer})")
    };
    let mut lines: Vec<String> = https.certificates.values().map(certificate).collect();
    let missing = wanted.iter().filter(|name| https.certificate(name).is_none());
    lines.extend(missing.map(|name| format!("{name}: no certificate yet")));
    lines.extend(https.attempts.keys().filter_map(|name| {
        let (problem, again) = problem(document, name, now)?;
        Some(format!("{name}: {problem}{again}"))
    }));
    lines
}

/// What went wrong last with a name, and when it is tried again without anybody.
fn problem(document: &Document, name: &str, now: Timestamp) -> Option<(String, String)> {
    let attempt = document.https.as_ref()?.attempts.get(name)?;
    if attempt.problem.is_empty() {
        return None;
    }
    let again = match (renews_itself(document), attempt.next > now) {
        (false, _) => String::new(),
        (true, true) => {
            format!("; tried again by itself in {}", long(attempt.next.duration_since(now)))
        }
        (true, false) => "; tried again by itself".to_owned(),
    };
    Some((attempt.problem.clone(), again))
}

/// What is wrong with certificates, one sentence each.
pub fn degraded(document: &Document, now: Timestamp) -> Vec<String> {
    let Some(https) = &document.https else { return Vec::new() };
    let mut lines = Vec::new();
    for name in document.https_names() {
        let failed = problem(document, &name, now);
        let why = failed.as_ref().map(|(why, again)| format!(": {why}{again}")).unwrap_or_default();
        match https.certificate(&name) {
            None => lines.push(format!("{name} has no certificate{why}")),
            Some(own) if own.not_after <= now => {
                let ago = long(own.not_after.duration_since(now));
                lines.push(format!("the certificate of {name} ended {ago} ago{why}"));
            }
            Some(own)
                if is_late(own, https, now) || (failed.is_some() && own.renew_at() <= now) =>
            {
                let left = long(own.not_after.duration_since(now));
                lines.push(format!("the certificate of {name} is not renewed, {left} left{why}"));
            }
            Some(_) => {}
        }
    }
    lines
}

/// Whether half of the time for its renewal is over: whoever should renew it does not.
fn is_late(own: &Certificate, https: &Https, now: Timestamp) -> bool {
    let left = own.not_after.duration_since(own.renew_at());
    let late = own.not_after.saturating_sub(left / 2).unwrap_or(own.not_after);
    https.authority.is_some() && late <= now
}

/// What changed with certificates from one generation to the next, one sentence each.
pub fn changes(before: Option<&Document>, after: &Document) -> Vec<String> {
    let Some(https) = &after.https else { return Vec::new() };
    let earlier = before.and_then(|document| document.https.as_ref());
    let now = after.written;
    let mut lines = Vec::new();
    for (first, own) in &https.certificates {
        if earlier.and_then(|earlier| earlier.certificates.get(first)) == Some(own) {
            continue;
        }
        let (names, by) = (own.names.join(", "), &own.by);
        let left = long(own.not_after.duration_since(now));
        lines.push(format!("{names} has a new certificate, good for {left}, by {by}"));
    }
    for (name, own) in &https.attempts {
        if earlier.and_then(|earlier| earlier.attempts.get(name)) == Some(own) {
            continue;
        }
        if own.problem.is_empty() {
            lines.push(format!("the authority is asked for a certificate of {name}"));
            continue;
        }
        let left = https.certificate(name).map(|own| own.not_after.duration_since(now));
        let left = match left {
            Some(left) if left.is_positive() => format!(", {} left", long(left)),
            Some(left) => format!(", the old one ended {} ago", long(left)),
            None => String::new(),
        };
        lines.push(format!("{name} has no new certificate{left}: {}", own.problem));
    }
    let asked = https.challenges.iter().filter(|(token, _)| {
        earlier.is_none_or(|earlier| !earlier.challenges.contains_key(*token))
    });
    lines.extend(asked.map(|(_, own)| format!("the authority looks where {} leads", own.name)));
    lines
}

/// The certificates of a document, for machines.
pub fn as_json(document: &Document) -> Value {
    let Some(https) = &document.https else { return json!([]) };
    let by_itself = renews_itself(document);
    let one = |own: &Certificate| {
        json!({
            "names": own.names, "issuer": own.issuer, "not_before": own.not_before,
            "not_after": own.not_after, "renew_at": own.renew_at(), "by": own.by,
            "renewed_by_itself_at": by_itself.then(|| own.timer_at()),
        })
    };
    https.certificates.values().map(one).collect()
}

#[cfg(test)]
mod tests {
    use onward_core::https::{Authority, Challenge};
    use onward_core::model::WriteId;
    use onward_core::secrets::SecretVersion;

    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn certificate(until: i64, by: &str) -> Certificate {
        Certificate {
            names: vec!["a.example".into()],
            chain: String::new(),
            key: SecretVersion(1),
            not_before: at(until - 90 * 24),
            not_after: at(until),
            issuer: "test".into(),
            by: by.into(),
        }
    }

    #[test]
    fn generations_say_what_became_of_certificates() {
        let (app, environment) = ("shop".parse().unwrap(), "lab".parse().unwrap());
        let empty = Document::first(app, environment, WriteId::new("w"), at(0));
        assert!(changes(None, &empty).is_empty());
        let mut asked = empty.clone();
        let authority = Authority { directory: "https://a".into(), email: None, ca: None };
        let https = asked.https.get_or_insert_default();
        https.authority = Some(authority);
        https.succeeded(certificate(24 * 20, "ana"));
        let new = "a.example has a new certificate, good for 20 days, by ana";
        assert_eq!(changes(Some(&empty), &asked), [new]);
        assert!(changes(Some(&asked), &asked).is_empty());

        let mut trying = asked.clone();
        let https = trying.https.as_mut().unwrap();
        https.begin_try("a.example", at(0), 0);
        let challenge = Challenge { name: "a.example".into(), answer: "x".into(), until: at(1) };
        https.challenges.insert("token".into(), challenge);
        assert_eq!(
            changes(Some(&asked), &trying),
            [
                "the authority is asked for a certificate of a.example",
                "the authority looks where a.example leads"
            ]
        );
        let mut failed = trying.clone();
        failed.https.as_mut().unwrap().failed("a.example", "nobody is there");
        assert_eq!(
            changes(Some(&trying), &failed),
            ["a.example has no new certificate, 20 days left: nobody is there"]
        );
    }
}
