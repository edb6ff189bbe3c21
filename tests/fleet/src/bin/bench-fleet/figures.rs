//! A figure, what it must keep, and whether it does.

/// The figures of one run.
#[derive(Debug, Default)]
pub struct Figures {
    missed: usize,
}

impl Figures {
    fn tell(&mut self, name: &str, value: &str, bound: &str, kept: bool) {
        let verdict = if kept { "ok" } else { "MISS" };
        self.missed += usize::from(!kept);
        println!("  {name:<52} {value:>26}  {bound:<12} {verdict}");
    }

    /// Seconds that may not pass a bound: the middle one of several, with the others.
    pub fn seconds(&mut self, name: &str, values: &[f64], bound: f64) -> f64 {
        let middle = median(values);
        let (least, most) = (quantile(values, 0.0), quantile(values, 1.0));
        let text = format!("{middle:.3} s ({least:.3}–{most:.3})");
        self.tell(name, &text, &format!("≤ {bound} s"), middle <= bound);
        middle
    }

    /// Seconds without a bound: a yardstick.
    pub fn yardstick(&mut self, name: &str, values: &[f64]) -> f64 {
        let middle = median(values);
        let (least, most) = (quantile(values, 0.0), quantile(values, 1.0));
        println!("  {name:<52} {:>26}", format!("{middle:.3} s ({least:.3}–{most:.3})"));
        middle
    }

    /// A number that may not pass a bound.
    pub fn at_most(&mut self, name: &str, value: f64, unit: &str, bound: f64) {
        self.tell(
            name,
            &format!("{value:.2} {unit}"),
            &format!("≤ {bound} {unit}"),
            value <= bound,
        );
    }

    /// A factor that must reach a bound.
    pub fn at_least(&mut self, name: &str, value: f64, bound: f64) {
        self.tell(name, &format!("{value:.2} ×"), &format!("≥ {bound} ×"), value >= bound);
    }

    /// A count that must be 0.
    pub fn none(&mut self, name: &str, value: usize) {
        self.tell(name, &value.to_string(), "0", value == 0);
    }

    /// A count that is only told.
    pub fn count(&mut self, name: &str, value: usize) {
        println!("  {name:<52} {value:>26}");
    }

    /// Whether all were kept.
    pub const fn kept(&self) -> bool {
        self.missed == 0
    }
}

/// The value below which a share of the values lies; 0 without values.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank"
    )]
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0)
}

/// The middle of the values.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}
