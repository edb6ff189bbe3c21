//! The files of a release that are not on this machine: a server that has them brings them on.

use onward_core::document::Document;
use onward_core::model::{Release, ServerName};
use onward_server::bringing;
use onward_server::client::ClientError;

use super::{Transfer, spread, tell_spread};
use crate::cli::complaint::Complaint;
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::fleet;
use crate::cli::managers;
use crate::cli::screen::Screen;
use crate::cli::ways::Ways;
use crate::providers::ssh::{AgentSilence, SshServer};

/// Who has the files of a release.
#[derive(Debug)]
pub enum Holder {
    /// This machine.
    Here,
    /// A server of the environment.
    Server(SshServer),
}

/// Who has the files of a release that a new machine for `without` needs: this machine, else the
/// manager, else another server.
///
/// # Errors
/// When nobody who is reached has them.
pub fn holder(
    context: &Context,
    ways: &Ways,
    document: &Document,
    release: &Release,
    without: &ServerName,
) -> Result<Holder, Complaint> {
    let bundle = release.bundle.digest;
    if context.local.bundles()?.has(bundle).unwrap_or(false) {
        return Ok(Holder::Here);
    }
    let manager = ways.manager();
    let others = document.servers.keys().filter(|name| *name != without && *name != manager.name());
    let mut servers: Vec<SshServer> = others.map(|name| ways.server(name)).collect();
    servers.insert(0, manager);
    let held = fleet::on_each(&servers, |server| {
        let (mut agent, _) = server.agent().map_err(AgentSilence::into_client_error)?;
        bringing::is_held(&mut agent, bundle)
    });
    let holder = servers.iter().zip(&held).find(|(_, held)| matches!(held, Ok(true)));
    match holder {
        Some((server, _)) => Ok(Holder::Server(server.clone())),
        None => Err(nobody(release, &servers, &held, without)),
    }
}

impl Holder {
    /// Brings the files of a release to a new machine.
    ///
    /// # Errors
    /// When they do not arrive; what arrived stays there.
    pub fn bring(
        &self,
        context: &Context,
        to: &SshServer,
        document: &Document,
        release: &Release,
        screen: &Screen,
    ) -> Result<(), Complaint> {
        match self {
            Self::Here => {
                let names = std::iter::once(to.name());
                super::bring(context, names, Some(document), &release.bundle, screen)
            }
            Self::Server(holder) => pass_on(context, holder, to, document, release, screen),
        }
    }
}

/// Has a server bring everything to another one.
fn pass_on(
    context: &Context,
    holder: &SshServer,
    to: &SshServer,
    document: &Document,
    release: &Release,
    screen: &Screen,
) -> Result<(), Complaint> {
    let failed = |why: &str| not_passed_on(release, holder, to, why);
    managers::let_in(context, holder, to).map_err(|error| failed(&error.to_string()))?;
    let transfer = Transfer::of(context, Some(document), release.bundle.digest, screen)?;
    let passed = spread::by(holder, &transfer, std::slice::from_ref(to), None);
    drop(transfer);
    if !passed.brought.contains_key(to.name()) {
        let why = passed.failed.get(to.name());
        return Err(failed(why.map_or("it ended without a word", String::as_str)));
    }
    to.holds(release.bundle.digest);
    tell_spread(holder, &passed.brought, screen);
    Ok(())
}

fn not_passed_on(release: &Release, holder: &SshServer, to: &SshServer, why: &str) -> Complaint {
    let (name, number) = (to.name(), release.number);
    let what = format!(
        "{} did not bring the files of release {number} to {name} ({}): {why}",
        holder.name(),
        to.place()
    );
    Complaint::new(Exit::Failed, what)
        .fact("They are not on this machine, so a server that has them brings them on")
        .fact("What arrived there stays, and is not sent again")
        .hint(format!(
            "`onward replace {name}` goes on; it sends the files itself where the release was \
             deployed from"
        ))
}

fn nobody(
    release: &Release,
    servers: &[SshServer],
    held: &[Result<bool, ClientError>],
    name: &ServerName,
) -> Complaint {
    let (number, label) = (release.number, &release.bundle.label);
    let what =
        format!("the files of release {number} ({label}), which {name} is to run, are nowhere");
    let complaint = Complaint::new(Exit::Refused, what)
        .fact("They are not on this machine, from which a new machine could be brought them");
    let each = servers.iter().zip(held);
    let complaint = each.fold(complaint, |complaint, (server, held)| match held {
        Err(error) => complaint.fact(format!(
            "{} ({}) cannot be asked: {error}",
            server.name(),
            server.place()
        )),
        Ok(_) => complaint.fact(format!("{} does not have them", server.name())),
    });
    complaint
        .nothing_changed()
        .hint(format!("`onward replace {name}` where the release was deployed from has them"))
        .hint(format!(
            "`onward deploy --without {name}` makes a release of what is here; then `onward replace \
             {name}`"
        ))
}
