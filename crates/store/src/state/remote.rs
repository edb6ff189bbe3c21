//! The documents that another machine keeps in a directory, asked for over a connection.
//!
//! What is asked and what is said are values, one of each for every thing that a store does. The
//! machine that keeps the documents answers with [`answer`]; this side is a [`RemoteStore`], which
//! keeps the same promises as the directory does.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use onward_core::document::Document;
use onward_core::model::{Digest, Generation, ServerName, WriteId};
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, Stored, WriteRefused};
use onward_core::report::Report;
use serde::{Deserialize, Serialize};

use super::directory::{Difference, DirectoryStore};
use super::sign::{Address, Sign};

/// What is asked of the machine that keeps the documents of one app and environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// The document, unless it is the one of this digest.
    Read {
        /// What is known already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        known: Option<Digest>,
    },
    /// Replace the document.
    Write {
        /// The generation that is replaced.
        expected: Option<Generation>,
        /// What replaces it.
        next: Arc<Document>,
    },
    /// The document of a generation.
    ReadGeneration(Generation),
    /// All generations.
    Generations,
    /// Keep the report of a server.
    PutReport {
        /// The server.
        server: ServerName,
        /// Its report.
        report: Box<Report>,
    },
    /// The report of a server.
    Report(ServerName),
    /// What is there instead of the document.
    Difference,
    /// Make this the next generation after `good`.
    Settle {
        /// The last good generation.
        good: Stored,
        /// What shall follow.
        document: Box<Document>,
        /// The attempt.
        by: WriteId,
    },
    /// The sign in the place of the document.
    Sign,
    /// The bytes in the place of the document.
    Head,
    /// Replace these bytes.
    SwapHead {
        /// What is replaced.
        expected: Option<Vec<u8>>,
        /// What replaces it.
        bytes: Vec<u8>,
    },
    /// The bytes of a generation.
    Recorded(Generation),
    /// Keep the bytes of a generation.
    KeepRecorded {
        /// The generation.
        generation: Generation,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Every server follows this generation; see [`StateStore::settled`].
    Settled(Generation),
    /// The names of all reports.
    ReportNames,
    /// The bytes of a report.
    ReportBytes(String),
    /// Keep the bytes of a report.
    KeepReport {
        /// Its name.
        name: String,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

/// What the machine that keeps the documents says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// It is the document that is known.
    Same,
    /// A document, when there is one.
    Stored(Option<Stored>),
    /// How a write ended.
    Written(Outcome<Stored, WriteRefused>),
    /// Generations.
    Generations(Vec<Generation>),
    /// A report, when there is one.
    Report(Option<Box<Report>>),
    /// What is there instead of the document.
    Difference(Option<WireDifference>),
    /// A sign, when there is one.
    Sign(Option<Sign>),
    /// Bytes, when there are some.
    Bytes(Option<Vec<u8>>),
    /// How a change of bytes ended.
    Swapped(Outcome<(), WriteRefused>),
    /// Whether the bytes are those that are kept.
    Kept(bool),
    /// Names.
    Names(Vec<String>),
    /// It was done.
    Done,
    /// It could not be done.
    Failed(StoreError),
}

/// A [`Difference`] on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WireDifference {
    good: Stored,
    good_bytes: Vec<u8>,
    found: Option<Vec<u8>>,
    reason: String,
}

