//! Getting certificates from an authority, from the document's decision to the servers that show
//! them; from a [`Seat`], which is a command or the manager.
//!
//! ```text
//! begin_try ─ write ─► ask the authority ─► challenge ─ write ─► orders ─► answered by every server
//!      that is reached ─► the authority looks ─► certificate ─ write ─► orders ─► shown
//! ```
//! Whoever dies in between leaves a try that counts, and a challenge that is forgotten in half an
//! hour. Two who do this at once get two certificates, and the later one is shown.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::engine;
use onward_core::https::{
    Account, Authority, CHALLENGE_WITHIN, Certificate, Challenge, Due, Https,
};
use onward_core::outcome::Outcome;
use onward_core::ports::StateStore;
use onward_core::report::Report;
use onward_core::secrets::SecretName;
use onward_secret::{Identity, Secret, open_value};

use super::acme::{Issued, Problem, Session};
use super::facts;
use super::seat::{Seat, keep};

/// The time that servers have to answer a challenge, or show a certificate.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(20);
/// The time that a server which does not answer is waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// The pause before a server that did not answer is asked again.
const SILENCE_PAUSE: Duration = Duration::from_millis(50);

/// What came of it.
#[derive(Debug, Default)]
pub struct Renewed {
    /// The names that have a new certificate.
    pub issued: Vec<String>,
    /// The names that have none, and why.
    pub failed: Vec<(String, String)>,
}

/// Asks for everything that is due: for these names, or all that the release answers to.
///
/// # Errors
/// When the state cannot be read or changed, or nobody here can open its key. What the authority
/// refuses is in the result, in the state, and told.
pub fn renew<S: Seat>(seat: &S, only: Option<&BTreeSet<String>>) -> Result<Renewed, S::Error> {
    let mut renewed = Renewed::default();
    let due = due(seat, only)?;
    if due.is_empty() {
        return Ok(renewed);
    }
    for (name, why) in due {
        if seat.is_over() {
            break;
        }
        seat.note(&match why {
            Due::Missing => format!("  getting a certificate for {name}"),
            Due::Ending => format!("  renewing the certificate of {name}"),
        });
        match issue(seat, &name)? {
            Ok(()) => renewed.issued.push(name),
            Err(Problem(text)) => {
                keep_failure(seat, &name, &text)?;
                renewed.failed.push((name, text));
            }
        }
    }
    seat.carry_on()?;
    if !renewed.issued.is_empty()
        && let Err(Problem(text)) =
            in_force(seat, |report| report.https.as_ref().is_some_and(|own| own.certificates))
    {
        seat.warn(&format!("the new certificate is not shown everywhere yet: {text}"));
    }
    Ok(renewed)
}

/// What is due now, of the names that are meant.
fn due<S: Seat>(seat: &S, only: Option<&BTreeSet<String>>) -> Result<Vec<(String, Due)>, S::Error> {
    let Some(stored) = seat.store().read()? else { return Ok(Vec::new()) };
    let Some(https) = &stored.document.https else { return Ok(Vec::new()) };
    let wanted = wanted(&stored.document, only);
    Ok(https.due(&wanted, Timestamp::now(), seat.asker()))
}

fn wanted(document: &Document, only: Option<&BTreeSet<String>>) -> BTreeSet<String> {
    let all = document.https_names();
    match only {
        Some(only) => all.intersection(only).cloned().collect(),
        None => all,
    }
}

/// One certificate, from the try that is kept to the certificate that is.
fn issue<S: Seat>(seat: &S, name: &str) -> Result<Result<(), Problem>, S::Error> {
    let Some((authority, identity)) = begin(seat, name)? else {
        return Ok(Err(Problem("somebody else asked for it a moment ago".to_owned())));
    };
    let session = match open(seat, &authority, &identity)? {
        Ok(session) => session,
        Err(problem) => return Ok(Err(problem)),
    };
    let pending = match session.begin(name) {
        Ok(pending) => pending,
        Err(problem) => return Ok(Err(problem)),
    };
    if let Some((token, answer)) = &pending.challenge {
        publish(seat, name, token, answer)?;
        seat.carry_on()?;
        let answers = |report: &Report| {
            report.https.as_ref().is_some_and(|own| own.challenges.contains(token))
        };
        if let Err(problem) = in_force(seat, answers) {
            return Ok(Err(problem));
        }
    }
    match session.finish(pending) {
        Ok(issued) => take_over(seat, name, &issued),
        Err(problem) => Ok(Err(problem)),
    }
}

/// Keeps that the authority is asked now; `None` when it is no longer due.
fn begin<S: Seat>(seat: &S, name: &str) -> Result<Option<(Authority, Identity)>, S::Error> {
    let jitter = Timestamp::now().subsec_nanosecond().unsigned_abs();
    let mut found = None;
    seat.change(&mut |document| {
        let now = Timestamp::now();
        let wanted = document.https_names();
        let https = document.https.get_or_insert_default();
        https.forget(&wanted, now);
        let is_due = !https.due(&BTreeSet::from([name.to_owned()]), now, seat.asker()).is_empty();
        found = None;
        let Some(authority) = https.authority.clone().filter(|_| is_due) else {
            return Ok(false);
        };
        https.begin_try(name, now, u64::from(jitter));
        let known = seat.secrets(document)?;
        found = Some((authority, seat.identity(known)?));
        Ok(true)
    })?;
    Ok(found)
}

