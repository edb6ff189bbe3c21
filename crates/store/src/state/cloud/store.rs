//! The store in a bucket.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use onward_core::document::Document;
use onward_core::model::{AppName, Digest, EnvironmentName, Generation, ServerName, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, Stored, WriteRefused, may_replace};
use onward_core::report::Report;

use super::judge::Head;
use super::open;
use super::wire::{BUSY, Object, Put, Reason, TRIES, Version, When, Wire, pause};
use crate::state::directory::{Difference, chained, decode_bytes, stored};
use crate::state::inspect::{Current, recorded_generation, recorded_name};
use crate::state::sign::{Address, Sign};
use crate::state::url::StoreUrl;

/// The documents of one app and environment in a bucket.
///
/// # Guarantees
/// Besides those of [`StateStore`]: several processes on several machines at once are safe, by the
/// store's own compare-and-swap; before the first write a store has to show that it has one. A
/// valid edit of `state.json` in the bucket that raises `generation` by one is obeyed: it is
/// chained and recorded by whoever reads it first.
///
/// An answer that was lost is looked for: a write that is found in the bucket is `Done`, one that
/// is not is tried again under the same condition, and only when that leads nowhere within a
/// minute the answer is `Unknown`.
///
/// # Caveats
/// It blocks, on a runtime of its own: inside of another one it must be asked from a thread where
/// blocking is allowed.
pub struct CloudStore {
    pub(super) wire: Wire,
    pub(super) url: StoreUrl,
    /// What the names of the objects of this app and environment begin with.
    directory: String,
    /// The head as last read or written here: good, and its copy is there.
    known: Mutex<Option<Known>>,
    /// Whether the store has shown that it honours conditions.
    pub(super) proven: Mutex<bool>,
}

/// A head that needs no second look while its version is the same.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) stored: Stored,
    pub(super) version: Version,
}

impl fmt::Debug for CloudStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudStore").field("url", &self.url.to_string()).finish_non_exhaustive()
    }
}

impl CloudStore {
    /// The store of one app and environment. Nothing is asked of the network yet.
    ///
    /// # Errors
    /// When the environment of this process says who asks in a way that cannot be used.
    pub fn open(
        url: &StoreUrl,
        app: &AppName,
        environment: &EnvironmentName,
    ) -> Result<Self, StoreError> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::open_with(url, app, environment, &variable)
    }

    /// The same with other variables than those of this process.
    ///
    /// # Errors
    /// When the variables say who asks in a way that cannot be used.
    pub fn open_with(
        url: &StoreUrl,
        app: &AppName,
        environment: &EnvironmentName,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, StoreError> {
        let place = url.to_string();
        let wire = open::wire(url, variable)
            .map_err(|reason| StoreError::Unavailable { place, reason })?;
        let directory = below(&url.prefix, &format!("{app}/{environment}"));
        let (known, proven) = (Mutex::new(None), Mutex::new(false));
        Ok(Self { wire, url: url.clone(), directory, known, proven })
    }

    /// The URL of the store.
    pub fn address(&self) -> Address {
        Address::new(self.url.to_string())
    }

    /// How many requests were made so far: what the cloud counts and charges.
    pub fn requests(&self) -> u64 {
        self.wire.requests()
    }

    /// All generations that were recorded, in order.
    ///
    /// # Errors
    /// When the bucket cannot be listed.
    pub fn generations(&self) -> Result<Vec<Generation>, StoreError> {
        let directory = format!("{}/history", self.directory);
        let names =
            self.wire.list(&directory).map_err(|reason| self.failed(&directory, &reason))?;
        let mut all: Vec<_> = names.iter().filter_map(|name| recorded_generation(name)).collect();
        all.sort_unstable();
        Ok(all)
    }

    /// The object that is not taken, when that is how things are.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub fn difference(&self) -> Result<Option<Difference>, StoreError> {
        let found = self.head()?;
        let Current::Damaged(reason) = self.judge(found.as_ref())? else { return Ok(None) };
        let last = self.generations()?.last().copied().unwrap_or_default();
        let Some(good_bytes) = self.recorded(last)? else { return Ok(None) };
        let good = decode_bytes(|| self.place(&self.recorded_object(last)), &good_bytes)?;
        let found = found.map(|object| object.bytes);
        Ok(Some(Difference { good, good_bytes, found, reason }))
    }

    /// Makes `document` the next generation after `good`, whatever the object holds now: how a
    /// person's decision about a damaged one is carried out.
    pub fn settle(
        &self,
        good: &Stored,
        document: Document,
        by: WriteId,
    ) -> Outcome<Stored, WriteRefused> {
        let when = match self.head() {
            Err(error) => return Outcome::Refused(WriteRefused::Store(error)),
            Ok(None) => When::Absent,
            Ok(Some(object)) => When::Is(object.version),
        };
        self.replace(when, &Arc::new(chained(good, document, by)))
    }

    /// The sign in the place of the document, if there is one.
    ///
    /// # Errors
    /// When the bucket cannot be read.
    pub fn sign(&self) -> Result<Option<Sign>, StoreError> {
        Ok(self.head()?.and_then(|object| Sign::decode(&object.bytes)))
    }

    /// The current document, with what others left undone finished.
    pub(super) fn settled(&self) -> Result<Option<Known>, StoreError> {
        for n in 1..=SETTLES_MAX {
            match self.look()? {
                Head::Settled(known) => return Ok(known.map(|known| self.remember(known))),
                Head::Changing => pause(n.min(TRIES / 2)),
            }
        }
        Err(StoreError::Unavailable {
            place: self.place(&self.head_object()),
            reason: format!("it was replaced by others {SETTLES_MAX} times while it was read"),
        })
    }

    pub(super) fn remember(&self, known: Known) -> Known {
        *self.known() = Some(known.clone());
        known
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn head_object(&self) -> String {
        format!("{}/state.json", self.directory)
    }

    pub(super) fn recorded_object(&self, generation: Generation) -> String {
        format!("{}/history/{}", self.directory, recorded_name(generation))
    }

    pub(super) fn report_object(&self, name: &str) -> String {
        format!("{}/{name}.json", self.report_directory())
    }

    pub(super) fn report_directory(&self) -> String {
        format!("{}/reports", self.directory)
    }

    pub(super) fn head(&self) -> Result<Option<Object>, StoreError> {
        let object = self.head_object();
        self.wire.get(&object).map_err(|reason| self.failed(&object, &reason))
    }

    pub(super) fn recorded(&self, generation: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        let object = self.recorded_object(generation);
        let found = self.wire.get(&object).map_err(|reason| self.failed(&object, &reason))?;
        Ok(found.map(|object| object.bytes))
    }

    /// How messages call an object.
    pub(super) fn place(&self, object: &str) -> String {
        let root = StoreUrl { prefix: String::new(), endpoint: None, ..self.url.clone() };
        let root = root.to_string();
        format!("{}/{object}", root.split('?').next().unwrap_or_default())
    }

    pub(super) fn failed(&self, object: &str, reason: &Reason) -> StoreError {
        StoreError::Unavailable { place: self.place(object), reason: reason.text.clone() }
    }
}

