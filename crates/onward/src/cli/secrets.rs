//! Secrets as other commands need them: keys for servers, what a deploy lacks, what a plan says.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::model::{Config, WriteId};
use onward_core::ports::StateStore;
use onward_core::secrets::{
    EnvironmentKey, Operator, PublicKey, Sealed, SecretName, SecretVersion, Secrets,
};
use onward_secret::{Identity, SealError, open_identity, seal_identity};
use onward_server::client::OpenKey;

use super::carry;
use super::complaint::{self, Complaint};
use super::context::Context;
use super::fleet;
use super::key_problem::KeyProblem;
use super::lost;
use super::operator;
use super::problem::Problem;
use super::screen::Screen;
use super::secret_problem::SecretProblem;
use crate::project::wishes;
use crate::runner::{self, Unwritten, Write};
use crate::runtimes::InUse;

/// Opens the key of an environment with the person's own, when that is possible.
pub fn open_key(context: &Context) -> OpenKey {
    let store = context.documents();
    Arc::new(move |key: &PublicKey| {
        let stored = store.read().ok()??;
        let secrets = stored.document.secrets.as_ref()?;
        let own = operator::read().ok()??;
        let opened = open_identity(&own, &secrets.key.sealed.text).ok()?;
        (opened.public() == key).then_some(opened)
    })
}

/// The key of the environment.
///
/// # Errors
/// Who can open it, when the person cannot.
pub fn opened(context: &Context, secrets: &Secrets) -> Result<Identity, KeyProblem> {
    let environment = context.environment().to_string();
    let own = operator::read()?.ok_or_else(|| KeyProblem::NoKey(environment.clone()))?;
    open_identity(&own, &secrets.key.sealed.text).map_err(|_| KeyProblem::NoAccess {
        environment,
        key: own.public().clone(),
        operators: operators(secrets),
    })
}

/// The secrets of a document; the first one makes the key of the environment, and `made` says where
/// the person's own is when that was made too.
pub fn of_document<'d>(
    document: &'d mut Document,
    made: &mut Option<PathBuf>,
) -> Result<&'d mut Secrets, Complaint> {
    if document.secrets.is_none() {
        let (own, file) = operator::read_or_make()?;
        if made.is_none() {
            *made = file;
        }
        document.secrets = Some(first(&own).map_err(bug)?);
    }
    Ok(document.secrets.as_mut().expect("it was made just now when there was none"))
}

fn first(own: &Identity) -> Result<Secrets, SealError> {
    let environment = Identity::generate();
    let (by, now) = (carry::person(), Timestamp::now());
    let operator = Operator { name: by.clone(), by: by.clone(), since: now };
    let sealed = Sealed::new(seal_identity([own.public()], &environment)?);
    Ok(Secrets {
        key: EnvironmentKey { public: environment.public().clone(), sealed, by, made: now },
        operators: [(own.public().clone(), operator)].into(),
        last_version: SecretVersion::default(),
        current: BTreeMap::new(),
        versions: BTreeMap::new(),
    })
}

/// Keys that were checked when they came into the document can be sealed to.
pub fn bug(_: SealError) -> Complaint {
    Problem::Bug("a key in the state cannot be sealed to").into()
}

/// Says that a key was made, which a person has to keep.
pub fn tell_made(made: Option<&Path>, screen: &Screen) {
    if let Some(path) = made {
        screen.note(&format!(
            "  your key is now in {}: keep a copy where you keep your passwords",
            path.display()
        ));
    }
}

/// The names of those who can read the secrets.
pub fn operators(secrets: &Secrets) -> String {
    let names: BTreeSet<&str> =
        secrets.operators.values().map(|operator| operator.name.as_str()).collect();
    let names: Vec<_> = names.into_iter().collect();
    names.join(" or ")
}

/// Finds out before the build whether a deploy can have its secrets.
pub fn before_deploy(context: &Context, screen: &Screen) -> Result<(), Complaint> {
    let stored = context.look()?;
    let document = stored.as_ref().map(|stored| &*stored.document);
    let secrets = document.and_then(|document| document.secrets.as_ref());
    let has = |name: &&SecretName| secrets.is_some_and(|own| own.current.contains_key(*name));
    let named = &context.resolved.secrets;
    let missing: BTreeSet<_> = named.iter().filter(|name| !has(name)).cloned().collect();
    if !missing.is_empty() {
        return Err(complaint::no_value(&missing, Some(context.environment())));
    }
    let Some(secrets) = secrets else { return Ok(()) };
    for name in secrets.current.keys().filter(|name| !named.contains(*name)) {
        screen.warn(&format!(
            "the secret {name} has a value, and onward.toml does not name it: no process gets it"
        ));
    }
    if named.is_empty() || opened(context, secrets).is_ok() {
        return Ok(());
    }
    context.prepare()?;
    let servers = fleet::wished(context);
    for (server, agent) in servers.iter().zip(fleet::agents(&servers)) {
        // That one cannot be reached is found out, and told, when it is enrolled.
        let Ok(mut agent) = agent else { continue };
        let held = agent.holds_key(context.app(), context.environment(), &secrets.key.public);
        if !matches!(held, Ok(true)) {
            return Err(KeyProblem::ServerNeedsKey {
                server: server.name().to_string(),
                environment: context.environment().to_string(),
                operators: operators(secrets),
            }
            .into());
        }
    }
    Ok(())
}

