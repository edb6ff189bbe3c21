//! Bundles that a client brings.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use onward_core::model::Digest;
use onward_store::bundle::{Arrival, Error, PACK_FILE_BYTES_MAX, Store};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::unix::OwnedReadHalf;
use tokio::time::timeout;

use super::serve::PATIENCE;
use crate::protocol::Answer;

/// The longest packed manifest that is taken, in bytes: what the longest manifest may have.
const MANIFEST_BYTES_MAX: u32 = 64 << 20;

/// What one connection is bringing.
pub(super) struct Arrivals {
    bundles: PathBuf,
    arrival: Option<Arc<Arrival>>,
    /// What was wrong with a pack.
    trouble: Option<String>,
}

impl Arrivals {
    /// Into the store below `bundles`.
    pub(super) fn into_store(bundles: &Path) -> Self {
        Self { bundles: bundles.to_owned(), arrival: None, trouble: None }
    }

    /// Whether a bundle is there.
    pub(super) async fn holds(&self, bundle: Digest, base: Option<Digest>) -> Answer {
        self.with_store(move |store| {
            let base_held = base.map_or(Ok(false), |base| store.has(base))?;
            // Who asks is about to order a release of it.
            let held = store.has_and_renews(bundle, SystemTime::now())?;
            Ok(Answer::Bundle { held, base_held })
        })
        .await
    }

    /// Begins to take a bundle, whose manifest follows.
    pub(super) async fn begin(
        &mut self,
        bundle: Digest,
        base: Option<Digest>,
        bytes: u32,
        reader: &mut BufReader<OwnedReadHalf>,
    ) -> io::Result<Answer> {
        if bytes > MANIFEST_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let packed = content(reader, bytes).await?;
        (self.arrival, self.trouble) = (None, None);
        let bundles = self.bundles.clone();
        let begun = tokio::task::spawn_blocking(move || {
            let store = Store::open(bundles)?;
            let arrival = Arrival::begin(&store, bundle, base, &packed)?;
            arrival.require_space()?;
            let contents = arrival.lacks()?;
            Ok::<_, Error>((arrival, contents))
        });
        Ok(match begun.await {
            Ok(Ok((arrival, contents))) => {
                self.arrival = Some(Arc::new(arrival));
                Answer::Lacks { contents }
            }
            Ok(Err(error)) => refused(&error),
            Err(_) => ending(),
        })
    }

    /// Takes contents, which follow.
    pub(super) async fn take(
        &mut self,
        bytes: u32,
        reader: &mut BufReader<OwnedReadHalf>,
    ) -> io::Result<()> {
        if u64::from(bytes) > PACK_FILE_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let pack = content(reader, bytes).await?;
        let Some(arrival) = self.arrival.clone() else { return Ok(()) };
        let taken = tokio::task::spawn_blocking(move || arrival.take(&pack)).await;
        if let Ok(Err(error)) = taken {
            self.trouble.get_or_insert_with(|| words(&error));
        }
        Ok(())
    }

    /// Makes the bundle visible, or says what is lacking.
    pub(super) async fn complete(&mut self) -> Answer {
        if let Some(text) = self.trouble.take() {
            return Answer::Refused { text };
        }
        let Some(arrival) = self.arrival.clone() else {
            return Answer::Refused { text: "no bundle is being taken".to_owned() };
        };
        let completed = tokio::task::spawn_blocking(move || {
            if arrival.complete(SystemTime::now())? {
                return Ok(Vec::new());
            }
            arrival.lacks()
        });
        match completed.await {
            Ok(Ok(contents)) => {
                if contents.is_empty() {
                    self.arrival = None;
                }
                Answer::Lacks { contents }
            }
            Ok(Err(error)) => refused(&error),
            Err(_) => ending(),
        }
    }

    async fn with_store(
        &self,
        what: impl FnOnce(&Store) -> Result<Answer, Error> + Send + 'static,
    ) -> Answer {
        let bundles = self.bundles.clone();
        let done = tokio::task::spawn_blocking(move || what(&Store::open(bundles)?)).await;
        match done {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => refused(&error),
            Err(_) => ending(),
        }
    }
}

async fn content(reader: &mut BufReader<OwnedReadHalf>, bytes: u32) -> io::Result<Vec<u8>> {
    let mut content = vec![0; bytes as usize];
    timeout(PATIENCE, reader.read_exact(&mut content)).await??;
    Ok(content)
}

fn refused(error: &Error) -> Answer {
    Answer::Refused { text: words(error) }
}

fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn ending() -> Answer {
    Answer::Refused { text: "the agent is ending".to_owned() }
}