/// Does what is asked, with the documents of this machine. This blocks.
pub fn answer(store: &DirectoryStore, ask: Ask) -> Said {
    let failed = Said::Failed;
    match ask {
        Ask::Read { known } => store.read().map_or_else(failed, |stored| match &stored {
            Some(found) if Some(found.digest) == known => Said::Same,
            _ => Said::Stored(stored),
        }),
        Ask::Write { expected, next } => Said::Written(store.write(expected, &next)),
        Ask::ReadGeneration(number) => {
            store.read_generation(number).map_or_else(failed, Said::Stored)
        }
        Ask::Generations => store.generations().map_or_else(failed, Said::Generations),
        Ask::PutReport { server, report } => {
            store.put_report(&server, &report).map_or_else(failed, |()| Said::Done)
        }
        Ask::Report(server) => {
            store.report(&server).map_or_else(failed, |own| Said::Report(own.map(Box::new)))
        }
        Ask::Difference => store.difference().map_or_else(failed, |found| {
            let wire = |Difference { good, good_bytes, found, reason }| WireDifference {
                good,
                good_bytes,
                found,
                reason,
            };
            Said::Difference(found.map(wire))
        }),
        Ask::Settle { good, document, by } => Said::Written(store.settle(&good, *document, by)),
        Ask::Sign => store.sign().map_or_else(failed, Said::Sign),
        Ask::Head => store.head_bytes().map_or_else(failed, Said::Bytes),
        Ask::SwapHead { expected, bytes } => {
            Said::Swapped(store.swap_head(expected.as_deref(), &bytes))
        }
        Ask::Recorded(number) => store.recorded_bytes(number).map_or_else(failed, Said::Bytes),
        Ask::KeepRecorded { generation, bytes } => {
            store.keep_recorded(generation, &bytes).map_or_else(failed, Said::Kept)
        }
        Ask::Settled(_) => Said::Done,
        Ask::ReportNames => store.report_names().map_or_else(failed, Said::Names),
        // The name becomes one of a file.
        Ask::ReportBytes(name) => match name.parse::<ServerName>() {
            Ok(_) => store.report_bytes(&name).map_or_else(failed, Said::Bytes),
            Err(_) => Said::Bytes(None),
        },
        Ask::KeepReport { name, bytes } => match name.parse::<ServerName>() {
            Ok(_) => store.keep_report(&name, &bytes).map_or_else(failed, |()| Said::Done),
            Err(error) => {
                let place = store.address().to_string();
                Said::Failed(StoreError::Unavailable { place, reason: error.to_string() })
            }
        },
    }
}

/// Why nothing was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// It was not asked: nobody could be reached.
    NotAsked(String),
    /// It was asked, and the answer was lost: it may have been done.
    Unknown(String),
}

/// The way to the machine that keeps the documents.
pub trait Carry: fmt::Debug + Send + Sync {
    /// Asks, and waits for what is said. What only reads is asked again over a new connection for a
    /// while, when the connection was lost.
    ///
    /// # Errors
    /// [`Silence`].
    fn carry(&self, ask: &Ask) -> Result<Said, Silence>;
}

/// The documents that another machine keeps.
#[derive(Debug)]
pub struct RemoteStore {
    way: Arc<dyn Carry>,
    place: String,
    address: Address,
    /// The document as it was last read: it need not travel again.
    known: Mutex<Option<Stored>>,
}

impl RemoteStore {
    /// The store at the end of `way`; `place` names it to people.
    pub fn new(way: Arc<dyn Carry>, place: String) -> Self {
        let address = Address::new(&place);
        Self { way, place, address, known: Mutex::default() }
    }

    /// The same, under an address that everybody has for it.
    #[must_use]
    pub fn at(self, address: Address) -> Self {
        Self { address, ..self }
    }

    /// Where it is, in words.
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    fn ask<T>(&self, ask: &Ask, take: impl FnOnce(Said) -> Option<T>) -> Result<T, StoreError> {
        match self.way.carry(ask) {
            Ok(Said::Failed(error)) => Err(error),
            Ok(said) => take(said).ok_or_else(|| self.unavailable("it says something else")),
            Err(Silence::NotAsked(reason) | Silence::Unknown(reason)) => {
                Err(self.unavailable(&reason))
            }
        }
    }

    fn unavailable(&self, reason: &str) -> StoreError {
        StoreError::Unavailable { place: self.place.clone(), reason: reason.to_owned() }
    }

    /// Asks for a change: a lost answer leaves it unknown.
    fn change<T>(
        &self,
        ask: &Ask,
        take: impl FnOnce(Said) -> Option<Outcome<T, WriteRefused>>,
    ) -> Outcome<T, WriteRefused> {
        match self.way.carry(ask) {
            Ok(Said::Failed(error)) => Outcome::Refused(WriteRefused::Store(error)),
            Ok(said) => take(said)
                .unwrap_or_else(|| Outcome::Unknown("the manager says something else".to_owned())),
            Err(Silence::NotAsked(reason)) => {
                Outcome::Refused(WriteRefused::Store(self.unavailable(&reason)))
            }
            Err(Silence::Unknown(reason)) => Outcome::Unknown(reason),
        }
    }

    /// See [`DirectoryStore::generations`].
    ///
    /// # Errors
    /// When the machine cannot be asked, and its own.
    pub fn generations(&self) -> Result<Vec<Generation>, StoreError> {
        self.ask(&Ask::Generations, |said| match said {
            Said::Generations(all) => Some(all),
            _ => None,
        })
    }

