//! Bringing a bundle to a server: what it lacks, and nothing else.

use std::io;
use std::ops::ControlFlow;

use onward_core::model::Digest;
use onward_store::bundle::{self, Store};

use crate::client::{Client, ClientError, nonsense};
use crate::protocol::{Answer, Request};

/// How often a server may say that it still lacks something. Lists of chunks come with the first
/// answer, chunks with the second.
const ROUNDS_MAX: usize = 4;

/// What travelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Brought {
    /// Bytes that were sent.
    pub bytes: u64,
}

/// Why a bundle was not brought. What arrived of it stays there, and need not be sent again.
#[derive(Debug, thiserror::Error)]
pub enum NotBrought {
    /// The server cannot be spoken to, or does not take it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It cannot be read here.
    #[error(transparent)]
    Here(#[from] bundle::Error),
    /// Whoever asked for it said no more.
    #[error("it was left to others")]
    Left,
    /// It was sent, and the server still lacks something.
    #[error("the server says again and again that it lacks {0} contents")]
    Endless(usize),
}

/// How far a transfer is, in bytes: sent, and what the server lacked when it began, as far as that is
/// known. The latter is counted before it is compressed, so the end may come early. Its answer is
/// whether to go on.
pub type OnSent<'a> = &'a (dyn Fn(u64, u64) -> ControlFlow<()> + Sync);

/// Whether the server has a bundle.
///
/// # Errors
/// When it cannot be spoken to.
pub fn is_held(client: &mut Client, bundle: Digest) -> Result<bool, ClientError> {
    match client.ask(&Request::HoldsBundle { bundle, base: None }, 0)? {
        Answer::Bundle { held, .. } => Ok(held),
        other => Err(nonsense(&other)),
    }
}

/// Brings a bundle of `store`, unless it is there. `base` is a bundle that the server probably has:
/// little more than the difference travels then.
///
/// # Errors
/// [`NotBrought`].
pub fn bring(
    client: &mut Client,
    store: &Store,
    bundle: Digest,
    base: Option<Digest>,
    on_sent: Option<OnSent<'_>>,
) -> Result<Brought, NotBrought> {
    let base = match base {
        Some(base) if store.has(base)? => Some(base),
        _ => None,
    };
    let (held, base_held) = match client.ask(&Request::HoldsBundle { bundle, base }, 0)? {
        Answer::Bundle { held, base_held } => (held, base_held),
        other => return Err(nonsense(&other).into()),
    };
    if held {
        return Ok(Brought::default());
    }
    let base = base.filter(|_| base_held);
    let manifest = store.packed_manifest(bundle, base)?;
    let bytes = u32::try_from(manifest.len()).unwrap_or(u32::MAX);
    let mut brought = Brought { bytes: u64::from(bytes) };
    client.tell(&Request::TakeBundle { bundle, base, bytes }, &manifest)?;
    let mut lacks = client.lacks()?;
    for _ in 0..ROUNDS_MAX {
        send(client, store, bundle, &lacks, &mut brought, on_sent)?;
        // What was sent before may still be on its way.
        client.tell(&Request::CompleteBundle, &[])?;
        lacks = client.lacks()?;
        if lacks.is_empty() {
            return Ok(brought);
        }
    }
    Err(NotBrought::Endless(lacks.len()))
}

fn send(
    client: &mut Client,
    store: &Store,
    bundle: Digest,
    lacks: &[Digest],
    brought: &mut Brought,
    on_sent: Option<OnSent<'_>>,
) -> Result<(), NotBrought> {
    let total = match on_sent {
        Some(_) => brought.bytes + store.bytes_of(bundle, lacks)?,
        None => 0,
    };
    let (mut failed, mut is_left) = (None, false);
    let result = store.send(bundle, lacks, &mut |pack| {
        let bytes = u32::try_from(pack.len()).unwrap_or(u32::MAX);
        let before = brought.bytes;
        let mut on_written = |written| {
            let goes_on =
                on_sent.map_or(ControlFlow::Continue(()), |own| own(before + written, total));
            is_left = goes_on.is_break();
            goes_on
        };
        let request = Request::TakePack { bytes };
        if let Err(error) = client.tell_in_parts(&request, pack, &mut on_written) {
            failed = Some(error);
            // It ends the walk; the error itself is told by whoever called.
            let source = io::ErrorKind::BrokenPipe.into();
            let path = store.root().to_owned();
            return Err(bundle::Error::Io { action: "send from", path, source });
        }
        brought.bytes += u64::from(bytes);
        Ok(())
    });
    match (failed, result) {
        (Some(_), _) if is_left => Err(NotBrought::Left),
        (Some(error), _) => Err(error.into()),
        (None, result) => Ok(result?),
    }
}
