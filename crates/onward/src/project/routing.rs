//! Of `[environment.NAME]`: which requests are for it, and what is told about them.

use std::net::SocketAddr;

use onward_core::model::Routing;
use onward_proxy::HostPattern;

use super::diagnostic::{Code, Diagnostic, Span};
use super::parse::{shown, word};
use super::read::{Item, Section, Sink, Text};
use super::words::Why;

/// The longest path that an app is mounted below, in bytes.
const PATH_BYTES_MAX: usize = onward_proxy::MAX_PATH;
/// The most requests that an environment may take at once; a proxy has 10,000 connections.
const REQUESTS_MAX: u32 = 10_000;

/// What one environment answers to, with its place.
pub(super) struct Claim {
    host: String,
    path: String,
    span: Span,
}

/// Reads `domain`, `aliases`, `path`, `strip_path`, `access_log`, `metrics` and `limits`.
pub(super) fn routing(
    section: &mut Section<'_>,
    claims: &mut Vec<Claim>,
    sink: &mut Sink,
) -> Routing {
    let domains = names(section.get("domain"), true, sink);
    let alias_item = section.get("aliases");
    let aliases = names(section.get("aliases"), true, sink);
    let path_item = section.get("path");
    let path = path_item.as_ref().and_then(|item| item.text(sink));
    let path =
        path.and_then(|text| word(sink, Code::InvalidPath, &text, mount)).unwrap_or_default();
    let strip = section.get("strip_path");
    let strips = strip.as_ref().and_then(|item| item.boolean(sink));
    if let Some(item) = strip.filter(|_| path_item.is_none()) {
        meaningless(
            sink,
            &item,
            "nothing is mounted below a path",
            "add `path = \"/PATH\"`, or remove it",
        );
    }
    if let Some(item) = alias_item.filter(|_| canonical(&domains).is_none()) {
        let help = "add `domain = \"…\"`: aliases lead to its first name";
        meaningless(sink, &item, "there is no name to lead to", help);
    }
    claim(&domains, &aliases, &path, claims, sink);
    let access_log = section.get("access_log").and_then(|item| item.boolean(sink));
    let metrics = section.get("metrics").and_then(|item| metrics(&item, sink));
    let (body_bytes, requests) =
        section.get("limits").and_then(|item| limits(&item, sink)).unwrap_or_default();
    Routing {
        hosts: texts(domains),
        aliases: texts(aliases),
        keeps_path: !path.is_empty() && strips == Some(false),
        path,
        access_log: access_log.unwrap_or_default(),
        metrics,
        body_bytes,
        requests,
        ..Routing::default()
    }
}

type Named = (String, Span);

fn texts(named: Vec<Named>) -> Vec<String> {
    named.into_iter().map(|(name, _)| name).collect()
}

fn canonical(domains: &[Named]) -> Option<&Named> {
    domains.first().filter(|(name, _)| !name.starts_with('*'))
}

/// One name, or a list of them.
fn names(item: Option<Item<'_>>, several: bool, sink: &mut Sink) -> Vec<Named> {
    let Some(item) = item else { return Vec::new() };
    let texts = if several && item.is_list() {
        item.texts(sink).unwrap_or_default()
    } else {
        Vec::from_iter(item.text(sink))
    };
    texts
        .iter()
        .filter_map(|text| Some((word(sink, Code::InvalidDomain, text, host)?, text.span.clone())))
        .collect()
}

/// A host name as it goes to the proxy: in lower case.
fn host(text: &str) -> Result<String, Why> {
    let why = |error: onward_proxy::BadHost| {
        let help = match error {
            onward_proxy::BadHost::Port => {
                "leave the port out: the proxy listens on one for all names"
            }
            onward_proxy::BadHost::NotAscii => "write the form that registrars show: `xn--…`",
            onward_proxy::BadHost::Address => {
                "write the name alone, such as `shop.example.com`; a path goes into `path`"
            }
            onward_proxy::BadHost::Star => "write `*.example.com` for every name below one",
            _ => "write a name such as `shop.example.com`",
        };
        Why { label: error.to_string(), help: Some(help.into()) }
    };
    HostPattern::parse(text).map(|pattern| pattern.to_string()).map_err(why)
}

