//! When a schedule runs next: texts to times, with time zones.
//!
//! The zones are compiled in, so that every server and every version of a test means the same by
//! a name, whatever the system has installed.
//!
//! # Daylight saving
//! A time of day that does not exist (clocks go forward over it) runs as much later as the clocks
//! jumped; one that exists twice runs the first time. A `cron` whose hour is `*` follows the clock
//! as it goes: it leaves out what does not exist, and runs in both hours that exist twice. `every`
//! knows no zone.

mod calendar;

pub use calendar::Calendar;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, ToSpan};

use crate::model::{Schedule, When};

/// How far ahead a run is looked for, in days: beyond any leap day.
const DAYS_AHEAD: u32 = 3_000;
/// So many runs are stepped over when the last of several missed ones is looked for.
const MISSED_MAX: u32 = 3_000;
/// The names of days, as in a `cron`, Sunday first.
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// The names of months.
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Why a text says no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{label}")]
pub struct InvalidTiming {
    /// What is wrong, as a label below the text.
    pub label: String,
    /// What to write instead.
    pub help: String,
}

impl InvalidTiming {
    fn new(label: impl Into<String>, help: impl Into<String>) -> Self {
        Self { label: label.into(), help: help.into() }
    }
}

/// When a schedule runs, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timing {
    rule: Rule,
    zone: TimeZone,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    /// Multiples of so many milliseconds.
    Every(i64),
    Fields(Fields),
}

/// What each field allows, a bit for each number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both kinds of days are given: either of them will do, as in every `cron`.
    either_day: bool,
    /// It follows the clock as it goes.
    every_hour: bool,
}

/// The zone of this name.
///
/// # Errors
/// When there is none.
pub fn zone(name: &str) -> Result<TimeZone, InvalidTiming> {
    TimeZoneDatabase::bundled().get(name).map_err(|_| {
        let help = "write a name of the IANA list, for example \"Europe/Berlin\" or \"UTC\"";
        InvalidTiming::new("no time zone has this name", help)
    })
}

impl Timing {
    /// Understands a schedule.
    ///
    /// # Errors
    /// When its text or its zone cannot be understood.
    pub fn of(schedule: &Schedule) -> Result<Self, InvalidTiming> {
        let zone = schedule.zone.as_deref().map_or(Ok(TimeZone::UTC), zone)?;
        Ok(Self { rule: rule(&schedule.when)?, zone })
    }

    /// Understands when, in UTC.
    ///
    /// # Errors
    /// When the text cannot be understood, or never comes true.
    pub fn of_when(when: &When) -> Result<Self, InvalidTiming> {
        let own = Self { rule: rule(when)?, zone: TimeZone::UTC };
        let start = Timestamp::UNIX_EPOCH;
        own.next(start)
            .map(|_| own)
            .ok_or_else(|| InvalidTiming::new("never comes true", "no such day is in any year"))
    }

    /// The first run after this moment; none when there will be none for years.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every(period) => {
                let since = after.as_millisecond().div_euclid(*period) + 1;
                Timestamp::from_millisecond(since.checked_mul(*period)?).ok()
            }
            Rule::Fields(fields) => self.next_of(fields, after),
        }
    }

    /// The last run after one moment that is not after the other.
    pub fn last_between(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let mut last = None;
        let mut from = after;
        for _ in 0..MISSED_MAX {
            match self.next(from).filter(|next| *next <= until) {
                Some(next) => (last, from) = (Some(next), next),
                None => break,
            }
        }
        last
    }

    fn next_of(&self, fields: &Fields, after: Timestamp) -> Option<Timestamp> {
        // Clocks that go back may show an earlier hour after a later one.
        let local = self.zone.to_datetime(after);
        let start = local.checked_sub(2.hours()).unwrap_or(local);
        let mut date = start.date();
        let mut first_hour = start.hour();
        for _ in 0..DAYS_AHEAD {
            if fields.has_day(date)
                && let Some(found) = self.next_in(fields, date, first_hour, after)
            {
                return Some(found);
            }
            first_hour = 0;
            date = date.tomorrow().ok()?;
        }
        None
    }

    /// The first run of one day after a moment.
    fn next_in(
        &self,
        fields: &Fields,
        date: Date,
        from: i8,
        after: Timestamp,
    ) -> Option<Timestamp> {
        let mut found: Option<(i8, Timestamp)> = None;
        for hour in (from..24).filter(|hour| has(fields.hours, *hour)) {
            // What clocks repeat or leave out concerns the hour after at most.
            if found.is_some_and(|(first, _)| hour > first + 1) {
                break;
            }
            for minute in (0..60).filter(|minute| has(fields.minutes, *minute)) {
                let local = date.to_datetime(Time::constant(hour, minute, 0, 0));
                for at in self.moments(fields, local).into_iter().flatten() {
                    if at > after && found.is_none_or(|(_, own)| at < own) {
                        found = Some((found.map_or(hour, |(first, _)| first), at));
                    }
                }
            }
        }
        found.map(|(_, at)| at)
    }

    /// The moments at which clocks show a time: none, one or two.
    fn moments(&self, fields: &Fields, local: DateTime) -> [Option<Timestamp>; 2] {
        let ambiguous = self.zone.to_ambiguous_timestamp(local);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { .. } if fields.every_hour => [None, None],
            AmbiguousOffset::Fold { .. } if fields.every_hour => {
                [ambiguous.earlier().ok(), ambiguous.later().ok()]
            }
            _ => [ambiguous.compatible().ok(), None],
        }
    }
}

