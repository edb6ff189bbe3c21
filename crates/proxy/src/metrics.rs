//! What the proxy counts, in the text format of Prometheus.
//!
//! [`METRICS`] is the one list of them: what is told, and the reference page, come from it. The
//! number of series is bounded by the number of routes: nothing that a client says becomes a label.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::counters::Counters;
use crate::protocol::Status;
use crate::shared::Shared;

/// Upper bounds of the buckets of request durations, in microseconds.
const BOUNDS: [u64; 14] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];
/// Longest head of a request for metrics, and the time that one has.
const HEAD_BYTES: usize = 8 * 1024;
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Pause before an address that is taken is tried again: a proxy that leaves may still have it.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, for the reference.
    pub labels: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// Every metric, in the order in which they are told.
pub const METRICS: [Metric; 14] = [
    metric("onward_requests_total", "counter", "route", "Requests that ended, in whatever way."),
    metric(
        "onward_responses_total",
        "counter",
        "route, class",
        "Answers of the app by the first digit of their status.",
    ),
    metric(
        "onward_requests_lost_total",
        "counter",
        "route",
        "Requests that onward lost: answers of its own instead of the app's, and answers cut short.",
    ),
    metric(
        "onward_requests_aborted_total",
        "counter",
        "route",
        "Requests whose client went away first.",
    ),
    metric(
        "onward_requests_answered_by_proxy_total",
        "counter",
        "route",
        "Redirects, maintenance pages and refusals by a limit; not part of onward_requests_total.",
    ),
    metric(
        "onward_request_duration_seconds",
        "histogram",
        "route, le",
        "From the end of the request's head to the end of the answer. The sum is exact to a sixteenth.",
    ),
    metric("onward_instance_requests", "gauge", "instance", "Requests that an instance works on."),
    metric(
        "onward_instance_upgraded",
        "gauge",
        "instance",
        "Upgraded connections (WebSockets) that are open to an instance.",
    ),
    metric("onward_connections", "gauge", "", "Open connections of clients."),
    metric(
        "onward_connections_refused_total",
        "counter",
        "",
        "Connections closed at once because their client had too many open.",
    ),
    metric("onward_requests_held", "gauge", "", "Requests that wait for an instance."),
    metric(
        "onward_requests_refused_total",
        "counter",
        "",
        "Requests refused for their form, before any route was chosen.",
    ),
    metric(
        "onward_requests_unrouted_total",
        "counter",
        "",
        "Requests for a host or path that no route takes.",
    ),
    metric(
        "onward_access_log_dropped_total",
        "counter",
        "",
        "Lines of the access log that were not written.",
    ),
];

const fn metric(
    name: &'static str,
    kind: &'static str,
    labels: &'static str,
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

impl Status {
    /// All of [`METRICS`] in the text format of Prometheus.
    #[must_use]
    pub fn metrics(&self) -> String {
        let mut routes: BTreeMap<&str, Counters> = BTreeMap::new();
        for release in &self.releases {
            routes.entry(&release.route).or_default().add(&release.counters);
        }
        let mut text = String::new();
        for metric in &METRICS {
            // Writing into a String cannot fail.
            let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
            let _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind);
            self.series(metric.name, &routes, &mut text);
        }
        text
    }

    fn series(&self, name: &str, routes: &BTreeMap<&str, Counters>, text: &mut String) {
        let mut each = |what: fn(&Counters) -> u64| {
            for (route, counters) in routes {
                let _ = writeln!(text, "{name}{{route=\"{}\"}} {}", escaped(route), what(counters));
            }
        };
        match name {
            "onward_requests_total" => each(|own| own.requests),
            "onward_requests_lost_total" => each(|own| own.lost),
            "onward_requests_aborted_total" => each(|own| own.aborted_by_client),
            "onward_requests_answered_by_proxy_total" => each(|own| own.own),
            "onward_responses_total" => classes(routes, text),
            "onward_request_duration_seconds" => durations(routes, text),
            "onward_instance_requests" | "onward_instance_upgraded" => {
                for own in &self.instances {
                    let value =
                        if name.ends_with("upgraded") { own.upgraded } else { own.in_flight };
                    let _ = writeln!(text, "{name}{{instance=\"{}\"}} {value}", escaped(&own.id));
                }
            }
            other => {
                let value = match other {
                    "onward_connections" => self.connections,
                    "onward_connections_refused_total" => self.turned_away,
                    "onward_requests_held" => self.held,
                    "onward_requests_refused_total" => self.refused,
                    "onward_requests_unrouted_total" => self.unrouted,
                    _ => self.access_dropped,
                };
                let _ = writeln!(text, "{name} {value}");
            }
        }
    }
}

