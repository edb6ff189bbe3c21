//! The files of a release on their way to servers behind SSH, before the release is asked for.
//!
//! Contents that nothing refers to yet harm nobody, so this needs no record: a command that is
//! interrupted here has changed nothing, and the next one sends what is still lacking.

mod course;
mod passed;
mod spread;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use onward_core::document::Document;
use onward_core::model::{BundleRef, Digest, ServerName};
use onward_server::bringing::{self, NotBrought};
use onward_store::bundle::Store;
use serde_json::json;

use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::live::Live;
use super::numbers;
use super::screen::Screen;
use super::ways::Ways;
use crate::providers::ssh::{AgentSilence, SshServer};
use course::Measured;
pub use passed::holder;

/// How far each server is: bytes that were sent, and bytes that it lacked.
type Sent = Mutex<BTreeMap<ServerName, (u64, u64)>>;

/// Brings the files of a release to every server that is behind SSH and lacks some. Where that would
/// take long, they go to the manager, which brings them on to the others.
///
/// # Errors
/// When one of them cannot be brought everything; what arrived stays there.
pub fn bring<'a>(
    context: &Context,
    names: impl Iterator<Item = &'a ServerName>,
    document: Option<&Document>,
    bundle: &BundleRef,
    screen: &Screen,
) -> Result<(), Complaint> {
    let servers: Vec<SshServer> =
        names.filter_map(|name| context.server(name).ssh().cloned()).collect();
    if servers.is_empty() {
        return Ok(());
    }
    let transfer = Transfer::of(context, document, bundle.digest, screen)?;
    let manager = context.ways().map(Ways::manager);
    let manager = manager.filter(|own| servers.iter().any(|server| server.name() == own.name()));
    let (mut bytes, mut left) = (0, Vec::new());
    for (server, result) in transfer.directly(&servers, manager.as_ref()) {
        match result {
            Err(NotBrought::Left) => {
                bytes += transfer.sent_to(server.name());
                left.push(server.clone());
            }
            result => bytes += result.map_err(|error| not_brought(server, &error))?,
        }
    }
    if let Some(manager) = manager.filter(|_| !left.is_empty()) {
        let spread = transfer.spread(&manager, &left);
        left.retain(|server| !spread.contains_key(server.name()));
        tell_spread(&manager, &spread, screen);
    }
    for (server, result) in transfer.directly(&left, None) {
        bytes += result.map_err(|error| not_brought(server, &error))?;
    }
    let began = transfer.began;
    // What it drew is taken away first.
    drop(transfer);
    tell(&servers, bytes, began, screen);
    Ok(())
}

/// How often the progress is drawn, and the way thought over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One bundle on its way to servers.
struct Transfer<'a> {
    context: &'a Context,
    store: Store,
    bundle: Digest,
    base: Option<Digest>,
    began: Instant,
    sent: Sent,
    live: Option<Live>,
    /// Whether everybody but the manager is left to the manager.
    leaves_others: AtomicBool,
}

impl<'c> Transfer<'c> {
    fn of(
        context: &'c Context,
        document: Option<&Document>,
        bundle: Digest,
        screen: &Screen,
    ) -> Result<Self, Complaint> {
        Ok(Self {
            context,
            store: context.local.bundles()?,
            bundle,
            base: base(document, bundle),
            began: Instant::now(),
            sent: Sent::default(),
            live: screen.is_live().then(Live::start),
            leaves_others: AtomicBool::new(false),
        })
    }

