//! Every error that a person can meet, as it is printed and as JSON, kept as reviewed snapshots.

mod engine;
mod parts;
mod places;
mod problems;
mod secrets;

use super::complaint::Complaint;

/// Samples of an enum, one for each variant: a variant without a sample does not compile, and a
/// sample of another variant fails.
macro_rules! every {
    ($type:ty: $($pattern:pat => $sample:expr,)+) => {{
        #[allow(clippy::needless_pass_by_value)]
        fn name_of(value: &$type) -> &'static str {
            match value { $($pattern => stringify!($pattern),)+ }
        }
        let samples: Vec<(&'static str, $type)> = vec![$((stringify!($pattern), $sample),)+];
        for (name, sample) in &samples {
            assert_eq!(*name, name_of(sample), "the sample is of another variant");
        }
        samples
    }};
}
pub(super) use every;

/// The complaints as they are printed, each below its name.
pub(super) fn page<T: Into<Complaint>>(samples: Vec<(&'static str, T)>) -> String {
    let mut page = String::new();
    for (name, sample) in samples {
        let complaint: Complaint = sample.into();
        assert_reads_well(name, &complaint);
        let text = complaint.text();
        let json = complaint.json();
        page.push_str(&format!("── {name} (exit {})\n{text}{json}\n\n", complaint.exit.code()));
    }
    page
}

/// What every error keeps: a sentence without its full stop that begins small, because it stands
/// behind `Error:`, and something to type next wherever nothing is certain to come by itself.
fn assert_reads_well(name: &str, complaint: &Complaint) {
    let what = &complaint.what;
    assert!(!what.is_empty() && !what.ends_with('.'), "{name}: {what}");
    assert!(!what.contains("Os {") && !what.contains("Error("), "{name}: {what}");
    assert!(complaint.exit.code() != 0, "{name}");
}