/// The account at the authority; a new one is kept before it is used.
fn open<S: Seat>(
    seat: &S,
    authority: &Authority,
    identity: &Identity,
) -> Result<Result<Session, Problem>, S::Error> {
    let credentials = match credentials(seat, authority, identity)? {
        Ok(credentials) => credentials,
        Err(problem) => return Ok(Err(problem)),
    };
    let (session, made) = match Session::open(authority, credentials.as_ref()) {
        Ok(opened) => opened,
        Err(problem) => return Ok(Err(problem)),
    };
    if let Some(made) = made {
        seat.change(&mut |document| {
            let known = seat.secrets(document)?;
            let key = keep(known, &SecretName::acme_account(), made.expose(), &seat.by())?;
            let directory = authority.directory.clone();
            if let Some(https) = &mut document.https {
                https.account = Some(Account { directory, key });
            }
            Ok(true)
        })?;
    }
    Ok(Ok(session))
}

/// The credentials of the account that is known at this authority.
fn credentials<S: Seat>(
    seat: &S,
    authority: &Authority,
    identity: &Identity,
) -> Result<Result<Option<Secret>, Problem>, S::Error> {
    let Some(stored) = seat.store().read()? else { return Ok(Ok(None)) };
    let document = &*stored.document;
    let account = document.https.as_ref().and_then(|own| own.account.as_ref());
    let account = account.filter(|own| own.directory == authority.directory);
    let value = account.and_then(|own| {
        let value = document.secrets.as_ref()?.versions.get(&own.key)?;
        Some((own.key, value))
    });
    let Some((version, value)) = value else { return Ok(Ok(None)) };
    let opened = open_value(identity, &value.name, version, &value.sealed.text);
    Ok(opened.map(Some).map_err(|error| Problem(format!("the account: {error}"))))
}

fn publish<S: Seat>(seat: &S, name: &str, token: &str, answer: &str) -> Result<(), S::Error> {
    seat.change(&mut |document| {
        let until = Timestamp::now().saturating_add(CHALLENGE_WITHIN).unwrap_or(Timestamp::MAX);
        let challenge = Challenge { name: name.to_owned(), answer: answer.to_owned(), until };
        let https = document.https.get_or_insert_default();
        https.challenges.insert(token.to_owned(), challenge);
        Ok(true)
    })?;
    Ok(())
}

fn take_over<S: Seat>(
    seat: &S,
    name: &str,
    issued: &Issued,
) -> Result<Result<(), Problem>, S::Error> {
    let facts = match facts(&issued.chain) {
        Ok(facts) => facts,
        Err(why) => return Ok(Err(Problem(format!("what the authority issued: {why}")))),
    };
    if !facts.names.iter().any(|own| own == name) {
        return Ok(Err(Problem("the authority issued a certificate for another name".to_owned())));
    }
    let written = seat.change(&mut |document| {
        let known = seat.secrets(document)?;
        let key = keep(known, &SecretName::tls_key(), issued.key.expose().as_bytes(), &seat.by())?;
        let https = document.https.get_or_insert_default();
        https.succeeded(Certificate {
            names: facts.names.clone(),
            chain: issued.chain.clone(),
            key,
            not_before: facts.not_before,
            not_after: facts.not_after,
            issuer: facts.issuer.clone(),
            by: seat.by(),
        });
        Ok(true)
    })?;
    if let Some(document) = written {
        seat.kept(&document);
    }
    Ok(Ok(()))
}

fn keep_failure<S: Seat>(seat: &S, name: &str, problem: &str) -> Result<(), S::Error> {
    seat.change(&mut |document| {
        document.https.iter_mut().for_each(|https: &mut Https| https.failed(name, problem));
        Ok(true)
    })
    .map(drop)
}

/// Waits until every server that clients come to, and that is reached, is so; at least one has to be.
fn in_force<S: Seat>(seat: &S, is_so: impl Fn(&Report) -> bool) -> Result<(), Problem> {
    let failed = |error: &dyn std::fmt::Display| Problem(error.to_string());
    let stored = seat.store().read().map_err(|error| failed(&error))?;
    let stored = stored.ok_or_else(|| Problem("the state is gone".to_owned()))?;
    let document = &*stored.document;
    let links = seat.links(document)?;
    let mut reached = 0;
    for server in document.servers.keys().filter(|server| document.faces_clients(server)) {
        let (Some(link), Some(order)) = (links.get(server), engine::order(document, server)) else {
            continue;
        };
        let began = Instant::now();
        let mut seen: Option<Report> = None;
        loop {
            match link.deliver(&order, seen.as_ref()) {
                Outcome::Done(report) if is_so(&report) => {
                    reached += 1;
                    break;
                }
                Outcome::Done(report) if began.elapsed() > IN_FORCE_WITHIN => {
                    let why = report.waiting.iter().map(|own| format!("{}: {}", own.what, own.why));
                    let why = why.collect::<Vec<_>>().join("; ");
                    return Err(Problem(format!("{server} does not follow ({why})")));
                }
                Outcome::Done(report) => seen = Some(report),
                Outcome::Refused(_) | Outcome::Unknown(_) if began.elapsed() > ANSWERS_WITHIN => {
                    break;
                }
                Outcome::Refused(_) | Outcome::Unknown(_) => std::thread::sleep(SILENCE_PAUSE),
            }
        }
    }
    if reached == 0 { Err(Problem("no server can be reached".to_owned())) } else { Ok(()) }
}
