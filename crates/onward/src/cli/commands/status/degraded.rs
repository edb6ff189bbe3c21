//! What is not as it should be.

use std::collections::BTreeMap;

use onward_core::document::Document;
use onward_core::model::ServerName;
use onward_core::report::{InstanceState, Report};

use super::{Reports, instances};
use crate::cli::numbers;
use crate::cli::runs;

/// What is not as it should be, one sentence each. `found`: what was so before this command.
pub(super) fn degraded(
    document: &Document,
    reports: &Reports,
    mut found: BTreeMap<ServerName, String>,
) -> Vec<String> {
    let several = reports.len() > 1;
    let mut lines = Vec::new();
    for (server, report) in reports {
        let earlier = found.remove(server);
        let own = match report {
            Some(report) => earlier.into_iter().chain(degraded_server(document, report)).collect(),
            None if document.serving.is_none() => Vec::new(),
            None => {
                vec![earlier.unwrap_or_else(|| "the agent does not say how things are".to_owned())]
            }
        };
        let place = if several { format!("{server}: ") } else { String::new() };
        lines.extend(own.into_iter().map(|line| format!("{place}{line}")));
    }
    lines
}

fn degraded_server(document: &Document, report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    if document.operation.is_none() && report.routed != document.serving {
        lines.push(match document.serving {
            Some(number) => format!("release {number} shall serve and does not yet"),
            None => "something serves although nothing shall".to_owned(),
        });
    }
    for waiting in &report.waiting {
        let pause = match waiting.for_ms {
            None => String::new(),
            Some(0) => ", tried again now".to_owned(),
            Some(ms) => {
                let pause = std::time::Duration::from_millis(ms);
                format!(", tried again in {}", numbers::duration(pause))
            }
        };
        lines.push(format!("{}: {}{pause}", waiting.what, waiting.why));
    }
    for (number, instance) in instances(report) {
        if instance.state == InstanceState::Failing {
            lines.push(format!("{} of release {number} fails its probe", instance.process));
        }
    }
    lines.extend(runs::degraded(report));
    lines
}
