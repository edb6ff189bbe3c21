//! `[process.NAME]`: what runs, how it is seen to be ready, how it is stopped.

use onward_core::document::INSTANCES_MAX;
use onward_core::model::{ProcessName, SiteRules};

use super::diagnostic::{Code, Diagnostic, Span};
use super::model::{Probe, ProbeKind, Process, Serves, Stop};
use super::parse::{command, name, unknown_word, word};
use super::read::{Item, Section, Sink, Text};
use super::words::{ProjectPath, Signal, Why};
use super::{limits, servers, times, unbuilt};

/// The statuses that a server can finally answer with.
const STATUS: (u32, u32) = (200, 599);

/// All processes in file order; reports when there is none.
pub(super) fn processes(root: &mut Section<'_>, sink: &mut Sink) -> Vec<Process> {
    let section = match root.get("process") {
        Some(item) => match item.table(sink) {
            Some(section) => section,
            None => return Vec::new(),
        },
        None => {
            no_process(0..0, sink);
            return Vec::new();
        }
    };
    let items = section.entries();
    if items.is_empty() {
        no_process(section.span.clone(), sink);
    }
    items.iter().filter_map(|item| process(item, sink)).collect()
}

fn no_process(span: Span, sink: &mut Sink) {
    let found = Diagnostic::error(
        Code::NoProcess,
        span,
        "there is no process to run",
        "`[process.web]` is missing",
    );
    let help = "add `[process.web]` with `run = \"COMMAND\"` below it, or `static = \"DIRECTORY\"` \
                for a static site";
    sink.push(found.help(help));
}

fn process(item: &Item<'_>, sink: &mut Sink) -> Option<Process> {
    if !item.is_table() && matches!(item.key, "run" | "static") {
        let help = format!("name the process: `[process.web]`, and `{} = …` below it", item.key);
        return item.wrong(sink, "a table", &help);
    }
    let name: Option<ProcessName> = name(sink, "a process", item.key, item.key_span.clone());
    let mut section = item.table(sink)?;
    let traffic = name.as_ref().is_none_or(ProcessName::has_traffic);
    let serves = serves(&mut section, traffic, sink);
    let is_static = matches!(serves, Some(Serves::Static(..)));
    let probe = section.get("probe");
    let stop = section.get("stop");
    let overlap = section.get("overlap");
    let limits = section.get("limits");
    if is_static {
        for item in [&probe, &stop, &overlap, &limits].into_iter().flatten() {
            let message = format!("`{}` means nothing for a static site", item.path);
            let why = "onward serves the directory itself: there is no process of yours";
            meaningless(sink, item, message, why);
        }
    }
    let probe = probe.and_then(|item| read_probe(&item, traffic, sink));
    let stop = stop.and_then(|item| read_stop(&item, sink)).unwrap_or_default();
    let overlap = overlap.is_some_and(|item| read_overlap(&item, traffic && !is_static, sink));
    let limits = limits.and_then(|item| limits::read(&item, sink)).unwrap_or_default();
    let on = servers::on(&mut section, sink);
    let count = section.get("count").and_then(|item| item.number(sink, 1, INSTANCES_MAX));
    section.finish(sink);
    Some(Process { name: name?, serves: serves?, probe, stop, overlap, limits, on, count })
}

fn meaningless(sink: &mut Sink, item: &Item<'_>, message: String, why: &str) {
    let found = Diagnostic::error(Code::Meaningless, item.key_span.clone(), message, why);
    sink.push(found.help("remove it"));
}

fn serves(section: &mut Section<'_>, traffic: bool, sink: &mut Sink) -> Option<Serves> {
    let run = section.get("run");
    let dir = section.get("static");
    let images = unbuilt::image(section, sink);
    match (run, dir) {
        (Some(run), Some(dir)) => {
            let found = Diagnostic::error(
                Code::Conflict,
                dir.key_span.clone(),
                format!("{} has `run` and `static`", section.title()),
                "a directory to serve",
            );
            let help = "keep `run` for a program, `static` for files that onward serves itself";
            sink.push(found.also(run.key_span.clone(), "a program to run").help(help));
            None
        }
        (Some(run), None) => command(Some(run), sink).map(Serves::Command),
        (None, Some(dir)) => static_site(&dir, traffic, sink),
        (None, None) if images => None,
        (None, None) => {
            let found = Diagnostic::error(
                Code::MissingKey,
                section.span.clone(),
                format!("{} says nothing to run", section.title()),
                "`run` is missing",
            );
            let help = if traffic {
                "add `run = \"COMMAND\"`, or `static = \"DIRECTORY\"` for a static site"
            } else {
                "add `run = \"COMMAND\"`"
            };
            sink.push(found.help(help));
            None
        }
    }
}

