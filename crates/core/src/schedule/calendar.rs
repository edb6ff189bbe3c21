//! A timing in the words of systemd's `OnCalendar=`, for those who leave.

use super::{ALL_WEEKDAYS, Fields, Rule, Timing, has};

/// A timing as systemd understands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Calendar {
    /// Each of these calendar expressions is a time to run.
    At(Vec<String>),
    /// No calendar says it: a pause of so many milliseconds between two beginnings.
    Pause(u64),
}

/// Names as systemd has them, Sunday first.
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

impl Timing {
    /// The same times for systemd. Where clocks are changed it has rules of its own.
    pub fn calendar(&self) -> Calendar {
        match &self.rule {
            Rule::Every(period) => every(u64::try_from(*period).unwrap_or(u64::MAX)),
            Rule::Fields(fields) => {
                let zone = self.zone.iana_name().unwrap_or("UTC");
                let all = of_fields(fields).into_iter();
                Calendar::At(all.map(|text| format!("{text} {zone}")).collect())
            }
        }
    }
}

/// Multiples since 1970 are calendar times when they divide a minute, an hour or a day.
fn every(period_ms: u64) -> Calendar {
    let divides = |unit: u64, most: u64| {
        let count = period_ms / unit;
        let whole = period_ms.is_multiple_of(unit) && count > 0;
        (whole && most.is_multiple_of(count)).then_some(count)
    };
    let text = if period_ms == 86_400_000 {
        "*-*-* 00:00:00 UTC".to_owned()
    } else if let Some(hours) = divides(3_600_000, 24) {
        format!("*-*-* 00/{hours}:00:00 UTC")
    } else if let Some(minutes) = divides(60_000, 60) {
        format!("*-*-* *:00/{minutes}:00 UTC")
    } else if let Some(seconds) = divides(1_000, 60) {
        format!("*-*-* *:*:00/{seconds} UTC")
    } else {
        return Calendar::Pause(period_ms);
    };
    Calendar::At(vec![text])
}

fn of_fields(fields: &Fields) -> Vec<String> {
    let time = format!("{}:{}:00", list(fields.hours, 0, 23), list(fields.minutes, 0, 59));
    let months = list(fields.months, 1, 12);
    let days = list(fields.days, 1, 31);
    let weekdays = weekdays(fields.weekdays);
    if fields.either_day {
        // systemd wants both, a `cron` either of them.
        let by_day = format!("*-{months}-{days} {time}");
        return vec![by_day, format!("{weekdays}*-{months}-* {time}")];
    }
    vec![format!("{weekdays}*-{months}-{days} {time}")]
}

fn weekdays(set: u64) -> String {
    if set == ALL_WEEKDAYS {
        return String::new();
    }
    let names = (0..7).filter(|day| has(set, *day));
    let names = names.filter_map(|day| WEEKDAYS.get(usize::try_from(day).ok()?).copied());
    format!("{} ", names.collect::<Vec<_>>().join(","))
}

fn list(set: u64, least: i8, most: i8) -> String {
    if (least..=most).all(|number| has(set, number)) {
        return "*".to_owned();
    }
    let numbers = (least..=most).filter(|number| has(set, *number));
    numbers.map(|number| format!("{number:02}")).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::When;

    fn said(when: &When) -> Calendar {
        Timing::of_when(when).unwrap().calendar()
    }

    #[test]
    fn each_kind_of_time_is_said() {
        for (when, expected) in [
            (When::At("03:15".to_owned()), &["*-*-* 03:15:00 UTC"][..]),
            (When::At("Mon-Wed,Sun 23:00".to_owned()), &["Sun,Mon,Tue,Wed *-*-* 23:00:00 UTC"]),
            (When::Cron("*/20 9-10 * jan *".to_owned()), &["*-01-* 09,10:00,20,40:00 UTC"]),
            (
                When::Cron("0 0 1,15 * Fri".to_owned()),
                &["*-*-01,15 00:00:00 UTC", "Fri *-*-* 00:00:00 UTC"],
            ),
            (When::Every(900_000), &["*-*-* *:00/15:00 UTC"]),
            (When::Every(5_000), &["*-*-* *:*:00/5 UTC"]),
            (When::Every(43_200_000), &["*-*-* 00/12:00:00 UTC"]),
            (When::Every(86_400_000), &["*-*-* 00:00:00 UTC"]),
        ] {
            let expected = expected.iter().map(|&text| text.to_owned()).collect();
            assert_eq!(said(&when), Calendar::At(expected), "{when:?}");
        }
        assert_eq!(said(&When::Every(7_000)), Calendar::Pause(7_000));
        assert_eq!(said(&When::Every(604_800_000)), Calendar::Pause(604_800_000));
    }
}