/// Gives the key to the agents that run, so that others can deploy from now on. That it cannot be
/// given now is no failure: the next deploy of somebody who can open it brings it.
pub fn bring_key(context: &Context, secrets: &Secrets) {
    if context.is_waiting() {
        return;
    }
    let (app, environment) = (context.app(), context.environment());
    for server in fleet::wished(context) {
        let Some(mut agent) = server.running_agent() else { continue };
        let Ok(identity) = opened(context, secrets) else { return };
        if let Ok(false) = agent.holds_key(app, environment, &secrets.key.public) {
            let _ = agent.take_key(app, environment, identity);
        }
    }
}

/// The same for whatever secrets a document has.
pub fn bring_key_of(context: &Context, document: &Document) {
    if let Some(secrets) = &document.secrets {
        bring_key(context, secrets);
    }
}

/// The configuration that the file wishes, with the versions that its secrets have now; those
/// without a value stay without a version.
pub fn wished_config(
    context: &Context,
    runtimes: &[InUse],
    document: Option<&Document>,
) -> Arc<Config> {
    let mut config = Config::clone(&wishes::config(&context.resolved, runtimes));
    let current = document.and_then(|document| document.secrets.as_ref());
    for (name, version) in &mut config.secrets {
        if let Some(now) = current.and_then(|secrets| secrets.current.get(name)) {
            *version = *now;
        }
    }
    Arc::new(config)
}

/// What a plan says about secrets.
pub fn differences(document: Option<&Document>, old: &Config, new: &Config) -> Vec<String> {
    let secrets = document.and_then(|document| document.secrets.as_ref());
    let mut lines = Vec::new();
    for (name, version) in &new.secrets {
        let by = secrets.and_then(|own| own.versions.get(version)).map(|value| value.by.as_str());
        match (old.secrets.get(name), by) {
            (_, None) => lines.push(format!(
                "! secret {name} has no value here: refused until `onward secret set {name}`"
            )),
            (None, Some(_)) => lines.push(format!("+ secret {name} (version {version})")),
            (Some(other), Some(by)) if other != version => lines.push(format!(
                "~ secret {name}: version {version}, set by {by}, replaces version {other}"
            )),
            _ => {}
        }
    }
    let gone = old.secrets.keys().filter(|name| !new.secrets.contains_key(*name));
    lines.extend(gone.map(|name| format!("- secret {name}")));
    lines
}

/// Changes the document as [`runner::edit`] does; the first one is made by the first change.
///
/// # Errors
/// Those of `change`, and when it cannot be written, or its state was lost.
pub fn change<T>(
    context: &Context,
    mut change: impl FnMut(&mut Document) -> Result<(T, Write), Complaint>,
) -> Result<(T, Option<Document>), Complaint> {
    let first = || {
        lost::must_not_be(context)?;
        Ok(first_document(context))
    };
    let changed = runner::edit(&context.store(), first, |document| {
        let (result, write) = change(document)?;
        if write == Write::Yes {
            context.prepare()?;
        }
        Ok((result, write))
    });
    // What prepares it looks too.
    context.looks_anew();
    changed
}

/// The document that an environment begins with.
pub fn first_document(context: &Context) -> Document {
    let (app, environment) = (context.app().clone(), context.environment().clone());
    Document::first(app, environment, WriteId::new(&runner::fresh()), Timestamp::now())
}

impl From<Unwritten> for Complaint {
    fn from(unwritten: Unwritten) -> Self {
        match unwritten {
            Unwritten::Store(error) => error.into(),
            Unwritten::Busy => SecretProblem::Busy.into(),
            Unwritten::Unknown(cause) => Problem::WriteUnknown(cause).into(),
        }
    }
}

/// The version of a secret that serves.
pub fn serving_version(document: &Document, name: &SecretName) -> Option<SecretVersion> {
    let release = document.release(document.serving?)?;
    release.config.secrets.get(name).copied()
}
