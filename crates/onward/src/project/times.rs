//! Durations in the project file, each with its limits.

use std::time::Duration;

use super::diagnostic::{Code, Diagnostic};
use super::read::{Item, Sink};
use super::words::{duration, duration_text};

/// What a duration may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    least: Duration,
    most: Duration,
}

const fn limits(least: Duration, most: Duration) -> Limits {
    Limits { least, most }
}

const HOUR: Duration = Duration::from_secs(3600);

/// `watch`: the command waits this long, so a day would never be meant.
pub(super) const WATCH: Limits = limits(Duration::ZERO, HOUR);

/// `warm`: the old version uses memory this long.
pub(super) const WARM: Limits = limits(Duration::ZERO, Duration::from_secs(7 * 24 * 3600));

/// `probe.within`: at least one try fits; nobody waits longer than an hour for a start.
pub(super) const PROBE_WITHIN: Limits = limits(Duration::from_millis(100), HOUR);

/// `probe.interval`: shorter would be load, longer would not notice a failure.
pub(super) const PROBE_INTERVAL: Limits =
    limits(Duration::from_millis(50), Duration::from_secs(60));

/// `probe.timeout`: one try.
pub(super) const PROBE_TIMEOUT: Limits = limits(Duration::from_millis(50), Duration::from_secs(60));

/// `stop.within`: zero kills at once.
pub(super) const STOP_WITHIN: Limits = limits(Duration::ZERO, HOUR);

/// `schedule.within`: no run is meant to last longer than a day.
pub(super) const SCHEDULE_WITHIN: Limits =
    limits(Duration::from_secs(1), Duration::from_secs(24 * 3600));

/// `schedule.late`: zero makes nothing up; after a week it is another week's run.
pub(super) const SCHEDULE_LATE: Limits = limits(Duration::ZERO, Duration::from_secs(7 * 24 * 3600));

/// `schedule.every`: what runs more often than each second is a process.
pub(super) const SCHEDULE_EVERY: Limits =
    limits(Duration::from_secs(1), Duration::from_secs(7 * 24 * 3600));

/// `hooks.within`: the command waits for a hook.
pub(super) const HOOK_WITHIN: Limits = limits(Duration::from_secs(1), HOUR);

/// `https.hsts`: browsers keep to it, whatever the file says later.
pub(super) const HSTS: Limits =
    limits(Duration::from_secs(60), Duration::from_secs(730 * 24 * 3600));

/// The duration under a key, inside its limits.
pub(super) fn read(item: Option<Item<'_>>, sink: &mut Sink, limits: Limits) -> Option<Duration> {
    let item = item?;
    if let Some(help) = item.bare_number_as_duration() {
        return item.wrong(sink, "a duration in quotes", &help);
    }
    let text = item.text(sink)?;
    let read = super::parse::word(sink, Code::InvalidDuration, &text, duration)?;
    if (limits.least..=limits.most).contains(&read) {
        return Some(read);
    }
    let (label, help) = if read < limits.least {
        ("too short", format!("the shortest is {}", duration_text(limits.least)))
    } else {
        ("too long", format!("the longest is {}", duration_text(limits.most)))
    };
    let message = format!("`{}` cannot be {}", text.path, duration_text(read));
    sink.push(Diagnostic::error(Code::InvalidDuration, text.span, message, label).help(help));
    None
}
