//! Whether a store keeps what every store has to promise.
//!
//! Many stores that speak a cloud's protocol take a conditional write and ignore the condition.
//! With one of those two deploys at once overwrite each other without anybody noticing. So before
//! the first write a store has to show that it honours conditions. That it did is remembered in
//! the bucket itself, for each endpoint, so that not every machine asks again.

use std::hash::{BuildHasher, RandomState};
use std::sync::PoisonError;

use onward_core::model::Digest;
use onward_core::ports::StoreError;
use serde::{Deserialize, Serialize};

use super::store::{CloudStore, below};
use super::wire::{Put, Reason, Version, When};

/// The number of what is tried. A store that passed a lower one is tried again.
pub const PROBE: u32 = 1;
/// How often an object is read after it was written: a store with late replicas shows it by then.
const READS: u32 = 8;
/// How many write at the same time.
const WRITERS: usize = 4;
/// How often they do. A store that is atomic by luck has some each time.
const ROUNDS: usize = 5;
/// How often the whole is begun anew when the store could not be asked.
const ATTEMPTS: u32 = 3;

/// What a store does that makes it unfit for documents that several people change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Weakness {
    /// It takes no conditions at all.
    #[error(
        "it refuses writes that have a condition (If-None-Match, If-Match), so nobody can change the state without overwriting somebody else's change"
    )]
    NoConditions,
    /// `If-None-Match: *` on an object that is there.
    #[error(
        "it ignores If-None-Match: an object that was there was created a second time, so two first deploys at once would overwrite each other"
    )]
    CreatesTwice,
    /// `If-Match` with the version of an earlier content.
    #[error(
        "it ignores If-Match: an object was replaced by a writer that knew only an earlier content, so two deploys at once would overwrite each other"
    )]
    ReplacesStale,
    /// More than one of several writers at once.
    #[error(
        "it checks a condition and writes in two steps: of several writers at the same time more than one was told that it had won"
    )]
    BothWin,
    /// An earlier content after a later one.
    #[error(
        "it answers with old content after it has acknowledged new content, so a deploy would decide by a state that is no more"
    )]
    StaleReads,
    /// Another content than was written.
    #[error(
        "it acknowledges writes that it does not keep whole: what was read back is not what was written"
    )]
    LosesWrites,
    /// No ETag, a weak one, or different ones for writing and reading.
    #[error(
        "it gives no strong version (ETag) of an object that is the same when writing and when reading, so no condition can name one"
    )]
    NoVersions,
    /// The same ETag for different content.
    #[error(
        "its version (ETag) of an object stays the same when the content changes, so a condition cannot tell one from the other"
    )]
    SameVersion,
    /// A list without an object that is there.
    #[error(
        "its lists leave out objects that were acknowledged, so generations of the state would seem lost"
    )]
    LateLists,
}

impl Weakness {
    /// Every weakness that is looked for.
    pub const ALL: [Self; 9] = [
        Self::NoConditions,
        Self::CreatesTwice,
        Self::ReplacesStale,
        Self::BothWin,
        Self::StaleReads,
        Self::LosesWrites,
        Self::NoVersions,
        Self::SameVersion,
        Self::LateLists,
    ];
}

/// Why a store was not found fit.
#[derive(Debug)]
enum Unfit {
    Weak(Weakness),
    Unasked(Reason),
}

impl From<Reason> for Unfit {
    fn from(reason: Reason) -> Self {
        Self::Unasked(reason)
    }
}

/// What is remembered of a store.
#[derive(Debug, Serialize, Deserialize)]
struct Passed {
    probe: u32,
    endpoint: Option<String>,
}

impl CloudStore {
    /// Tries whether the store is fit for documents, whatever is remembered of it.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] with what it does; [`StoreError::Unavailable`] when it cannot be
    /// asked.
    pub fn probe(&self) -> Result<(), StoreError> {
        let mut attempt = 1;
        let unfit = loop {
            match self.tried() {
                Ok(()) => return Ok(()),
                Err(Unfit::Unasked(reason)) if reason.passing && attempt < ATTEMPTS => attempt += 1,
                Err(unfit) => break unfit,
            }
        };
        match unfit {
            Unfit::Weak(weakness) => {
                Err(StoreError::Unfit { place: self.url.to_string(), reason: weakness.to_string() })
            }
            Unfit::Unasked(reason) => Err(self.failed(&self.probe_directory(), &reason)),
        }
    }

