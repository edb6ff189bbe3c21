//! `onward secret set`: new values.

use std::sync::Arc;

use onward_core::document::Document;
use onward_core::engine::Ask;
use onward_core::model::Config;
use onward_core::secrets::{Sealed, SecretName, SecretVersion, Secrets};
use onward_secret::{MASKED_BYTES_MIN, Secret, open_value, seal_value};
use serde_json::{Value, json};

use super::{input, warn_alone};
use crate::cli::args::Global;
use crate::cli::args_secret::SetArgs;
use crate::cli::carry::{self, Came, Terms};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::problem::Problem;
use crate::cli::screen::Screen;
use crate::cli::secret_problem::SecretProblem;
use crate::cli::secrets;
use crate::runner::Write;

/// Sets the values, and with `--now` makes a release with them.
pub(super) fn run(
    context: &Context,
    args: &SetArgs,
    global: &Global,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    screen.note(&context.title());
    let values = input::values(context, args, global, screen)?;
    let mut made = None;
    let (set, written) = secrets::change(context, |document| {
        let known = secrets::of_document(document, &mut made)?;
        let versions = set_values(context, known, &values)?;
        let write = if versions.is_empty() { Write::No } else { Write::Yes };
        Ok((versions, write))
    })?;
    secrets::tell_made(made.as_deref(), screen);
    if let Some(secrets) = written.as_ref().and_then(|document| document.secrets.as_ref()) {
        secrets::bring_key(context, secrets);
    }
    tell(context, &values, &set, written.as_ref(), screen);
    let fields = json!({
        "set": set.iter().map(|(name, version)| json!({"name": name, "version": version})).collect::<Vec<_>>(),
        "unchanged": values.iter().map(|(name, _)| name).filter(|name| !set.iter().any(|(own, _)| own == *name)).collect::<Vec<_>>(),
        "waiting": context.is_waiting(),
        "generation": written.as_ref().map(|document| document.generation),
    });
    if args.now {
        let names: Vec<_> = values.iter().map(|(name, _)| name.clone()).collect();
        return release(context, &names, fields, screen);
    }
    screen.finished(true, fields);
    Ok(Exit::Done)
}

/// Sets what is not so already, as far as that can be seen here; says what got which version.
///
/// # Errors
/// When it is too much.
pub fn set_values(
    context: &Context,
    known: &mut Secrets,
    values: &[(SecretName, Secret)],
) -> Result<Vec<(SecretName, SecretVersion)>, Complaint> {
    // Setting needs no right to read. Who has it does not make a new version of the same value.
    let identity = secrets::opened(context, known).ok();
    let (by, now) = (carry::person(), jiff::Timestamp::now());
    let mut set = Vec::new();
    for (name, value) in values {
        let current = known.current(name).zip(identity.as_ref());
        let same = current.is_some_and(|((version, own), identity)| {
            open_value(identity, name, version, &own.sealed.text)
                .is_ok_and(|own| own.expose() == value.expose())
        });
        if same {
            continue;
        }
        let next = known.last_version.next();
        let sealed = seal_value(&known.key.public, name, next, value).map_err(secrets::bug)?;
        let version = known.set(name, Sealed::new(sealed), &by, now);
        set.push((name.clone(), version.map_err(SecretProblem::from)?));
    }
    Ok(set)
}

fn tell(
    context: &Context,
    values: &[(SecretName, Secret)],
    set: &[(SecretName, SecretVersion)],
    written: Option<&Document>,
    screen: &Screen,
) {
    for (name, value) in values {
        match set.iter().find(|(own, _)| own == name) {
            Some((_, version)) => screen.success(&format!("{name} is set, version {version}")),
            None => screen.success(&format!("{name} has this value already")),
        }
        if value.len() < MASKED_BYTES_MIN {
            screen.warn(&format!(
                "the value of {name} is shorter than {MASKED_BYTES_MIN} bytes: it is not masked \
                 where the app prints it"
            ));
        }
        if !context.resolved.secrets.contains(name) {
            screen.warn(&format!(
                "onward.toml does not name {name}, so no process gets it: add it to `names` in \
                 `[secrets]`"
            ));
        }
    }
    if context.is_waiting() {
        screen.note("  kept encrypted on this machine until `onward up` brings it to the servers");
    }
    if let Some(document) = written {
        if let Some(secrets) = document.secrets.as_ref().filter(|_| !context.is_waiting()) {
            warn_alone(secrets, screen);
        }
        if document.serving.is_some() {
            screen.note("  what serves keeps the old value until the next `onward deploy`");
        }
    }
}

/// Makes a release of the bundle and the settings that serve, with the secrets as they are now.
fn release(
    context: &Context,
    names: &[SecretName],
    mut fields: Value,
    screen: &Screen,
) -> Result<Exit, Complaint> {
    let stored = context.look()?;
    let document = stored.as_ref().map(|stored| &*stored.document);
    let serving = document.and_then(|document| document.release(document.serving?));
    let (Some(document), Some(serving)) = (document, serving) else {
        screen.note("  nothing serves, so there is nothing to release: `onward up` does");
        fields["outcome"] = json!("unchanged");
        screen.finished(true, fields);
        return Ok(Exit::Done);
    };
    let mut config = Config::clone(&serving.config);
    let wanted = names.iter().filter(|name| context.resolved.secrets.contains(*name));
    config.secrets.extend(wanted.map(|name| (name.clone(), SecretVersion::CURRENT)));
    let current = |name: &SecretName| {
        document.secrets.as_ref().is_some_and(|secrets| secrets.current.contains_key(name))
    };
    // One that was taken away meanwhile stays as the release has it.
    for (name, version) in config.secrets.iter_mut().filter(|(name, _)| current(name)) {
        let _ = name;
        *version = SecretVersion::CURRENT;
    }
    let ask = Ask::Deploy {
        bundle: serving.bundle.clone(),
        config: Arc::new(config),
        servers: document.servers.clone(),
        force: false,
        reset: false,
    };
    let interrupts = interrupt::watch();
    match carry::submit(context, ask, Terms::default(), screen, &interrupts)? {
        Came::Ended(document, number) => carry::conclude(context, &document, number, screen),
        Came::Unchanged => {
            screen.success("Nothing changed: what serves has these values already");
            fields["outcome"] = json!("unchanged");
            screen.finished(true, fields);
            Ok(Exit::Done)
        }
        Came::NothingHere => Err(Problem::StateRemoved.into()),
    }
}
