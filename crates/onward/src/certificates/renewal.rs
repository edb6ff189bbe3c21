//! Getting certificates from an authority, from the document's decision to the servers that show
//! them; from a [`Seat`], which is a command or the manager.
//!
//! ```text
//! begin_try ─ write ─► ask the authority ─► challenge ─ write ─► orders ─► answered by every server
//!      that is reached ─► the authority looks ─► certificate ─ write ─► orders ─► shown
//! ```
//! The try that is written keeps others from asking meanwhile. Whoever dies in between leaves one
//! that counts, and a challenge that is forgotten in half an hour; on the same machine it is seen that
//! it died, elsewhere the try is believed for its time. Should two do this at once all
//! the same, they get two certificates, and the later one is shown.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::engine;
use onward_core::https::{
    Account, Asker, Authority, CHALLENGE_WITHIN, Certificate, Challenge, Due,
};
use onward_core::model::ServerName;
use onward_core::outcome::Outcome;
use onward_core::ports::{Link, StateStore};
use onward_core::report::Report;
use onward_core::secrets::SecretName;
use onward_secret::{Identity, Secret, open_value};
use onward_store::state::Documents;

use super::acme::{Issued, Problem, Session};
use super::facts;
use super::process;
use super::seat::{Seat, keep};
use crate::runner::Write;

/// The time that servers have to answer a challenge, or show a certificate.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(20);
/// The time that a server which does not answer is waited for.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// The pause before a server that did not answer is asked again.
const SILENCE_PAUSE: Duration = Duration::from_millis(50);
/// The time that a person waits for somebody else who is asking for the same name: an authority
/// takes seconds.
const OTHERS_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether the other one is done.
const OTHERS_PAUSE: Duration = Duration::from_millis(300);

/// What came of it.
#[derive(Debug, Default)]
pub struct Renewed {
    /// The names that have a new certificate.
    pub issued: Vec<String>,
    /// The names that have none, and why.
    pub failed: Vec<(String, String)>,
    /// The names that somebody else is asking for.
    pub elsewhere: Vec<String>,
}

/// Why there is no new certificate of a name.
enum Stop<E> {
    /// For a reason that is kept; the other names are asked for.
    Problem(Problem),
    /// Somebody else is asking for it.
    Elsewhere,
    /// Nothing can be asked for.
    Seat(E),
}

