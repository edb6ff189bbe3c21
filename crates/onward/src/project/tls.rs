//! Of `[environment.NAME]`: whether it is reached with TLS, and by which certificate.

use std::time::Duration;

use onward_core::model::{HttpsRules, Routing};

use super::diagnostic::{Code, Diagnostic, Span};
use super::model::Provider;
use super::parse::{unknown_word, word};
use super::read::{Item, Section, Sink};
use super::times;
use super::words::Why;

/// The authority that is asked when the file names none.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The longest address of a directory, or of a person, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// By which certificate an environment is reached with TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Tls {
    /// Not at all.
    #[default]
    Off,
    /// One that an authority issues.
    Acme(Acme),
    /// One of the user's own.
    Own(Own),
}

/// Who issues certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// The address of its directory.
    pub directory: String,
    /// Where it may write to.
    pub email: Option<String>,
    /// A file with the certificate that it is believed by.
    pub ca: Option<Place>,
}

impl Default for Acme {
    fn default() -> Self {
        Self { directory: LETS_ENCRYPT.to_owned(), email: None, ca: None }
    }
}

/// A certificate of the user's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The file of the certificate and those between it and the root.
    pub certificate: Place,
    /// The file of its private key.
    pub key: Place,
}

/// A file that the project file names, and where it does so. Two are the same when they name the
/// same file.
#[derive(Debug, Clone, Eq)]
pub struct Place {
    /// The path: absolute, below the home directory (`~/…`), or below the project.
    pub path: String,
    /// Where it stands in the project file.
    pub span: Span,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

/// Reads `tls`, `acme` and `https`, and adds to `routing` what belongs to a release.
pub(super) fn read(
    section: &mut Section<'_>,
    provider: Option<Provider>,
    routing: &mut Routing,
    sink: &mut Sink,
) -> Tls {
    let wish = section.get("tls");
    let acme_item = section.get("acme");
    let rules_item = section.get("https");
    let acme = acme_item.as_ref().and_then(|item| acme(item, sink));
    let tls = match &wish {
        None if provider.is_some_and(|own| own != Provider::Local) && can_be_asked(routing) => {
            Tls::Acme(acme.unwrap_or_default())
        }
        None => Tls::Off,
        Some(item) => given(item, acme, sink),
    };
    if let (Tls::Acme(_), Some(item)) = (&tls, &wish) {
        needs_names(item, routing, sink);
    }
    let rules = rules_item.as_ref().map(|item| rules(item, sink));
    if let Some(item) = acme_item.filter(|_| !matches!(tls, Tls::Acme(_))) {
        meaningless(sink, &item, "no authority is asked here", "write `tls = \"acme\"`");
    }
    if let Some(item) = rules_item.filter(|_| tls == Tls::Off) {
        let help = "write `tls = \"acme\"`, or name a certificate of your own";
        meaningless(sink, &item, "nobody comes with TLS here", help);
    }
    if tls != Tls::Off {
        routing.https = Some(rules.unwrap_or_default());
    }
    tls
}

fn meaningless(sink: &mut Sink, item: &Item<'_>, why: &str, help: &str) {
    let message = format!("`{}` means nothing here", item.path);
    let found = Diagnostic::error(Code::Meaningless, item.key_span.clone(), message, why);
    sink.push(found.help(help));
}

/// Whether an authority can look for any of the names.
fn can_be_asked(routing: &Routing) -> bool {
    let asked = Routing { https: Some(HttpsRules::default()), ..routing.clone() };
    !onward_core::https::names(&asked).is_empty()
}

fn needs_names(item: &Item<'_>, routing: &Routing, sink: &mut Sink) {
    let wrong = if routing.hosts.is_empty() {
        "there is no name to have a certificate for"
    } else if !can_be_asked(routing) {
        "an authority can look neither for patterns nor for addresses"
    } else {
        return;
    };
    let message = format!("`{}` needs a `domain`", item.path);
    let found = Diagnostic::error(Code::MissingKey, item.value_span(), message, wrong);
    sink.push(found.help(
        "add `domain = \"shop.example.com\"`, or name a certificate of your own: \
         `tls = { certificate = \"…\", key = \"…\" }`",
    ));
}

fn given(item: &Item<'_>, acme: Option<Acme>, sink: &mut Sink) -> Tls {
    if item.is_table() {
        return item.table(sink).and_then(|section| own(section, sink)).map_or(Tls::Off, Tls::Own);
    }
    let Some(text) = item.text(sink) else { return Tls::Off };
    match text.text {
        "acme" => Tls::Acme(acme.unwrap_or_default()),
        "off" => Tls::Off,
        _ => {
            unknown_word(sink, &text, "a way to a certificate", &["acme", "off"]);
            Tls::Off
        }
    }
}

fn own(mut section: Section<'_>, sink: &mut Sink) -> Option<Own> {
    let span = section.span.clone();
    let certificate = section.get("certificate").and_then(|item| place(&item, sink));
    let key = section.get("key").and_then(|item| place(&item, sink));
    for (name, found) in [("certificate", &certificate), ("key", &key)] {
        if found.is_none() {
            let message = format!("a certificate of your own needs its `{name}`");
            let found = Diagnostic::error(Code::MissingKey, span.clone(), message, "here");
            sink.push(found.help(
                "write `tls = { certificate = \"certs/fullchain.pem\", key = \"certs/key.pem\" }`",
            ));
        }
    }
    section.finish(sink);
    Some(Own { certificate: certificate?, key: key? })
}

fn place(item: &Item<'_>, sink: &mut Sink) -> Option<Place> {
    let text = item.text(sink)?;
    let read = |text: &str| {
        if text.is_empty() || text.contains('\0') || text.len() > TEXT_BYTES_MAX {
            return Err(Why { label: "not the path of a file".into(), help: None });
        }
        Ok(text.to_owned())
    };
    let path = word(sink, Code::InvalidPath, &text, read)?;
    Some(Place { path, span: text.span })
}

fn acme(item: &Item<'_>, sink: &mut Sink) -> Option<Acme> {
    let mut section = item.table(sink)?;
    let directory = section.get("directory").and_then(|item| item.text(sink));
    let directory =
        directory.and_then(|text| word(sink, Code::InvalidAddress, &text, directory_address));
    let email = section.get("email").and_then(|item| item.text(sink));
    let email = email.and_then(|text| word(sink, Code::InvalidAddress, &text, mail_address));
    let ca = section.get("ca").and_then(|item| place(&item, sink));
    section.finish(sink);
    Some(Acme { directory: directory.unwrap_or_else(|| LETS_ENCRYPT.to_owned()), email, ca })
}

fn directory_address(text: &str) -> Result<String, Why> {
    let place = text.strip_prefix("https://").unwrap_or_default();
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if place.is_empty() || place.starts_with('/') || !plain || text.len() > TEXT_BYTES_MAX {
        let help = "write the address of its directory, such as \
                    `https://acme-v02.api.letsencrypt.org/directory`";
        return Err(Why { label: "no address with https".into(), help: Some(help.into()) });
    }
    Ok(text.to_owned())
}

fn mail_address(text: &str) -> Result<String, Why> {
    let plain = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    let whole = text.split_once('@').is_some_and(|(who, at)| !who.is_empty() && at.contains('.'));
    if whole && plain && text.len() <= TEXT_BYTES_MAX {
        return Ok(text.to_owned());
    }
    let help = "write an address such as `ops@example.com`";
    Err(Why { label: "no address for mail".into(), help: Some(help.into()) })
}

/// `https = { redirect = false, hsts = "180d" }`.
fn rules(item: &Item<'_>, sink: &mut Sink) -> HttpsRules {
    let Some(mut section) = item.table(sink) else { return HttpsRules::default() };
    let redirect = section.get("redirect").and_then(|item| item.boolean(sink));
    let hsts = times::read(section.get("hsts"), sink, times::HSTS);
    section.finish(sink);
    HttpsRules { plain_too: redirect == Some(false), hsts_s: hsts.as_ref().map(Duration::as_secs) }
}
