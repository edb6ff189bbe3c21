//! Values of secrets that are given before there is a state that could have them: a state behind SSH
//! begins with the first `up`. Until then they wait on this machine, in a document of their own in
//! `.onward/waiting`, encrypted as in any other one; that `up` brings them to the state before it
//! releases anything.

use std::collections::BTreeSet;
use std::path::PathBuf;

use onward_core::document::Document;
use onward_core::ports::StateStore;
use onward_core::secrets::{SecretName, Secrets};
use onward_secret::{Secret, open_value};
use onward_store::state::Documents;

use super::commands::set_values;
use super::complaint::{self, Complaint};
use super::context::Context;
use super::screen::Screen;
use super::secret_problem::SecretProblem;
use super::secrets;
use crate::runner::{self, Write};

/// The names that have a value which waits.
///
/// # Errors
/// When the document cannot be read.
pub fn names(context: &Context) -> Result<BTreeSet<SecretName>, Complaint> {
    let secrets = waiting(context)?;
    Ok(secrets.map(|own| own.current.into_keys().collect()).unwrap_or_default())
}

fn waiting(context: &Context) -> Result<Option<Secrets>, Complaint> {
    let stored = context.local.waiting(context.app(), context.environment()).read()?;
    Ok(stored.and_then(|stored| stored.document.secrets.clone()))
}

/// Keeps values until they can be brought; says where the person's own key is when it was made for that.
///
/// # Errors
/// When they cannot be written.
pub fn keep(
    context: &Context,
    values: &[(SecretName, Secret)],
) -> Result<Option<PathBuf>, Complaint> {
    context.prepare()?;
    let mut made = None;
    let store = Documents::Directory(context.local.waiting(context.app(), context.environment()));
    let first = || Ok::<_, Complaint>(secrets::first_document(context));
    runner::edit(&store, first, |document| {
        let known = secrets::of_document(document, &mut made)?;
        let set = set_values(context, known, values)?;
        Ok(((), if set.is_empty() { Write::No } else { Write::Yes }))
    })?;
    Ok(made)
}

/// Brings what waits to the state, which is there now or begins with it. What has a value there keeps
/// that one: somebody else began the environment meanwhile.
///
/// # Errors
/// When it cannot be written, or what the state has is for others to read; everything waits on then.
pub fn bring(context: &Context, screen: &Screen) -> Result<(), Complaint> {
    let Some(own) = waiting(context)? else { return Ok(()) };
    let (kept, _) = secrets::change(context, |document| taken(context, &own, document))?;
    for name in kept {
        screen.warn(&format!(
            "{name} had a value in {} already, which stays; the one that was kept here is dropped. \
             `onward secret set {name}` sets another",
            context.environment()
        ));
    }
    let gone = context.local.nothing_waits(context.app(), context.environment());
    gone.map_err(|error| complaint::system(context.local.root(), error))
}

/// Puts what waits into a document, and says which values it had already.
fn taken(
    context: &Context,
    own: &Secrets,
    document: &mut Document,
) -> Result<(Vec<SecretName>, Write), Complaint> {
    let Some(known) = &mut document.secrets else {
        document.secrets = Some(own.clone());
        return Ok((Vec::new(), Write::Yes));
    };
    if known.key.public == own.key.public {
        // A command before was ended after it had brought them.
        return Ok((Vec::new(), Write::No));
    }
    let identity = secrets::opened(context, own)?;
    let (mut kept, mut values) = (Vec::<SecretName>::new(), Vec::<(SecretName, Secret)>::new());
    for name in own.current.keys() {
        let Some((version, value)) = own.current(name) else { continue };
        if known.current.contains_key(name) {
            kept.push(name.clone());
            continue;
        }
        let value = open_value(&identity, name, version, &value.sealed.text)
            .map_err(|why| SecretProblem::Damaged { name: name.clone(), why })?;
        values.push((name.clone(), value));
    }
    set_values(context, known, &values)?;
    Ok((kept, if values.is_empty() { Write::No } else { Write::Yes }))
}
