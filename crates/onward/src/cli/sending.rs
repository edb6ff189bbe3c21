//! The files of a release on their way to servers behind SSH, before the release is asked for.
//!
//! Contents that nothing refers to yet harm nobody, so this needs no record: a command that is
//! interrupted here has changed nothing, and the next one sends what is still lacking.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use onward_core::document::Document;
use onward_core::model::{BundleRef, Digest, ServerName};
use onward_server::bringing::{self, NotBrought};
use serde_json::json;

use super::complaint::Complaint;
use super::context::Context;
use super::exit::Exit;
use super::live::Live;
use super::numbers;
use super::screen::Screen;
use crate::providers::ssh::{AgentSilence, SshServer};

/// How far each server is: bytes that were sent, and bytes that it lacked.
type Sent = Mutex<BTreeMap<ServerName, (u64, u64)>>;

/// Brings the files of a release to every server that is behind SSH and lacks some.
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
    let store = context.local.bundles()?;
    let base = base(document, bundle.digest);
    let began = Instant::now();
    let sent = Sent::default();
    let one = |server: &SshServer| -> Result<u64, NotBrought> {
        let on_sent = |bytes, total| {
            locked(&sent).insert(server.name().clone(), (bytes, total));
        };
        let (mut agent, _) = server.agent().map_err(AgentSilence::into_client_error)?;
        let brought = bringing::bring(&mut agent, &store, bundle.digest, base, Some(&on_sent))?;
        server.holds(bundle.digest);
        Ok(brought.bytes)
    };
    let results: Vec<Result<u64, NotBrought>> = thread::scope(|scope| {
        let one = &one;
        let each: Vec<_> = servers.iter().map(|server| scope.spawn(move || one(server))).collect();
        let live = screen.is_live().then(Live::start);
        while let Some(live) = &live
            && each.iter().any(|thread| !thread.is_finished())
        {
            show(live, &sent, began);
            thread::sleep(LOOK_EVERY);
        }
        let joined = each.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|done| done.expect("sending files does not panic")).collect()
    });
    let mut bytes = 0;
    for (server, result) in servers.iter().zip(results) {
        bytes += result.map_err(|error| not_brought(server, &error))?;
    }
    tell(&servers, bytes, began, screen);
    Ok(())
}

/// How often the progress is drawn.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(20);

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
    live.show(headline, sent.iter().map(line).collect());
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
