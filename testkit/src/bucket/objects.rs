//! The objects, and conditions on them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::Habit;
use super::dialect::{Action, Condition};

/// How long a store that works in two steps takes between them.
pub(super) const BETWEEN_STEPS: Duration = Duration::from_millis(15);
/// How many names a list has at most.
const PAGE: usize = 100;

/// One content of an object.
#[derive(Debug, Clone)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    /// A number that no other content of the bucket has.
    pub(super) generation: u64,
    pub(super) etag: Option<String>,
}

#[derive(Debug)]
struct Object {
    now: Content,
    before: Option<Content>,
    reads: u64,
}

/// What carrying out an action came to.
pub(super) enum Result {
    Found(Content),
    NotFound,
    Written(Content),
    Deleted,
    /// There is an object where none may be.
    Exists,
    /// The object has another content.
    Changed,
    /// The object that was named by its content is not there.
    Gone,
    /// Conditions are not known here.
    NotImplemented,
    /// Names, sizes and contents; where to go on.
    Listed(Vec<(String, Content)>, Option<String>),
}

pub(super) struct Objects {
    habit: Habit,
    all: BTreeMap<String, Object>,
    last: u64,
}

impl Objects {
    pub(super) fn new(habit: Habit) -> Self {
        Self { habit, all: BTreeMap::new(), last: 0 }
    }

    pub(super) fn keys(&self) -> Vec<String> {
        self.all.keys().cloned().collect()
    }

    pub(super) fn content(&self, key: &str) -> Option<Vec<u8>> {
        self.all.get(key).map(|object| object.now.bytes.clone())
    }

    pub(super) fn put_by_hand(&mut self, key: &str, bytes: &[u8]) {
        self.write(key, bytes.to_vec());
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.all.remove(key);
    }

    pub(super) fn carry_out(&mut self, action: &Action) -> Result {
        match action {
            Action::Get { key } => self.read(key),
            Action::Put { key, bytes, .. } => match self.condition_holds(action) {
                Ok(()) => Result::Written(self.acknowledge(key, bytes)),
                Err(refused) => refused,
            },
            Action::Delete { key } => {
                self.all.remove(key);
                Result::Deleted
            }
            Action::List { prefix, after } => self.list(prefix, after.as_deref()),
        }
    }

    pub(super) fn condition_holds(&self, action: &Action) -> std::result::Result<(), Result> {
        let Action::Put { key, when, .. } = action else { return Ok(()) };
        if self.habit == Habit::RefusesConditions && *when != Condition::None {
            return Err(Result::NotImplemented);
        }
        let now = self.all.get(key).map(|object| &object.now);
        let ignored = matches!(
            (self.habit, when),
            (Habit::IgnoresCreate, Condition::Absent)
                | (Habit::IgnoresMatch, Condition::Etag(_) | Condition::Generation(_))
        );
        match (when, now) {
            _ if ignored => Ok(()),
            (Condition::None, _) | (Condition::Absent, None) => Ok(()),
            (Condition::Absent, Some(_)) => Err(Result::Exists),
            (Condition::Etag(_) | Condition::Generation(_), None) => Err(Result::Gone),
            (Condition::Etag(etag), Some(now)) if now.etag.as_ref() == Some(etag) => Ok(()),
            (Condition::Generation(number), Some(now)) if now.generation == *number => Ok(()),
            _ => Err(Result::Changed),
        }
    }

    fn acknowledge(&mut self, key: &str, bytes: &[u8]) -> Content {
        match self.habit {
            Habit::Drops if self.all.contains_key(key) => {
                self.last += 1;
                self.content_of(bytes.to_vec())
            }
            Habit::Truncates => {
                let honest = self.content_of(bytes.to_vec());
                self.write(key, bytes[..bytes.len() / 2].to_vec());
                honest
            }
            _ => self.write(key, bytes.to_vec()),
        }
    }

    fn write(&mut self, key: &str, bytes: Vec<u8>) -> Content {
        self.last += 1;
        let now = self.content_of(bytes);
        let before = self.all.remove(key).map(|object| object.now);
        self.all.insert(key.to_owned(), Object { now: now.clone(), before, reads: 0 });
        now
    }

    fn content_of(&self, bytes: Vec<u8>) -> Content {
        // As S3 does it: the same content has the same ETag.
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let strong = format!("\"{:016x}\"", hasher.finish());
        let etag = match self.habit {
            Habit::NoEtag => None,
            Habit::WeakEtag => Some(format!("W/{strong}")),
            Habit::SameEtag => Some("\"etag\"".to_owned()),
            _ => Some(strong),
        };
        Content { bytes, generation: self.last, etag }
    }

    fn read(&mut self, key: &str) -> Result {
        let stale = self.habit == Habit::StaleReads;
        let Some(object) = self.all.get_mut(key) else { return Result::NotFound };
        object.reads += 1;
        match &object.before {
            Some(before) if stale && object.reads % 2 == 0 => Result::Found(before.clone()),
            _ => Result::Found(object.now.clone()),
        }
    }

    /// Names that begin with `prefix` and have no `/` after it.
    fn list(&self, prefix: &str, after: Option<&str>) -> Result {
        let late = self.habit == Habit::LateLists;
        let direct = |key: &str| key.strip_prefix(prefix).is_some_and(|rest| !rest.contains('/'));
        let mut names = self
            .all
            .iter()
            .filter(|(key, _)| direct(key) && after.is_none_or(|after| key.as_str() > after))
            .filter(|(_, object)| !late || object.now.generation + 5 < self.last);
        let page: Vec<_> =
            names.by_ref().take(PAGE).map(|(key, o)| (key.clone(), o.now.clone())).collect();
        let more = names.next().is_some();
        let next = page.last().filter(|_| more).map(|(key, _)| key.clone());
        Result::Listed(page, next)
    }
}
