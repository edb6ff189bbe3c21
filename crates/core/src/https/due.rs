//! When an authority is asked for a certificate, and when again: nobody waits too long, nobody is shut
//! out for asking too often.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{Attempt, Certificate, Https};

/// How many times in an hour an authority is asked for one name, whoever asks: Let's Encrypt shuts
/// out who fails five times.
pub const TRIES_PER_HOUR: usize = 4;
/// The pause after the first failure, and the longest; it doubles in between.
const PAUSE_FIRST: SignedDuration = SignedDuration::from_mins(15);
const PAUSE_MAX: SignedDuration = SignedDuration::from_hours(24);
/// How long whoever began a try is believed to be at it: more than each of its steps may take
/// together. Nobody else asks for the name meanwhile, so that an authority is not asked twice.
pub const TRY_WITHIN: SignedDuration = SignedDuration::from_mins(5);
/// The share of its life over which timers spread the renewals of certificates that were issued at
/// once: three days of the usual ninety.
const SPREAD_OF_LIFE: i64 = 30;
const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Why a name is to get a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// It has none.
    Missing,
    /// It has one that ends soon.
    Ending,
}

/// Who asks for a renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Something that comes again: it keeps to the pauses.
    Timer,
    /// A person, who may have mended what was wrong: only the limit of each hour holds, and nobody
    /// may be at it.
    Person,
}

impl Certificate {
    /// From when another one is wanted in its place: with a third of its life left.
    pub fn renew_at(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        self.not_after.saturating_sub(life / 3).unwrap_or(self.not_after)
    }

    /// From when a timer wants another one: somewhat after [`Certificate::renew_at`], each name at a
    /// moment of its own, so that not all come to the authority at once.
    pub fn timer_at(&self) -> Timestamp {
        let life = self.not_after.duration_since(self.not_before);
        let spread = u64::try_from(life.as_millis() / i128::from(SPREAD_OF_LIFE)).unwrap_or(0);
        let name = self.names.iter().flat_map(|name| name.bytes());
        let seed = name.chain(self.not_after.as_second().to_le_bytes());
        let part = scattered(seed) % spread.saturating_add(1);
        let part = SignedDuration::from_millis(i64::try_from(part).unwrap_or(0));
        self.renew_at().saturating_add(part).unwrap_or(self.not_after)
    }
}

impl Https {
    /// The names that an authority is to be asked for now, of those that are wanted.
    pub fn due(
        &self,
        wanted: &BTreeSet<String>,
        now: Timestamp,
        asker: Asker,
    ) -> Vec<(String, Due)> {
        if self.authority.is_none() {
            return Vec::new();
        }
        let due = |name: &String| {
            let why = match self.certificate(name) {
                None => Due::Missing,
                Some(own) if wanted_from(own, asker) <= now => Due::Ending,
                Some(_) => return None,
            };
            let next = self.next_try(name, asker);
            next.is_none_or(|next| next <= now).then(|| (name.clone(), why))
        };
        wanted.iter().filter_map(due).collect()
    }

    /// The earliest moment at which an authority may be asked for a name again; none: any.
    pub fn next_try(&self, name: &str, asker: Asker) -> Option<Timestamp> {
        let attempt = self.attempts.get(name)?;
        let oldest = attempt.tries.len().checked_sub(TRIES_PER_HOUR).map(|at| attempt.tries[at]);
        let of_hour = oldest.and_then(|oldest| oldest.saturating_add(HOUR).ok());
        let pause = match asker {
            Asker::Timer => Some(attempt.next),
            Asker::Person => self.under_way(name),
        };
        of_hour.max(pause)
    }

    /// Until when somebody is believed to be asking for a name, when somebody has begun.
    pub fn under_way(&self, name: &str) -> Option<Timestamp> {
        let attempt = self.attempts.get(name).filter(|own| own.problem.is_empty())?;
        attempt.tries.last()?.saturating_add(TRY_WITHIN).ok()
    }

    /// When something is due next, for whoever waits for it.
    pub fn next_due(&self, wanted: &BTreeSet<String>) -> Option<Timestamp> {
        self.authority.as_ref()?;
        let when = |name: &String| {
            let due = self.certificate(name).map_or(Timestamp::UNIX_EPOCH, Certificate::timer_at);
            self.next_try(name, Asker::Timer).map_or(due, |next| next.max(due))
        };
        wanted.iter().map(when).min()
    }

    /// Keeps that an authority is asked for a name now: written before it is asked, so that the limit
    /// holds for whoever dies meanwhile. `jitter`, any number, spreads the pause that follows.
    pub fn begin_try(&mut self, name: &str, now: Timestamp, jitter: u64) {
        let before = self.attempts.remove(name);
        let failures = before.as_ref().map_or(0, |own| own.failures) + 1;
        let mut tries = before.map(|own| own.tries).unwrap_or_default();
        tries.retain(|at| now.duration_since(*at) < HOUR);
        tries.push(now);
        let next = now.saturating_add(pause(failures, jitter)).unwrap_or(now);
        let problem = String::new();
        let attempt = Attempt { failures, tries, next, problem, process: None };
        self.attempts.insert(name.to_owned(), attempt);
    }

    /// Keeps which process has begun the try, for whoever wants to know whether it is still at it.
    pub fn is_tried_by(&mut self, name: &str, process: Option<String>) {
        if let Some(attempt) = self.attempts.get_mut(name) {
            attempt.process = process;
        }
    }

    /// The names, of these, that somebody is believed to be asking for, and which process that is.
    pub fn tried_by<'a>(
        &'a self,
        names: &'a BTreeSet<String>,
        now: Timestamp,
    ) -> impl Iterator<Item = (&'a String, &'a str)> {
        let at_it = move |name: &&String| self.under_way(name).is_some_and(|until| until > now);
        let process = |name| Some((name, self.attempts.get(name)?.process.as_deref()?));
        names.iter().filter(at_it).filter_map(process)
    }

    /// Keeps why a try came to nothing.
    pub fn failed(&mut self, name: &str, problem: &str) {
        self.challenges.retain(|_, own| own.name != name);
        if let Some(attempt) = self.attempts.get_mut(name) {
            problem.clone_into(&mut attempt.problem);
        }
    }
}

/// From when whoever asks wants another certificate in the place of this one.
fn wanted_from(own: &Certificate, asker: Asker) -> Timestamp {
    match asker {
        Asker::Timer => own.timer_at(),
        Asker::Person => own.renew_at(),
    }
}

/// A number that looks like any other, the same for the same bytes everywhere (FNV-1a).
fn scattered(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The pause after so many failures in a row, up to a quarter shorter.
pub(super) fn pause(failures: u32, jitter: u64) -> SignedDuration {
    let doubled = PAUSE_FIRST.as_secs() << failures.saturating_sub(1).min(16);
    let pause = doubled.min(PAUSE_MAX.as_secs());
    let spread = i64::try_from(jitter % (pause.unsigned_abs() / 4 + 1)).unwrap_or(0);
    SignedDuration::from_secs(pause - spread)
}