    /// Makes sure, once in a process, that the store was found fit by somebody.
    pub(super) fn prove(&self) -> Result<(), StoreError> {
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if *proven {
            return Ok(());
        }
        let endpoint = self.url.endpoint.clone();
        let key = Digest::of(endpoint.as_deref().unwrap_or_default().as_bytes()).to_string();
        let object = format!("{}/{}.json", self.probe_directory(), &key[..16]);
        let found = self.wire.get(&object).map_err(|reason| self.failed(&object, &reason))?;
        let passed = found.and_then(|found| serde_json::from_slice::<Passed>(&found.bytes).ok());
        if passed.is_none_or(|passed| passed.probe < PROBE || passed.endpoint != endpoint) {
            self.probe()?;
            let passed = Passed { probe: PROBE, endpoint };
            let bytes = serde_json::to_vec_pretty(&passed).expect("text and a number");
            self.overwrite(&object, &bytes)?;
        }
        *proven = true;
        Ok(())
    }

    fn probe_directory(&self) -> String {
        below(&self.url.prefix, "onward-probe")
    }

    fn tried(&self) -> Result<(), Unfit> {
        let hash = || RandomState::new().hash_one(std::time::Instant::now());
        let directory = format!("{}/{:016x}{:016x}", self.probe_directory(), hash(), hash());
        let object = format!("{directory}/object");
        let result = self
            .conditions(&object)
            .and_then(|()| self.missing(&format!("{directory}/missing")))
            .and_then(|()| self.listed(&directory))
            .and_then(|()| self.races(&object));
        for name in ["object", "missing"] {
            // What may not be removed stays: it is a few bytes, and nobody reads it.
            let _ = self.wire.delete(&format!("{directory}/{name}"));
        }
        result
    }

    /// One writer: each condition that does not hold is refused, and nothing is changed then.
    fn conditions(&self, object: &str) -> Result<(), Unfit> {
        if self.wire.get(object)?.is_some() {
            return Err(Unfit::Weak(Weakness::StaleReads));
        }
        let first = self.must(object, b"one", &When::Absent)?;
        self.reads(object, b"one", b"", &first)?;
        if self.put(object, b"two", &When::Absent)?.is_some() {
            return Err(Unfit::Weak(Weakness::CreatesTwice));
        }
        self.unchanged(object, b"one", Weakness::CreatesTwice)?;
        let second = self.must(object, b"second", &When::Is(first.clone()))?;
        if second == first {
            return Err(Unfit::Weak(Weakness::SameVersion));
        }
        self.reads(object, b"second", b"one", &second)?;
        if self.put(object, b"three", &When::Is(first))?.is_some() {
            return Err(Unfit::Weak(Weakness::ReplacesStale));
        }
        self.unchanged(object, b"second", Weakness::ReplacesStale)
    }

    /// A condition that names a version does not hold where there is no object.
    fn missing(&self, object: &str) -> Result<(), Unfit> {
        let first = self.must(object, b"one", &When::Absent)?;
        if self.wire.delete(object).is_err() || self.wire.get(object)?.is_some() {
            // Removing is not allowed here, or comes later: then this is not asked.
            return Ok(());
        }
        match self.put(object, b"two", &When::Is(first))? {
            Some(_) => Err(Unfit::Weak(Weakness::ReplacesStale)),
            None => Ok(()),
        }
    }

    fn listed(&self, directory: &str) -> Result<(), Unfit> {
        let names = self.wire.list(directory)?;
        match names.iter().any(|name| name == "object") {
            true => Ok(()),
            false => Err(Unfit::Weak(Weakness::LateLists)),
        }
    }