/// `static = "public"`, or `{ dir = "public", spa = true, immutable = ["assets"] }`.
fn static_site(item: &Item<'_>, traffic: bool, sink: &mut Sink) -> Option<Serves> {
    if !traffic {
        let found = Diagnostic::error(
            Code::Meaningless,
            item.key_span.clone(),
            format!("`{}` would never be asked", item.path),
            "only the process `web` gets traffic",
        );
        sink.push(found.help("call the process `web`, or give it a `run`"));
    }
    if !item.is_table() {
        let text = item.text(sink)?;
        let dir = word(sink, Code::InvalidPath, &text, ProjectPath::new)?;
        return Some(Serves::Static(dir, SiteRules::default()));
    }
    let mut section = item.table(sink)?;
    let dir = match section.get("dir") {
        Some(dir) => dir.text(sink),
        None => {
            let message = format!("{} names no directory", section.title());
            let span = section.span.clone();
            let found = Diagnostic::error(Code::MissingKey, span, message, "`dir` is missing");
            sink.push(found.help("add `dir = \"DIRECTORY\"`"));
            None
        }
    };
    let spa = section.get("spa").and_then(|item| item.boolean(sink)).unwrap_or_default();
    let immutable = section.get("immutable").and_then(|item| item.texts(sink)).unwrap_or_default();
    section.finish(sink);
    let immutable = immutable
        .iter()
        .filter_map(|text| word(sink, Code::InvalidPath, text, ProjectPath::new))
        .map(|path| path.as_str().to_owned())
        .collect();
    let dir = word(sink, Code::InvalidPath, &dir?, ProjectPath::new)?;
    Some(Serves::Static(dir, SiteRules { spa, immutable }))
}

fn read_overlap(item: &Item<'_>, traffic: bool, sink: &mut Sink) -> bool {
    let overlap = item.boolean(sink).unwrap_or_default();
    if traffic {
        let message = format!("`{}` means nothing here", item.path);
        meaningless(
            sink,
            item,
            message,
            "a process with traffic always starts beside the old release",
        );
    }
    overlap
}

pub(super) fn read_stop(item: &Item<'_>, sink: &mut Sink) -> Option<Stop> {
    let mut section = item.table(sink)?;
    let signal = section.get("signal").and_then(|item| item.text(sink));
    let signal = signal.and_then(|text| signal_named(&text, sink));
    let within = times::read(section.get("within"), sink, times::STOP_WITHIN);
    section.finish(sink);
    Some(Stop { signal, within })
}

fn signal_named(text: &Text<'_>, sink: &mut Sink) -> Option<Signal> {
    let signal = Signal::named(text.text);
    if signal.is_none() {
        let upper = text.text.to_ascii_uppercase();
        let bare = Text { text: upper.strip_prefix("SIG").unwrap_or(&upper), ..text.clone() };
        let known = Signal::ALL.map(Signal::as_str);
        match Signal::named(bare.text) {
            Some(meant) => {
                let found = Diagnostic::error(
                    Code::UnknownWord,
                    text.span.clone(),
                    format!("`{}` is not how a signal is written here", text.text),
                    "upper-case letters without `SIG`",
                );
                sink.push(found.help(format!("did you mean `\"{meant}\"`?")));
            }
            None => unknown_word(sink, text, "a signal", &known),
        }
    }
    signal
}

fn read_probe(item: &Item<'_>, traffic: bool, sink: &mut Sink) -> Option<Probe> {
    let mut section = item.table(sink)?;
    let how = probe_kind(&mut section, traffic, sink);
    let interval_span = section.get("interval").map(|item| item.value_span());
    let within = times::read(section.get("within"), sink, times::PROBE_WITHIN);
    let interval = times::read(section.get("interval"), sink, times::PROBE_INTERVAL);
    let timeout = times::read(section.get("timeout"), sink, times::PROBE_TIMEOUT);
    section.finish(sink);
    if let (Some(interval), Some(span)) = (interval, interval_span)
        && interval > within.unwrap_or(super::resolve::PROBE_WITHIN)
    {
        let found = Diagnostic::warning(
            Code::InvalidDuration,
            span,
            format!("`{}.interval` is longer than `within`", item.path),
            "only one try would be made",
        );
        sink.push(found.help("make `interval` shorter or `within` longer"));
    }
    Some(Probe { how: how?, within, interval, timeout })
}