/// A path that an app is mounted below.
fn mount(text: &str) -> Result<String, Why> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let segment =
        |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(plain);
    let problem = if !text.starts_with('/') {
        "does not start with `/`"
    } else if text == "/" {
        "everything is below `/` already"
    } else if text.ends_with('/') {
        "ends with `/`"
    } else if text.len() > PATH_BYTES_MAX {
        "longer than 256 bytes"
    } else if text[1..].split('/').all(segment) {
        return Ok(text.to_owned());
    } else {
        "not a plain path"
    };
    let help = "write names of letters, digits, `-`, `.`, `_` and `~`: `path = \"/admin\"`";
    Err(Why { label: problem.into(), help: Some(help.into()) })
}

fn meaningless(sink: &mut Sink, item: &Item<'_>, why: &str, help: &str) {
    let message = format!("`{}` means nothing here", item.path);
    let found = Diagnostic::error(Code::Meaningless, item.key_span.clone(), message, why);
    sink.push(found.help(help));
}

/// Two environments of one project cannot answer to the same: on one server one of them would
/// never be asked.
fn claim(
    domains: &[Named],
    aliases: &[Named],
    path: &str,
    claims: &mut Vec<Claim>,
    sink: &mut Sink,
) {
    for (host, span) in domains.iter().chain(aliases) {
        match claims.iter().find(|own| own.host == *host && own.path == path) {
            Some(first) => {
                let message = format!("`{host}{path}` is taken twice");
                let found = Diagnostic::error(Code::Repeated, span.clone(), message, "taken again");
                let help = "each name (and path) leads to one environment";
                sink.push(found.also(first.span.clone(), "first here").help(help));
            }
            None => {
                claims.push(Claim {
                    host: host.clone(),
                    path: path.to_owned(),
                    span: span.clone(),
                });
            }
        }
    }
}

/// An address of this machine, with a port.
fn metrics(item: &Item<'_>, sink: &mut Sink) -> Option<String> {
    let text = item.text(sink)?;
    let read = |text: &str| {
        let why = |label: &'static str| Why {
            label: label.into(),
            help: Some("write an address of this machine, such as `127.0.0.1:9100`".into()),
        };
        let address: SocketAddr = text.parse().map_err(|_| why("not an address with a port"))?;
        if !address.ip().is_loopback() {
            return Err(why("everybody could read it there"));
        }
        if address.port() == 0 {
            return Err(why("a port that nobody could know"));
        }
        Ok(address.to_string())
    };
    word(sink, Code::InvalidAddress, &text, read)
}

/// `limits = { body = "10MB", requests = 200 }`.
fn limits(item: &Item<'_>, sink: &mut Sink) -> Option<(Option<u64>, Option<u32>)> {
    let mut section = item.table(sink)?;
    let body = section.get("body").and_then(|item| item.text(sink));
    let body = body.and_then(|text: Text<'_>| word(sink, Code::InvalidSize, &text, size));
    let requests = section.get("requests").and_then(|item| item.number(sink, 1, REQUESTS_MAX));
    section.finish(sink);
    Some((body, requests))
}

/// A number of bytes: `500KB`, `10MB`, `2GB`, counted in thousands as disks are; `KiB`, `MiB`,
/// `GiB` in 1024s.
pub(super) fn size(text: &str) -> Result<u64, Why> {
    const UNITS: [(&str, u64); 7] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];
    let why = || Why {
        label: format!("not a size: \"{}\"", shown(text)),
        help: Some("write a whole number and a unit: `10MB`, `512KiB`".into()),
    };
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?.trim_end(), factor)))
        .ok_or_else(why)?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.then(|| number.parse().ok()).flatten().ok_or_else(why)?;
    number.checked_mul(*factor).filter(|size| *size > 0).ok_or_else(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("1B", Some(1)),
            ("10MB", Some(10_000_000)),
            ("512KiB", Some(524_288)),
            ("2 GB", Some(2_000_000_000)),
            ("10", None),
            ("MB", None),
            ("-1MB", None),
            ("0MB", None),
            ("1.5MB", None),
            ("99999999999999999999GB", None),
        ] {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
    }
}