    /// Brings it from here to each of these. With a manager, the others may be left to it.
    fn directly<'a>(
        &self,
        servers: &'a [SshServer],
        manager: Option<&SshServer>,
    ) -> Vec<(&'a SshServer, Result<u64, NotBrought>)> {
        let is_other = |name: &ServerName| manager.is_some_and(|own| own.name() != name);
        thread::scope(|scope| {
            let (done, ended) = mpsc::channel();
            let each: Vec<_> = servers
                .iter()
                .map(|server| {
                    let (done, may_leave) = (done.clone(), is_other(server.name()));
                    scope.spawn(move || {
                        let result = self.one(server, may_leave);
                        // Nobody looks any more when the last one has ended.
                        let _ = done.send(());
                        result
                    })
                })
                .collect();
            drop(done);
            while let Ok(()) | Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK_EVERY) {
                self.show();
                if manager.is_some() && self.measured(is_other).is_worth_spreading() {
                    self.leaves_others.store(true, Ordering::Relaxed);
                }
            }
            let joined = each.into_iter().map(thread::ScopedJoinHandle::join);
            let results = joined.map(|done| done.expect("sending files does not panic"));
            servers.iter().zip(results).collect()
        })
    }

    fn one(&self, server: &SshServer, may_leave: bool) -> Result<u64, NotBrought> {
        let on_sent = |bytes, total| {
            locked(&self.sent).insert(server.name().clone(), (bytes, total));
            match may_leave && self.leaves_others.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let (mut agent, _) = server.known_agent().map_err(AgentSilence::into_client_error)?;
        let brought =
            bringing::bring(&mut agent, &self.store, self.bundle, self.base, Some(&on_sent))?;
        server.holds(self.bundle);
        Ok(brought.bytes)
    }

    /// Has the manager bring it to these; those to which it did.
    fn spread(&self, manager: &SshServer, to: &[SshServer]) -> BTreeMap<ServerName, u64> {
        let is_one = |server: &ServerName| to.iter().any(|own| own.name() == server);
        let directly = self.measured(is_one).left().unwrap_or(Duration::MAX);
        let brought = spread::by(manager, self, to, Some(directly)).brought;
        for server in to.iter().filter(|server| brought.contains_key(server.name())) {
            server.holds(self.bundle);
        }
        brought
    }

    fn sent_to(&self, server: &ServerName) -> u64 {
        locked(&self.sent).get(server).map_or(0, |(bytes, _)| *bytes)
    }

    /// How far these servers are, by what went to all.
    fn measured(&self, counts: impl Fn(&ServerName) -> bool) -> Measured {
        let sent = locked(&self.sent);
        let counted = sent.iter().filter(|(name, _)| counts(name));
        let lacking = counted.map(|(_, (bytes, total))| total.saturating_sub(*bytes)).sum();
        let bytes = sent.values().map(|(bytes, _)| bytes).sum();
        Measured { lacking, sent: bytes, took: self.began.elapsed() }
    }

    fn show(&self) {
        if let Some(live) = &self.live {
            show(live, &self.sent, self.began);
        }
    }
}

/// The bundle that servers have already, and that is likely to be much like the new one.
fn base(document: Option<&Document>, bundle: Digest) -> Option<Digest> {
    let document = document?;
    let serving = document.serving.and_then(|number| document.release(number));
    let last = || document.releases.values().next_back();
    serving.or_else(last).map(|release| release.bundle.digest).filter(|base| *base != bundle)
}

fn show(live: &Live, sent: &Sent, began: Instant) {
    let sent = locked(sent);
    let (bytes, total) =
        sent.values().fold((0, 0), |(bytes, total), own| (bytes + own.0, total + own.1));
    if total == 0 {
        return;
    }
    let seconds = began.elapsed().as_secs_f64().max(0.001);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people"
    )]
    let rate = (bytes as f64 / seconds) as u64;
    let headline = format!(
        "sending files to {}: {} of {}, {}/s",
        numbers::count(sent.len() as u64, "server"),
        numbers::bytes(bytes.min(total)),
        numbers::bytes(total),
        numbers::bytes(rate)
    );
    let line = |(name, (bytes, total)): (&ServerName, &(u64, u64))| {
        format!("    {name:<10} {}", bar(*bytes, *total))
    };
    live.show(headline, began, sent.iter().map(line).collect());
}

/// Files are counted as they are and sent compressed, so a server is done before the bar is full.
fn bar(bytes: u64, total: u64) -> String {
    const CELLS: u64 = 24;
    let full = (bytes * CELLS).checked_div(total).map_or(CELLS, |full| full.min(CELLS));
    let cells = |count: u64, cell: &str| cell.repeat(usize::try_from(count).unwrap_or(0));
    let bytes = numbers::bytes(bytes.min(total));
    format!("{}{} {bytes}", cells(full, "█"), cells(CELLS - full, "░"))
}

fn tell(servers: &[SshServer], bytes: u64, began: Instant, screen: &Screen) {
    let took = began.elapsed();
    screen.event(&json!({
        "event": "sent",
        "servers": servers.iter().map(SshServer::name).collect::<Vec<_>>(),
        "bytes": bytes,
    }));
    if bytes > 0 {
        screen.note(&format!(
            "  files: {} sent to {}, {}",
            numbers::bytes(bytes),
            numbers::count(servers.len() as u64, "server"),
            numbers::duration(took)
        ));
    }
}

fn tell_spread(manager: &SshServer, spread: &BTreeMap<ServerName, u64>, screen: &Screen) {
    let bytes: u64 = spread.values().sum();
    screen.event(&json!({
        "event": "spread",
        "from": manager.name(),
        "servers": spread.keys().collect::<Vec<_>>(),
        "bytes": bytes,
    }));
    screen.note(&format!(
        "  files: {} brought on by {} to {}",
        numbers::bytes(bytes),
        manager.name(),
        numbers::count(spread.len() as u64, "server")
    ));
}

fn not_brought(server: &SshServer, error: &NotBrought) -> Complaint {
    let name = server.name();
    let what = format!("the files were not brought to {name} ({}): {error}", server.place());
    Complaint::new(Exit::Failed, what)
        .fact("What arrived there stays, and is not sent again")
        .nothing_changed()
        .hint(format!(
            "the same command goes on; `onward deploy --without {name}` goes on with the others"
        ))
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