fn classes(routes: &BTreeMap<&str, Counters>, text: &mut String) {
    for (route, counters) in routes {
        for (class, count) in (1..).zip(counters.classes) {
            let route = escaped(route);
            let _ = writeln!(
                text,
                "onward_responses_total{{route=\"{route}\",class=\"{class}xx\"}} {count}"
            );
        }
    }
}

fn durations(routes: &BTreeMap<&str, Counters>, text: &mut String) {
    const NAME: &str = "onward_request_duration_seconds";
    for (route, counters) in routes {
        let route = escaped(route);
        for bound in BOUNDS {
            let below = counters.latency.bounds().take_while(|(upper, _)| *upper <= bound);
            let count: u64 = below.map(|(_, count)| count).sum();
            let bound = seconds(bound);
            let _ = writeln!(text, "{NAME}_bucket{{route=\"{route}\",le=\"{bound}\"}} {count}");
        }
        let count = counters.latency.count();
        let sum: u64 = counters.latency.bounds().map(|(upper, count)| upper * count).sum();
        let _ = writeln!(text, "{NAME}_bucket{{route=\"{route}\",le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{NAME}_sum{{route=\"{route}\"}} {}", seconds(sum));
        let _ = writeln!(text, "{NAME}_count{{route=\"{route}\"}} {count}");
    }
}

fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Answers `GET /metrics` at an address of this machine until it is dropped.
pub(crate) async fn serve(address: SocketAddr, shared: &Shared) {
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(TRY_EVERY).await,
        }
    };
    loop {
        match listener.accept().await {
            // One after the other: who measures comes every few seconds.
            Ok((stream, _)) => {
                let _ = tokio::time::timeout(ANSWER_WITHIN, answer(stream, shared)).await;
            }
            Err(_) => tokio::time::sleep(TRY_EVERY).await,
        }
    }
}

async fn answer(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES || stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let target = head.split(|byte| *byte == b' ').take(2).collect::<Vec<_>>();
    let (status, text) = match target.as_slice() {
        [b"GET", b"/metrics"] => ("200 OK", shared.status().metrics()),
        _ => ("404 Not Found", "only GET /metrics is answered here\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::AccessLog;
    use crate::counters::Outcome;
    use crate::limits::Limits;
    use crate::table::{Route, Table};

    #[test]
    fn every_metric_is_told_once_and_histograms_add_up() {
        let route = Route { name: "shop/\"local\"".into(), release: 1, ..Route::default() };
        let table = Table { version: 1, routes: vec![route], ..Table::default() };
        let shared = Shared::new(Limits::default(), 1, Some(table), AccessLog::default());
        let counters = shared.snapshot().routes[0].counters.clone();
        for (ms, status) in [(1, 200), (3, 204), (30, 404), (20_000, 503)] {
            let outcome = Outcome::Answered { status };
            counters.count(outcome, crate::fleet::Way::Own, Duration::from_millis(ms));
        }
        counters.count_own();
        let text = shared.status().metrics();
        for metric in &METRICS {
            let lines =
                |start: String| text.lines().filter(|line| line.starts_with(&start)).count();
            assert_eq!(lines(format!("# TYPE {} {}", metric.name, metric.kind)), 1);
        }
        for line in [
            r#"onward_requests_total{route="shop/\"local\""} 4"#,
            r#"onward_responses_total{route="shop/\"local\"",class="2xx"} 2"#,
            r#"onward_responses_total{route="shop/\"local\"",class="5xx"} 1"#,
            r#"onward_requests_answered_by_proxy_total{route="shop/\"local\""} 1"#,
            r#"onward_request_duration_seconds_bucket{route="shop/\"local\"",le="0.005"} 2"#,
            r#"onward_request_duration_seconds_bucket{route="shop/\"local\"",le="10"} 3"#,
            r#"onward_request_duration_seconds_bucket{route="shop/\"local\"",le="+Inf"} 4"#,
            r#"onward_request_duration_seconds_count{route="shop/\"local\""} 4"#,
            "onward_connections 0",
        ] {
            assert!(text.lines().any(|own| own == line), "{line} in\n{text}");
        }
    }
}
