//! `onward agent carry`: the manager of an environment carries on what nobody carries on any more.
//!
//! The manager's agent starts it when the command is gone that wrote a document last. It does what a
//! command does, with the same runner and the same driver: reads the document through the agent,
//! brings every server its order, writes the next decision. Servers that cannot be reached are waited
//! for, so that they catch up when they are back; when every server follows, it ends.
//!
//! Certificates that are due are renewed on the way; the agent starts it for that too.
//!
//! It reaches the other servers with the manager's own key (see [`onward_server::managers`]), holds
//! them to the host keys of the document, and brings them the files and the key of the environment
//! that this server has itself.

mod calls;
mod renewing;
pub mod spreading;
mod waiting;
mod ways;

use std::path::PathBuf;
use std::sync::Arc;

use onward_core::document::Document;
use onward_core::model::{AppName, EnvironmentName, OperationNumber, ServerName};
use onward_core::ports::{StateStore, StoreError};
use onward_core::runner::{End, Goal, Runner};
use onward_server::client;
use onward_server::layout;
use onward_server::remote_state;
use onward_store::state::Documents;

use crate::certificates::seat::Unkept;
use crate::runner::{self, Observer, Stop, Unwritten};
use calls::Calls;
use waiting::Waiting;
use ways::Ways;

/// The one environment that is carried on, and where this server's agent is.
#[derive(Debug, Clone)]
pub struct Post {
    /// The server tree.
    pub root: PathBuf,
    /// The directory of the agent's sockets.
    pub runtime: PathBuf,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
}

/// Why it cannot be carried on now.
#[derive(Debug, thiserror::Error)]
pub enum NotCarried {
    /// The document cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something on this server is missing.
    #[error("this server cannot speak to the others: {0}")]
    Here(#[from] std::io::Error),
    /// A change of the document was not written.
    #[error("what certificates need was not written down: {0}")]
    Unwritten(#[from] Unwritten),
    /// The state has left this server.
    #[error("the state is not here any more")]
    Gone,
    /// The document has no key to keep secrets by.
    #[error("the state has no key of the environment any more")]
    NoKey,
    /// A key or an account cannot be kept.
    #[error(transparent)]
    Unkept(#[from] Unkept),
}

/// Carries on until every server follows, or until standard input ends: then the agent is gone, and
/// the next one sees to it. A line on standard input says that the document has changed.
///
/// # Errors
/// [`NotCarried`]; trying again later may help.
pub fn run(post: &Post) -> Result<(), NotCarried> {
    let calls = Calls::listen();
    let socket = client::socket(layout::agent_socket(&post.runtime));
    let place = format!("{}/{}", post.app, post.environment);
    let store = remote_state::documents(socket, &post.app, &post.environment, place);
    let store = Documents::Remote(Arc::new(store));
    let mut waiting = Waiting::default();
    loop {
        let stored = match store.read() {
            Ok(Some(stored)) => stored,
            Ok(None) => return Ok(()),
            Err(error) if is_elsewhere(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let ways = Ways::of(post, &stored.document)?;
        let goal = Goal::Carry;
        let mut run = Runner::new(post.app.clone(), post.environment.clone(), goal);
        let links = ways.links(post);
        let mut watch = Watch { post, ways: &ways, calls: &calls, told: None };
        match runner::drive(&mut run, &store, &links, &mut watch) {
            None if calls.are_over() => return Ok(()),
            // The servers are others now.
            None => continue,
            Some(End::Store(error)) if is_elsewhere(&error) => return Ok(()),
            Some(End::Store(error)) => return Err(error.into()),
            Some(_) => {}
        }
        renewing::renew(post, &store, &calls)?;
        if run.settled().is_some() {
            return Ok(());
        }
        drop(links);
        let unreached: Vec<ServerName> = run.unreached().cloned().collect();
        let woken = if unreached.is_empty() {
            // One that is back has its order and not yet its files; balancers wait for it.
            waiting.for_who_catches_up(&calls)
        } else {
            post.tell(&format!("waits for {}, which cannot be reached", words(&unreached)));
            waiting.for_any_of(&ways.doors(&unreached), &calls)
        };
        if woken.is_over() {
            return Ok(());
        }
    }
}

/// The state was moved to another server, whose agent carries on from here.
const fn is_elsewhere(error: &StoreError) -> bool {
    matches!(error, StoreError::Moved { .. } | StoreError::Arriving { .. })
}

impl Post {
    /// Tells the journal.
    fn tell(&self, what: &str) {
        eprintln!("onward: {}/{}: {what}", self.app, self.environment);
    }
}

fn words(servers: &[ServerName]) -> String {
    let names: Vec<_> = servers.iter().map(ServerName::as_str).collect();
    names.join(", ")
}

/// Ends a run when the agent is gone, or when the document names servers that it has no way to.
struct Watch<'a> {
    post: &'a Post,
    ways: &'a Ways,
    calls: &'a Calls,
    told: Option<OperationNumber>,
}

impl Watch<'_> {
    fn tell(&mut self, document: &Document) {
        let Some(operation) = &document.operation else { return };
        if self.told.replace(operation.number) != Some(operation.number) {
            self.post.tell(&format!(
                "carries operation {} on, the {} of {}: {}",
                operation.number,
                operation.kind.word(),
                operation.by,
                operation.phase.title()
            ));
        }
    }
}

impl Observer for Watch<'_> {
    fn look(&mut self, run: &Runner) -> Stop {
        let Some(document) = run.document() else { return Stop::No };
        self.tell(document);
        if self.calls.are_over() || !self.ways.are_those_of(document) {
            return Stop::Leave;
        }
        Stop::No
    }
}
