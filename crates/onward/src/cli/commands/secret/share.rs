//! `onward secret share`: who can read the secrets.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use onward_core::secrets::{
    EnvironmentKey, OPERATORS_MAX, Operator, PublicKey, Sealed, SecretVersion, Secrets, Value,
};
use onward_secret::{Identity, check_public, open_value, seal_identity, seal_value};
use serde_json::json;

use super::warn_alone;
use crate::cli::carry;
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::key_problem::KeyProblem;
use crate::cli::numbers;
use crate::cli::operator;
use crate::cli::reading;
use crate::cli::screen::Screen;
use crate::cli::secret_problem::SecretProblem;
use crate::cli::secrets::{self, bug};
use crate::cli::table::Table;
use crate::runner::Write;

/// The longest name of an operator that is kept, in characters.
const NAME_CHARS_MAX: usize = 100;

/// Lets a key read the secrets.
pub(super) fn share(
    context: &Context,
    key: Option<&OsStr>,
    name: Option<&str>,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    let key = public_key(key.unwrap_or_default())?;
    let name = name.map_or_else(|| "somebody".to_owned(), shortened);
    let (is_new, written) = secrets::change(context, |document| {
        let known = document.secrets.as_mut().ok_or_else(|| no_secrets(context))?;
        let environment = secrets::opened(context, known)?;
        if known.operators.contains_key(&key) {
            return Ok((false, Write::No));
        }
        if known.operators.len() >= OPERATORS_MAX {
            return Err(KeyProblem::TooManyOperators.into());
        }
        let (by, since) = (carry::person(), jiff::Timestamp::now());
        known.operators.insert(key.clone(), Operator { name: name.clone(), by, since });
        let sealed = seal_identity(known.operators.keys(), &environment).map_err(bug)?;
        known.key.sealed = Sealed::new(sealed);
        Ok((true, Write::Yes))
    })?;
    screen.success(&if is_new {
        format!("{name} can read the secrets of {} with {key}", context.environment())
    } else {
        format!("{key} can read the secrets of {} already", context.environment())
    });
    let generation = written.map(|document| document.generation);
    let fields = json!({"key": key, "name": name, "changed": is_new, "generation": generation});
    screen.finished(true, fields);
    Ok(Exit::Done)
}

/// A text as a public key that can be sealed to. What it is instead is never repeated.
fn public_key(text: &OsStr) -> Result<PublicKey, KeyProblem> {
    let text = text.to_str().map(str::trim).unwrap_or_default();
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return Err(KeyProblem::PrivateKey);
    }
    let key: PublicKey = text.parse().map_err(|_| KeyProblem::NotAPublicKey)?;
    check_public(&key).map_err(|_| KeyProblem::NotAPublicKey)?;
    Ok(key)
}

/// A name that a person gave, for tables.
fn shortened(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(NAME_CHARS_MAX).collect()
}

fn no_secrets(context: &Context) -> Complaint {
    Complaint::new(Exit::Refused, format!("{} has no secrets yet", context.environment()))
        .hint("`onward secret set NAME` sets the first one")
}

/// Lists who can read the secrets.
pub(super) fn list(context: &Context, screen: &Screen) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    let reading = reading::read(context, screen)?;
    let document = reading.as_ref().map(|reading| &*reading.stored.document);
    let known = document.and_then(|document| document.secrets.as_ref());
    // Somebody whose own key cannot be read can still look at the list.
    let own = operator::read().ok().flatten().map(|own| own.public().clone());
    let operators: Vec<_> = known.iter().flat_map(|known| &known.operators).collect();
    let line = |(key, operator): &(&PublicKey, &Operator)| {
        json!({
            "name": operator.name, "key": key, "by": operator.by, "since": operator.since,
            "you": own.as_ref() == Some(*key),
        })
    };
    let lines: Vec<_> = operators.iter().map(line).collect();
    screen.document(&json!({"operators": lines}));
    let Some(known) = known else {
        screen.line("No secrets, so nobody can read them");
        return Ok(Exit::Done);
    };
    let mut table = Table::new(["NAME", "SINCE", "BY", "KEY", ""]);
    let now = jiff::Timestamp::now();
    for (key, operator) in operators {
        let age = numbers::duration(now.duration_since(operator.since).unsigned_abs());
        let you = if own.as_ref() == Some(key) { "you" } else { "" };
        table.row([
            operator.name.clone(),
            format!("{age} ago"),
            operator.by.clone(),
            key.to_string(),
            you.to_owned(),
        ]);
    }
    for line in table.lines() {
        screen.line(&line);
    }
    warn_alone(known, screen);
    Ok(Exit::Done)
}

/// Takes the right to read away: the environment gets a new key, which everything is sealed to
/// anew, and the servers get it.
pub(super) fn revoke(context: &Context, who: &OsStr, screen: &Screen) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    let who = who.to_str().unwrap_or_default();
    let (revoked, written) = secrets::change(context, |document| {
        let known = document.secrets.as_mut().ok_or_else(|| no_secrets(context))?;
        let key = found(context, known, who)?;
        let old = secrets::opened(context, known)?;
        if known.operators.len() == 1 {
            return Err(KeyProblem::LastOperator(context.environment().to_string()).into());
        }
        let operator = known.operators.remove(&key).expect("it was found there");
        rekey(known, &old)?;
        Ok(((key, operator), Write::Yes))
    })?;
    let (key, operator) = revoked;
    let document = written.expect("a change that says so is written");
    if let Some(known) = &document.secrets {
        secrets::bring_key(context, known);
    }
    if document.serving.is_some() && document.operation.is_none() {
        carry::carry_on(context, screen, &interrupt::watch())?;
    }
    screen
        .success(&format!("{} can no longer read the secrets; they have a new key", operator.name));
    screen.warn(&format!(
        "{} may have kept the values, and earlier generations of the state still open with that \
         key: set new values for what matters",
        operator.name
    ));
    screen.finished(
        true,
        json!({"key": key, "name": operator.name, "generation": document.generation}),
    );
    Ok(Exit::Done)
}

/// The one key that is meant by a key or a name.
fn found(context: &Context, known: &Secrets, who: &str) -> Result<PublicKey, KeyProblem> {
    let is_meant =
        |(key, operator): &(&PublicKey, &Operator)| key.as_str() == who || operator.name == who;
    let mut meant = known.operators.iter().filter(is_meant).map(|(key, _)| key.clone());
    let unknown = || KeyProblem::NoSuchOperator(context.environment().to_string());
    let first = meant.next().ok_or_else(unknown)?;
    if meant.next().is_some() { Err(KeyProblem::AmbiguousOperator) } else { Ok(first) }
}

/// Gives the environment a new key and seals everything to it. Versions stay: no value changes.
fn rekey(known: &mut Secrets, old: &Identity) -> Result<(), Complaint> {
    let new = Identity::generate();
    let mut versions: BTreeMap<SecretVersion, Value> = BTreeMap::new();
    for (version, value) in &known.versions {
        let plain = open_value(old, &value.name, *version, &value.sealed.text)
            .map_err(|why| SecretProblem::Damaged { name: value.name.clone(), why })?;
        let sealed = seal_value(new.public(), &value.name, *version, &plain).map_err(bug)?;
        versions.insert(*version, Value { sealed: Sealed::new(sealed), ..value.clone() });
    }
    known.versions = versions;
    let sealed = seal_identity(known.operators.keys(), &new).map_err(bug)?;
    known.key = EnvironmentKey {
        public: new.public().clone(),
        sealed: Sealed::new(sealed),
        by: carry::person(),
        made: jiff::Timestamp::now(),
    };
    Ok(())
}
