//! The page about metrics says what the code says.

use onward_proxy::METRICS;

#[test]
fn every_metric_is_in_the_reference() {
    let page = include_str!("../../../docs/reference/metrics.md");
    let rows: String = METRICS
        .iter()
        .map(|own| format!("| `{}` | {} | {} | {} |\n", own.name, own.kind, own.labels, own.help))
        .collect();
    assert!(page.ends_with(&rows), "the table has to end with:\n{rows}");
}