/// What is tried: exactly one of `path`, `tcp` and `command`, or none of them. Reads all its keys
/// before it judges, so that each counts as known.
fn probe_kind(section: &mut Section<'_>, traffic: bool, sink: &mut Sink) -> Option<ProbeKind> {
    let path = section.get("path");
    let status = section.get("status");
    let body = section.get("body");
    let tcp = section.get("tcp");
    let run = section.get("command");
    if let [first, second, ..] = [&path, &tcp, &run].into_iter().flatten().collect::<Vec<_>>()[..] {
        let found = Diagnostic::error(
            Code::Conflict,
            second.key_span.clone(),
            format!("{} tries two things", section.title()),
            format!("`{}` too", second.key),
        );
        let help = "keep one of `path`, `tcp` and `command`";
        sink.push(found.also(first.key_span.clone(), format!("`{}`", first.key)).help(help));
        return None;
    }
    for item in [&status, &body].into_iter().flatten() {
        if path.is_none() {
            let found = Diagnostic::error(
                Code::Meaningless,
                item.key_span.clone(),
                format!("`{}` means nothing without `path`", item.path),
                "belongs to an HTTP probe",
            );
            sink.push(found.help("add `path = \"/\"`, or remove it"));
        }
    }
    if let Some(item) = [&path, &tcp].into_iter().flatten().next().filter(|_| !traffic) {
        no_port(item, sink);
    }
    if let Some(item) = path {
        let text = item.text(sink);
        let path = text.and_then(|text| word(sink, Code::InvalidPath, &text, target));
        let status = status.map_or(Some(Vec::new()), |item| statuses(&item, sink));
        let body = body.map_or(Some(None), |item| Some(Some(non_empty(&item, sink)?)));
        return Some(ProbeKind::Http { path: path?, status: status?, body: body? });
    }
    if let Some(item) = tcp {
        return tcp_probe(&item, sink);
    }
    if run.is_some() {
        return command(run, sink).map(ProbeKind::Command);
    }
    if !traffic {
        let found = Diagnostic::error(
            Code::MissingKey,
            section.span.clone(),
            format!("{} does not say what to try", section.title()),
            "`command` is missing",
        );
        sink.push(found.help("add `command = \"…\"`: it has to exit with 0 when all is well"));
        return None;
    }
    Some(ProbeKind::Default)
}

fn no_port(item: &Item<'_>, sink: &mut Sink) {
    let found = Diagnostic::error(
        Code::Meaningless,
        item.key_span.clone(),
        format!("`{}` has no port to ask", item.path),
        "only the process `web` gets a PORT",
    );
    sink.push(found.help("use `command = \"…\"`: it has to exit with 0 when all is well"));
}

fn tcp_probe(item: &Item<'_>, sink: &mut Sink) -> Option<ProbeKind> {
    if !item.boolean(sink)? {
        let message = format!("`{} = false` probes nothing", item.path);
        meaningless(sink, item, message, "every process with traffic is probed");
        return None;
    }
    Some(ProbeKind::Tcp)
}

fn target(text: &str) -> Result<String, Why> {
    if !text.starts_with('/') {
        let name = text
            .split_once("://")
            .map_or(text, |(_, rest)| rest.split_once('/').map_or("", |(_, path)| path));
        let help = Some(format!("did you mean `\"/{}\"`?", super::parse::shown(name)));
        return Err(Why { label: "has to start with `/`".to_owned(), help });
    }
    if !text.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        let help = Some("write other characters as %XX, for example a space as %20".to_owned());
        return Err(Why { label: "holds what a URL path cannot".to_owned(), help });
    }
    Ok(text.to_owned())
}

fn statuses(item: &Item<'_>, sink: &mut Sink) -> Option<Vec<u16>> {
    let items = if item.is_list() { item.list(sink)? } else { vec![item.clone()] };
    if items.is_empty() {
        let found = Diagnostic::error(
            Code::InvalidNumber,
            item.value_span(),
            format!("`{}` accepts nothing", item.path),
            "the list is empty",
        );
        sink.push(found.help("write the statuses that mean ready: `status = [200, 204]`"));
        return None;
    }
    let read: Vec<Option<u16>> = items
        .iter()
        .map(|item| item.number(sink, STATUS.0, STATUS.1).and_then(|n| u16::try_from(n).ok()))
        .collect();
    read.into_iter().collect()
}

fn non_empty(item: &Item<'_>, sink: &mut Sink) -> Option<String> {
    let text = item.text(sink)?;
    if text.text.is_empty() {
        let message = format!("`{}` is empty", item.path);
        meaningless(sink, item, message, "every body contains it");
        return None;
    }
    Some(text.text.to_owned())
}