/// How often a head may be replaced by others while it is looked at. Each time somebody else got
/// something done.
const SETTLES_MAX: u32 = 100;

/// The name of an object below a prefix.
pub(super) fn below(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") }
}

impl StateStore for CloudStore {
    fn read(&self) -> Result<Option<Stored>, StoreError> {
        Ok(self.settled()?.map(|known| known.stored))
    }

    fn write(
        &self,
        expected: Option<Generation>,
        next: &Arc<Document>,
    ) -> Outcome<Stored, WriteRefused> {
        if let Err(error) = self.prove() {
            return Outcome::Refused(WriteRefused::Store(error));
        }
        let known = self.known().clone();
        let fits = |known: &Known| Some(known.stored.document.generation) == expected;
        let current = match known.filter(fits) {
            Some(known) => Some(known),
            None => match self.settled() {
                Ok(current) => current,
                Err(error) => return Outcome::Refused(WriteRefused::Store(error)),
            },
        };
        let generation = current.as_ref().map(|known| known.stored.document.generation);
        if !may_replace(generation, expected) {
            return Outcome::Refused(WriteRefused::Conflict);
        }
        self.replace(current.map_or(When::Absent, |known| When::Is(known.version)), next)
    }

    fn read_generation(&self, generation: Generation) -> Result<Option<Stored>, StoreError> {
        let place = || self.place(&self.recorded_object(generation));
        self.recorded(generation)?.map(|bytes| decode_bytes(place, &bytes)).transpose()
    }

    fn put_report(&self, server: &ServerName, report: &Report) -> Result<(), StoreError> {
        let object = self.report_object(server.as_str());
        let bytes = serde_json::to_vec_pretty(report).expect("a report has only text keys");
        self.overwrite(&object, &bytes)
    }

    fn report(&self, server: &ServerName) -> Result<Option<Report>, StoreError> {
        let object = self.report_object(server.as_str());
        let found = self.wire.get(&object).map_err(|reason| self.failed(&object, &reason))?;
        let Some(found) = found else { return Ok(None) };
        serde_json::from_slice(&found.bytes).map(Some).map_err(|error| StoreError::Unavailable {
            place: self.place(&object),
            reason: error.to_string(),
        })
    }
}

impl CloudStore {
    /// Writes an object that only one writer has, until it is known to be there.
    pub(super) fn overwrite(&self, object: &str, bytes: &[u8]) -> Result<(), StoreError> {
        super::wire::patiently(|| match self.wire.put_once(object, bytes, &When::Always) {
            Put::Done(_) => Ok(()),
            Put::Unmet => Err(Reason::passing(BUSY)),
            Put::Refused(reason) | Put::Unknown(reason) => Err(reason),
        })
        .map_err(|reason| self.failed(object, &reason))
    }

    /// What is stored, of bytes that were judged good.
    pub(super) fn good(document: Document, digest: Digest) -> Stored {
        stored(document, digest)
    }
}