    /// See [`DirectoryStore::difference`].
    ///
    /// # Errors
    /// When the machine cannot be asked, and its own.
    pub fn difference(&self) -> Result<Option<Difference>, StoreError> {
        self.ask(&Ask::Difference, |said| match said {
            Said::Difference(found) => {
                let own = |WireDifference { good, good_bytes, found, reason }| Difference {
                    good,
                    good_bytes,
                    found,
                    reason,
                };
                Some(found.map(own))
            }
            _ => None,
        })
    }

    /// See [`DirectoryStore::settle`].
    pub fn settle(
        &self,
        good: &Stored,
        document: Document,
        by: WriteId,
    ) -> Outcome<Stored, WriteRefused> {
        let ask = Ask::Settle { good: good.clone(), document: Box::new(document), by };
        self.change(&ask, |said| match said {
            Said::Written(outcome) => Some(outcome),
            _ => None,
        })
    }

    /// See [`DirectoryStore::sign`].
    ///
    /// # Errors
    /// When the machine cannot be asked, and its own.
    pub fn sign(&self) -> Result<Option<Sign>, StoreError> {
        self.ask(&Ask::Sign, |said| match said {
            Said::Sign(sign) => Some(sign),
            _ => None,
        })
    }
}

/// What is kept, in bytes: for moving it elsewhere.
impl RemoteStore {
    pub(super) fn head_bytes(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(&Ask::Head, bytes)
    }

    pub(super) fn swap_head(
        &self,
        expected: Option<&[u8]>,
        bytes: &[u8],
    ) -> Outcome<(), WriteRefused> {
        let expected = expected.map(<[u8]>::to_vec);
        let ask = Ask::SwapHead { expected, bytes: bytes.to_vec() };
        self.change(&ask, |said| match said {
            Said::Swapped(outcome) => Some(outcome),
            _ => None,
        })
    }

    pub(super) fn recorded_bytes(&self, number: Generation) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(&Ask::Recorded(number), bytes)
    }

    pub(super) fn keep_recorded(
        &self,
        generation: Generation,
        bytes: &[u8],
    ) -> Result<bool, StoreError> {
        let ask = Ask::KeepRecorded { generation, bytes: bytes.to_vec() };
        self.ask(&ask, |said| match said {
            Said::Kept(same) => Some(same),
            _ => None,
        })
    }

    pub(super) fn report_names(&self) -> Result<Vec<String>, StoreError> {
        self.ask(&Ask::ReportNames, |said| match said {
            Said::Names(names) => Some(names),
            _ => None,
        })
    }

    pub(super) fn report_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.ask(&Ask::ReportBytes(name.to_owned()), bytes)
    }

    pub(super) fn keep_report(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let ask = Ask::KeepReport { name: name.to_owned(), bytes: bytes.to_vec() };
        self.ask(&ask, |said| done(&said))
    }
}

fn bytes(said: Said) -> Option<Option<Vec<u8>>> {
    match said {
        Said::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

fn done(said: &Said) -> Option<()> {
    matches!(said, Said::Done).then_some(())
}

impl StateStore for RemoteStore {
    fn read(&self) -> Result<Option<Stored>, StoreError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let ask = Ask::Read { known: known.as_ref().map(|stored| stored.digest) };
        let before = known.clone();
        let now = self.ask(&ask, |said| match said {
            Said::Same => Some(before),
            Said::Stored(stored) => Some(stored),
            _ => None,
        })?;
        known.clone_from(&now);
        Ok(now)
    }

    fn write(
        &self,
        expected: Option<Generation>,
        next: &Arc<Document>,
    ) -> Outcome<Stored, WriteRefused> {
        let ask = Ask::Write { expected, next: Arc::clone(next) };
        self.change(&ask, |said| match said {
            Said::Written(outcome) => Some(outcome),
            _ => None,
        })
    }

    fn read_generation(&self, generation: Generation) -> Result<Option<Stored>, StoreError> {
        self.ask(&Ask::ReadGeneration(generation), |said| match said {
            Said::Stored(stored) => Some(stored),
            _ => None,
        })
    }

    fn put_report(&self, server: &ServerName, report: &Report) -> Result<(), StoreError> {
        let (server, report) = (server.clone(), Box::new(report.clone()));
        self.ask(&Ask::PutReport { server, report }, |said| done(&said))
    }

    fn report(&self, server: &ServerName) -> Result<Option<Report>, StoreError> {
        self.ask(&Ask::Report(server.clone()), |said| match said {
            Said::Report(report) => Some(report.map(|report| *report)),
            _ => None,
        })
    }

    fn settled(&self, generation: Generation) {
        // A manager that does not hear it, or is too old to know it, looks for itself.
        let _ = self.way.carry(&Ask::Settled(generation));
    }
}