impl<E> From<Problem> for Stop<E> {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Asks for everything that is due: for these names, or all that the release answers to.
///
/// # Errors
/// When the state cannot be read or changed, or a person cannot open its key. What the authority
/// refuses is in the result, in the state, and told.
pub fn renew<S: Seat>(seat: &S, only: Option<&BTreeSet<String>>) -> Result<Renewed, S::Error> {
    let mut renewed = Renewed::default();
    give_up_for_the_dead(seat, only)?;
    if seat.asker() == Asker::Person {
        renewed.elsewhere = await_others(seat, only)?;
    }
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
        match issue(seat, &name) {
            Ok(()) => renewed.issued.push(name),
            Err(Stop::Elsewhere) => renewed.elsewhere.push(name),
            Err(Stop::Seat(error)) => return Err(error),
            Err(Stop::Problem(Problem(text))) => {
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

/// Ends the tries of processes of this machine that were ended in the middle of them.
fn give_up_for_the_dead<S: Seat>(
    seat: &S,
    only: Option<&BTreeSet<String>>,
) -> Result<(), S::Error> {
    let dead = |document: &Document| -> Vec<String> {
        let (names, now) = (wanted(document, only), Timestamp::now());
        let Some(https) = &document.https else { return Vec::new() };
        let tried = https.tried_by(&names, now).filter(|(_, own)| process::has_ended(own));
        tried.map(|(name, _)| name.clone()).collect()
    };
    let stored = seat.store().read()?;
    if stored.is_none_or(|stored| dead(&stored.document).is_empty()) {
        return Ok(());
    }
    let given_up = |document: &mut Document| {
        let dead = dead(document);
        for name in &dead {
            let https = document.https.get_or_insert_default();
            https.failed(name, "the command that asked for it was ended in the middle");
        }
        Ok(if dead.is_empty() { Write::No } else { Write::Yes })
    };
    seat.change(given_up).map(drop)
}

/// Waits for whoever is asking for the same names. Returns those that are still asked for.
fn await_others<S: Seat>(
    seat: &S,
    only: Option<&BTreeSet<String>>,
) -> Result<Vec<String>, S::Error> {
    let began = Instant::now();
    let mut is_told = false;
    loop {
        let Some(stored) = seat.store().read()? else { return Ok(Vec::new()) };
        let Some(https) = &stored.document.https else { return Ok(Vec::new()) };
        let now = Timestamp::now();
        let mut names: Vec<String> = wanted(&stored.document, only).into_iter().collect();
        names.retain(|name| https.under_way(name).is_some_and(|until| until > now));
        if names.is_empty() || seat.is_over() || began.elapsed() > OTHERS_WITHIN {
            return Ok(names);
        }
        if !std::mem::replace(&mut is_told, true) {
            let names = names.join(", ");
            seat.note(&format!("  somebody else is getting a certificate for {names}: waiting"));
        }
        thread::sleep(OTHERS_PAUSE);
    }
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
fn issue<S: Seat>(seat: &S, name: &str) -> Result<(), Stop<S::Error>> {
    let (authority, identity) = begin(seat, name)?;
    let session = open(seat, &authority, &identity)?;
    let is_over = &|| seat.is_over();
    let pending = session.begin(name, is_over)?;
    if let Some((token, answer)) = &pending.challenge {
        publish(seat, name, token, answer).map_err(Stop::Seat)?;
        seat.carry_on().map_err(Stop::Seat)?;
        in_force(seat, |report| {
            report.https.as_ref().is_some_and(|own| own.challenges.contains(token))
        })?;
    }
    let issued = session.finish(pending, is_over)?;
    take_over(seat, name, &issued)
}

/// Keeps that the authority is asked now, unless it is no longer due.
fn begin<S: Seat>(seat: &S, name: &str) -> Result<(Authority, Identity), Stop<S::Error>> {
    let jitter = Timestamp::now().subsec_nanosecond().unsigned_abs();
    let mut begun = None;
    let change = |document: &mut Document| {
        let now = Timestamp::now();
        let wanted = document.https_names();
        let https = document.https.get_or_insert_default();
        https.forget(&wanted, now);
        let is_due = !https.due(&BTreeSet::from([name.to_owned()]), now, seat.asker()).is_empty();
        begun = None;
        let Some(authority) = https.authority.clone().filter(|_| is_due) else {
            return Ok(Write::No);
        };
        https.begin_try(name, now, u64::from(jitter));
        https.is_tried_by(name, process::this());
        begun = Some(seat.identity(document)?.map(|identity| (authority, identity)));
        Ok(Write::Yes)
    };
    seat.change(change).map_err(Stop::Seat)?;
    Ok(begun.ok_or(Stop::Elsewhere)??)
}

/// The account at the authority; a new one is kept before it is used.
fn open<S: Seat>(
    seat: &S,
    authority: &Authority,
    identity: &Identity,
) -> Result<Session, Stop<S::Error>> {
    let credentials = credentials(seat, authority, identity)?;
    let (session, made) = Session::open(authority, credentials.as_ref(), &|| seat.is_over())?;
    if let Some(made) = made {
        let change = |document: &mut Document| {
            let known = seat.secrets(document)?;
            let key = keep(known, &SecretName::acme_account(), made.expose(), &seat.by())?;
            let directory = authority.directory.clone();
            if let Some(https) = &mut document.https {
                https.account = Some(Account { directory, key });
            }
            Ok(Write::Yes)
        };
        seat.change(change).map_err(Stop::Seat)?;
    }
    Ok(session)
}

/// The credentials of the account that is known at this authority.
fn credentials<S: Seat>(
    seat: &S,
    authority: &Authority,
    identity: &Identity,
) -> Result<Option<Secret>, Stop<S::Error>> {
    let stored = seat.store().read().map_err(|error| Stop::Seat(error.into()))?;
    let Some(stored) = stored else { return Ok(None) };
    let document = &*stored.document;
    let account = document.https.as_ref().and_then(|own| own.account.as_ref());
    let account = account.filter(|own| own.directory == authority.directory);
    let value = account.and_then(|own| {
        let value = document.secrets.as_ref()?.versions.get(&own.key)?;
        Some((own.key, value))
    });
    let Some((version, value)) = value else { return Ok(None) };
    let opened = open_value(identity, &value.name, version, &value.sealed.text);
    Ok(Some(opened.map_err(|error| Problem(format!("the account: {error}")))?))
}

fn publish<S: Seat>(seat: &S, name: &str, token: &str, answer: &str) -> Result<(), S::Error> {
    seat.change(|document| {
        let until = Timestamp::now().saturating_add(CHALLENGE_WITHIN).unwrap_or(Timestamp::MAX);
        let challenge = Challenge { name: name.to_owned(), answer: answer.to_owned(), until };
        let https = document.https.get_or_insert_default();
        https.challenges.insert(token.to_owned(), challenge);
        Ok(Write::Yes)
    })
    .map(drop)
}

fn take_over<S: Seat>(seat: &S, name: &str, issued: &Issued) -> Result<(), Stop<S::Error>> {
    let facts = facts(&issued.chain);
    let facts = facts.map_err(|why| Problem(format!("what the authority issued: {why}")))?;
    if !facts.names.iter().any(|own| own == name) {
        return Err(
            Problem("the authority issued a certificate for another name".to_owned()).into()
        );
    }
    let change = |document: &mut Document| {
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
        Ok(Write::Yes)
    };
    if let Some(document) = seat.change(change).map_err(Stop::Seat)? {
        seat.kept(&document);
    }
    Ok(())
}

fn keep_failure<S: Seat>(seat: &S, name: &str, problem: &str) -> Result<(), S::Error> {
    seat.change(|document| {
        document.https.iter_mut().for_each(|https| https.failed(name, problem));
        Ok(Write::Yes)
    })
    .map(drop)
}

/// Waits until every server that clients come to, and that is reached, is so; at least one has to be.
fn in_force<S: Seat>(seat: &S, is_so: impl Fn(&Report) -> bool + Sync) -> Result<(), Problem> {
    let store = seat.store();
    let document = current(&store)?;
    let links = seat.links(&document)?;
    let faced = document.servers.keys().filter(|server| document.faces_clients(server));
    let ways: Vec<_> = faced.filter_map(|server| Some((server, links.get(server)?))).collect();
    let follows = |(server, link): &(&ServerName, &Arc<dyn Link + Send + Sync>)| {
        follows(&store, server, link.as_ref(), &is_so)
    };
    let each: Vec<Result<bool, Problem>> = thread::scope(|scope| {
        let each: Vec<_> = ways.iter().map(|way| scope.spawn(|| follows(way))).collect();
        let join = |one: thread::ScopedJoinHandle<'_, _>| {
            one.join().expect("speaking to a server does not panic")
        };
        each.into_iter().map(join).collect()
    });
    let mut is_any = false;
    for one in each {
        is_any |= one?;
    }
    if is_any { Ok(()) } else { Err(Problem("no server can be reached".to_owned())) }
}

/// Whether a server is so, with the order that it has now; not when it is not reached.
fn follows(
    store: &Documents,
    server: &ServerName,
    link: &dyn Link,
    is_so: impl Fn(&Report) -> bool,
) -> Result<bool, Problem> {
    let began = Instant::now();
    let mut seen: Option<Report> = None;
    loop {
        // Others may write meanwhile, and a server takes no order from before.
        let Some(order) = engine::order(&*current(store)?, server) else { return Ok(false) };
        match link.deliver(&order, seen.as_ref()) {
            Outcome::Done(report) if is_so(&report) => return Ok(true),
            Outcome::Done(report) if began.elapsed() > IN_FORCE_WITHIN => {
                let why = report.waiting.iter().map(|own| format!("{}: {}", own.what, own.why));
                let why = why.collect::<Vec<_>>().join("; ");
                return Err(Problem(format!("{server} does not follow ({why})")));
            }
            Outcome::Done(report) => seen = Some(report),
            Outcome::Refused(_) | Outcome::Unknown(_) if began.elapsed() > ANSWERS_WITHIN => {
                return Ok(false);
            }
            Outcome::Refused(_) | Outcome::Unknown(_) => thread::sleep(SILENCE_PAUSE),
        }
    }
}

fn current(store: &Documents) -> Result<Arc<Document>, Problem> {
    let stored = store.read().map_err(|error| Problem(error.to_string()))?;
    Ok(stored.ok_or_else(|| Problem("the state is gone".to_owned()))?.document)
}
