//! Changes of the document by compare-and-swap, outside of any operation.

use std::sync::Arc;

use jiff::Timestamp;
use onward_core::document::Document;
use onward_core::outcome::Outcome;
use onward_core::ports::{StateStore, StoreError, WriteRefused};

use super::identity;

/// How often a change is tried anew because others wrote at the same time.
const TRIES_MAX: usize = 50;

/// Whether a change has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// It has.
    Yes,
    /// Everything is so already.
    No,
}

/// Why a change was not written, for all that is known.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others wrote again and again.
    #[error("the state changes too often")]
    Busy,
    /// The answer was lost, and the change is not there. It may still arrive.
    #[error("it is not known whether the state was written: {0}")]
    Unknown(String),
}

/// Changes the document: `edit` is asked again with what others wrote meanwhile, and `first` makes
/// the document when there is none. Returns what `edit` returned, and the document that was written;
/// none when it said that there is nothing to write.
///
/// # Errors
/// Those of `first` and `edit`, and [`Unwritten`].
pub fn edit<T, E: From<Unwritten>>(
    store: &dyn StateStore,
    first: impl Fn() -> Result<Document, E>,
    mut edit: impl FnMut(&mut Document) -> Result<(T, Write), E>,
) -> Result<(T, Option<Document>), E> {
    for _ in 0..TRIES_MAX {
        let stored = store.read().map_err(Unwritten::from)?;
        let mut next = match &stored {
            Some(stored) => (*stored.document).clone(),
            None => first()?,
        };
        let (result, write) = edit(&mut next)?;
        if write == Write::No {
            return Ok((result, None));
        }
        next.forget_secret_versions();
        let expected = next.follow(stored.as_ref(), identity::write_id(), Timestamp::now());
        let next = Arc::new(next);
        match store.write(expected, &next) {
            Outcome::Done(stored) => return Ok((result, Some((*stored.document).clone()))),
            Outcome::Refused(WriteRefused::Conflict) => {}
            Outcome::Refused(WriteRefused::Store(error)) => {
                return Err(Unwritten::Store(error).into());
            }
            Outcome::Unknown(cause) => {
                let found = store.read_generation(next.generation).map_err(Unwritten::from)?;
                if found.is_some_and(|found| found.document.write_id == next.write_id) {
                    return Ok((result, Some((*next).clone())));
                }
                let now = store.read().map_err(Unwritten::from)?;
                if now.map(|stored| stored.document.generation) == expected {
                    return Err(Unwritten::Unknown(cause).into());
                }
                // Something else was written: the lost write is refused when it arrives.
            }
        }
    }
    Err(Unwritten::Busy.into())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use onward_core::model::{Generation, Maintenance, ServerName, WriteId};
    use onward_core::ports::Stored;
    use onward_core::report::Report;
    use onward_testkit::fake::MemoryStore;

    use super::*;

    /// What goes wrong with a write.
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Fault {
        Nothing,
        /// Somebody else writes first.
        Overtaken,
        /// It is written, and the answer is lost.
        AnswerLost,
        /// It is lost on its way.
        Lost,
        /// It is lost on its way, and somebody else writes.
        LostAndOvertaken,
    }

    struct Faulty {
        inner: MemoryStore,
        faults: Cell<Vec<Fault>>,
    }

    impl Faulty {
        fn new(faults: &[Fault]) -> Self {
            let store = Self { inner: MemoryStore::new(), faults: Cell::default() };
            edited(&store).expect("nothing goes wrong with the first");
            store.faults.set(faults.iter().rev().copied().collect());
            store
        }

        fn somebody_else_writes(&self) {
            let current = self.inner.current();
            let mut next = document(&self.inner);
            let id = WriteId::new(&identity::fresh());
            let expected = next.follow(current.as_ref(), id, Timestamp::now());
            assert!(matches!(self.inner.write(expected, &Arc::new(next)), Outcome::Done(_)));
        }
    }

    impl StateStore for Faulty {
        fn read(&self) -> Result<Option<Stored>, StoreError> {
            self.inner.read()
        }

        fn write(
            &self,
            expected: Option<Generation>,
            next: &Arc<Document>,
        ) -> Outcome<Stored, WriteRefused> {
            let mut faults = self.faults.take();
            let fault = faults.pop().unwrap_or(Fault::Nothing);
            self.faults.set(faults);
            if matches!(fault, Fault::Overtaken | Fault::LostAndOvertaken) {
                self.somebody_else_writes();
            }
            if matches!(fault, Fault::Lost | Fault::LostAndOvertaken) {
                return Outcome::Unknown("the connection was lost".to_owned());
            }
            match self.inner.write(expected, next) {
                Outcome::Done(_) if fault == Fault::AnswerLost => {
                    Outcome::Unknown("the connection was lost".to_owned())
                }
                other => other,
            }
        }

        fn read_generation(&self, generation: Generation) -> Result<Option<Stored>, StoreError> {
            self.inner.read_generation(generation)
        }

        fn put_report(&self, server: &ServerName, report: &Report) -> Result<(), StoreError> {
            self.inner.put_report(server, report)
        }

        fn report(&self, server: &ServerName) -> Result<Option<Report>, StoreError> {
            self.inner.report(server)
        }
    }

    fn document(store: &MemoryStore) -> Document {
        (*store.current().expect("it was written").document).clone()
    }

    fn first() -> Result<Document, Unwritten> {
        let (app, environment) = ("shop".parse().unwrap(), "lab".parse().unwrap());
        Ok(Document::first(app, environment, WriteId::new("1"), Timestamp::UNIX_EPOCH))
    }

    const PAGE: Maintenance = Maintenance { page: None, retry_after_s: 1 };

    /// Waits one second more, so that it is seen how often the change was made.
    fn edited(store: &Faulty) -> Result<Option<Document>, Unwritten> {
        let edited = edit(store, first, |document| {
            let page = document.demand.maintenance.get_or_insert(PAGE);
            page.retry_after_s += 1;
            Ok(((), Write::Yes))
        });
        edited.map(|((), written)| written)
    }

    /// How often the change was made.
    fn times(document: &Document) -> u64 {
        document.demand.maintenance.as_ref().map_or(0, |page| page.retry_after_s - 1)
    }

    #[test]
    fn a_change_is_made_once_whatever_happens_on_its_way() {
        for faults in [
            &[][..],
            &[Fault::Overtaken, Fault::Overtaken],
            &[Fault::AnswerLost],
            &[Fault::LostAndOvertaken],
            &[Fault::LostAndOvertaken, Fault::Overtaken, Fault::AnswerLost],
        ] {
            let store = Faulty::new(faults);
            let written = edited(&store).expect("it is written").expect("it was one to write");
            let now = document(&store.inner);
            assert_eq!((times(&written), times(&now)), (2, 2), "{} faults", faults.len());
            assert_eq!(written.write_id, now.write_id);
        }
    }

    #[test]
    fn a_change_that_may_still_arrive_is_unknown_and_not_made_again() {
        let store = Faulty::new(&[Fault::Lost]);
        let why = edited(&store).expect_err("nobody knows");
        assert!(matches!(&why, Unwritten::Unknown(cause) if cause == "the connection was lost"));
        assert_eq!(times(&document(&store.inner)), 1);
    }

    #[test]
    fn others_who_write_all_the_time_end_the_tries() {
        let store = Faulty::new(&[Fault::Overtaken; TRIES_MAX]);
        assert!(matches!(edited(&store), Err(Unwritten::Busy)));
        assert_eq!(times(&document(&store.inner)), 1);
    }

    #[test]
    fn what_is_so_already_is_not_written() {
        let store = Faulty::new(&[]);
        let before = store.inner.all().len();
        let edited = edit(&store, first, |_| Ok::<_, Unwritten>(("so", Write::No)));
        assert!(matches!(edited, Ok(("so", None))));
        assert_eq!(store.inner.all().len(), before);
    }
}