    /// Several writers at once: one wins, and it is its content that is there.
    fn races(&self, object: &str) -> Result<(), Unfit> {
        for round in 0..ROUNDS {
            let Some(current) = self.wire.get(object)? else {
                return Err(Unfit::Weak(Weakness::LosesWrites));
            };
            let when = When::Is(current.version);
            let tries: Vec<_> = std::thread::scope(|scope| {
                let writers: Vec<_> = (0..WRITERS)
                    .map(|writer| {
                        let when = &when;
                        scope.spawn(move || {
                            self.put(object, content(round, writer).as_bytes(), when)
                        })
                    })
                    .collect();
                writers.into_iter().map(|writer| writer.join().expect("no writer panics")).collect()
            });
            let tries = tries.into_iter().collect::<Result<Vec<_>, _>>()?;
            let winners: Vec<_> = (0..WRITERS).filter(|writer| tries[*writer].is_some()).collect();
            match winners[..] {
                // Each was told that somebody else is writing.
                [] => {}
                [winner] => {
                    self.unchanged(object, content(round, winner).as_bytes(), Weakness::BothWin)?;
                }
                _ => return Err(Unfit::Weak(Weakness::BothWin)),
            }
        }
        Ok(())
    }

    /// A write whose condition holds.
    fn must(&self, object: &str, bytes: &[u8], when: &When) -> Result<Version, Unfit> {
        let version = match self.put(object, bytes, when) {
            Ok(Some(version)) => version,
            Ok(None) => return Err(Unfit::Weak(Weakness::NoConditions)),
            Err(Unfit::Unasked(reason)) => return Err(self.without_condition(object, reason)),
            Err(unfit) => return Err(unfit),
        };
        let strong = version.etag().is_some_and(|tag| !tag.is_empty() && !tag.starts_with("W/"));
        if strong { Ok(version) } else { Err(Unfit::Weak(Weakness::NoVersions)) }
    }

    /// Tells a store that takes no conditions from one that takes no writes.
    fn without_condition(&self, object: &str, reason: Reason) -> Unfit {
        if reason.passing {
            return Unfit::Unasked(reason);
        }
        match self.wire.put_once(object, b"plain", &When::Always) {
            Put::Done(_) => Unfit::Weak(Weakness::NoConditions),
            _ => Unfit::Unasked(reason),
        }
    }

    /// One try; `None`: the condition does not hold.
    fn put(&self, object: &str, bytes: &[u8], when: &When) -> Result<Option<Version>, Unfit> {
        match self.wire.put_once(object, bytes, when) {
            Put::Done(version) => Ok(Some(version)),
            Put::Unmet => Ok(None),
            // A version is part of every success; without one nothing can be asked.
            Put::Unknown(reason) if reason.answered_with_success => {
                Err(Unfit::Weak(Weakness::NoVersions))
            }
            Put::Refused(reason) | Put::Unknown(reason) => Err(Unfit::Unasked(reason)),
        }
    }

    /// What was acknowledged is read, each time, with the version that the write was given.
    fn reads(
        &self,
        object: &str,
        bytes: &[u8],
        before: &[u8],
        version: &Version,
    ) -> Result<(), Unfit> {
        for _ in 0..READS {
            let found = self.wire.get(object)?;
            let Some(found) = found else {
                return Err(Unfit::Weak(Weakness::LosesWrites));
            };
            if found.bytes == before {
                return Err(Unfit::Weak(Weakness::StaleReads));
            }
            if found.bytes != bytes {
                return Err(Unfit::Weak(Weakness::LosesWrites));
            }
            if found.version != *version {
                return Err(Unfit::Weak(Weakness::NoVersions));
            }
        }
        Ok(())
    }

    fn unchanged(&self, object: &str, bytes: &[u8], otherwise: Weakness) -> Result<(), Unfit> {
        match self.wire.get(object)? {
            Some(found) if found.bytes == bytes => Ok(()),
            _ => Err(Unfit::Weak(otherwise)),
        }
    }
}

/// No two writes have the same content: a store may give the same content the same version.
fn content(round: usize, writer: usize) -> String {
    format!("round {round}, writer {writer}")
}
