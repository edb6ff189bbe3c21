//! A figure, what it must keep, and whether it does.

use std::fmt::Display;
use std::time::Duration;

/// The figures of one run.
#[derive(Debug, Default)]
pub struct Figures {
    missed: usize,
}

impl Figures {
    /// Prints a figure with its bound.
    pub fn tell(&mut self, name: &str, value: impl Display, bound: &str, kept: bool) {
        let verdict = if kept { "ok" } else { "MISS" };
        self.missed += usize::from(!kept);
        println!("  {name:<58} {value:>16}  {bound:<22} {verdict}");
    }

    /// A number that may not pass a bound.
    pub fn at_most(&mut self, name: &str, value: f64, unit: &str, bound: f64) {
        let text = format!("{value:.1} {unit}");
        self.tell(name, text, &format!("≤ {bound:.1} {unit}"), value <= bound);
    }

    /// A count that must reach a bound.
    pub fn at_least(&mut self, name: &str, value: u64, bound: u64) {
        self.tell(name, value, &format!("≥ {bound}"), value >= bound);
    }

    /// A count that must be 0.
    pub fn none(&mut self, name: &str, value: u64) {
        self.tell(name, value, "0", value == 0);
    }

    /// Something that must be so.
    pub fn holds(&mut self, name: &str, kept: bool) {
        self.tell(name, if kept { "yes" } else { "no" }, "yes", kept);
    }

    /// Whether all were kept.
    pub const fn kept(&self) -> bool {
        self.missed == 0
    }
}

/// The value below which a share of the sorted values lies; 0 without values.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// The middle of the values.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// Milliseconds with fractions.
pub fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// `median 3.1 (2.9–4.0)` of the values.
pub fn spread(values: &[f64]) -> String {
    format!("{:.1}–{:.1} of {} runs", quantile(values, 0.0), quantile(values, 1.0), values.len())
}