impl Fields {
    fn has_day(&self, date: Date) -> bool {
        let weekday = has(self.weekdays, date.weekday().to_sunday_zero_offset());
        let day = has(self.days, date.day());
        let matches = if self.either_day { weekday || day } else { weekday && day };
        matches && has(self.months, date.month())
    }
}

fn has(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| set >> number & 1 == 1)
}

fn rule(when: &When) -> Result<Rule, InvalidTiming> {
    match when {
        When::Every(0) => Err(InvalidTiming::new("no time at all", "write `every = \"15m\"`")),
        When::Every(period) => Ok(Rule::Every(i64::try_from(*period).unwrap_or(i64::MAX))),
        When::At(text) => at(text).map(Rule::Fields),
        When::Cron(text) => cron(text).map(Rule::Fields),
    }
}

/// `03:15`, `Mon 03:15`, `Mon,Thu 03:15`, `Mon-Fri 03:15`.
fn at(text: &str) -> Result<Fields, InvalidTiming> {
    let help = "write hours and minutes, 00:00 to 23:59, with days before them when you like: \
                `at = \"03:15\"`, `at = \"Mon-Fri 03:15\"`";
    let wrong = |label: &str| InvalidTiming::new(label, help);
    let mut words: Vec<&str> = text.split(' ').collect();
    let time = words.pop().unwrap_or_default();
    let two = |part: &str, below: u64| {
        let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u64>().ok().filter(|number| digits && *number < below)
    };
    let (hour, minute) = time.split_once(':').ok_or_else(|| wrong("not a time of day"))?;
    let (Some(hour), Some(minute)) = (two(hour, 24), two(minute, 60)) else {
        return Err(wrong("not a time of day"));
    };
    let weekdays = match words.as_slice() {
        [] => ALL_WEEKDAYS,
        [days] if *days != "*" => weekdays(days).map_err(|own| wrong(&own.label))?,
        _ => return Err(wrong("more than days and a time")),
    };
    Ok(Fields {
        minutes: 1 << minute,
        hours: 1 << hour,
        days: u64::MAX,
        months: u64::MAX,
        weekdays,
        either_day: false,
        every_hour: false,
    })
}

/// Five fields.
fn cron(text: &str) -> Result<Fields, InvalidTiming> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [minutes, hours, days, months, weekdays_text] = fields[..] else {
        let label = format!("{} fields instead of five", fields.len());
        let help = "write minute, hour, day of the month, month and day of the week: \
                    `cron = \"*/5 * * * *\"`";
        return Err(InvalidTiming::new(label, help));
    };
    Ok(Fields {
        minutes: field(minutes, 0, 59, &[], "minute")?,
        hours: field(hours, 0, 23, &[], "hour")?,
        days: field(days, 1, 31, &[], "day of the month")?,
        months: field(months, 1, 12, &MONTHS, "month")?,
        weekdays: weekdays(weekdays_text)?,
        either_day: !days.starts_with('*') && !weekdays_text.starts_with('*'),
        every_hour: hours.starts_with('*'),
    })
}

const ALL_WEEKDAYS: u64 = 0b111_1111;

/// Days of the week, where 0 and 7 are Sunday.
fn weekdays(text: &str) -> Result<u64, InvalidTiming> {
    let set = field(text, 0, 7, &DAYS, "day of the week")?;
    Ok((set | set >> 7) & ALL_WEEKDAYS)
}

/// One field: `*`, numbers, names, ranges, steps, lists of these.
fn field(
    text: &str,
    least: u64,
    most: u64,
    names: &[&str],
    what: &str,
) -> Result<u64, InvalidTiming> {
    let mut set = 0;
    for part in text.split(',') {
        set |= part_of_field(part, least, most, names).ok_or_else(|| {
            let label = format!("`{part}` is not a {what}");
            let mut help = format!("write {least} to {most}, `*`, `1-5`, `*/2` or a list of these");
            if let Some(name) = names.get(1) {
                help.push_str(&format!("; names such as `{}` are known, too", capital(name)));
            }
            InvalidTiming::new(label, help)
        })?;
    }
    Ok(set)
}

fn part_of_field(part: &str, least: u64, most: u64, names: &[&str]) -> Option<u64> {
    let number = |text: &str| -> Option<u64> {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let named = named.and_then(|at| u64::try_from(at).ok()).map(|at| at + least);
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let written = || if digits { text.parse().ok() } else { None };
        named.or_else(written).filter(|number| (least..=most).contains(number))
    };
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => {
            (range, step.parse::<u64>().ok().filter(|s| (1..=most).contains(s))?)
        }
        None => (part, 1),
    };
    let (from, to) = match range.split_once('-') {
        _ if range == "*" => (least, most),
        Some((from, to)) => {
            let (from, to) = (number(from)?, number(to)?);
            // `Fri-Sun`: Sunday is the seventh day, too.
            let to = if to == 0 && most == 7 { 7 } else { to };
            (from, to)
        }
        // `5/15` begins there and goes on.
        None if part.contains('/') => (number(range)?, most),
        None => (number(range)?, number(range)?),
    };
    if from > to {
        return None;
    }
    let step = usize::try_from(step).ok()?;
    Some((from..=to).step_by(step).fold(0, |set, number| set | 1 << number))
}

fn capital(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
