//! A certificate of the user's own, read from the files that the project file names.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use onward_core::model::Routing;
use onward_proxy::{MAX_PEM, PrivateKey};
use zeroize::Zeroizing;

use super::facts::{self, Facts, fits};
use crate::project::tls::{Own, Place};
use crate::project::{Code, Diagnostic};

/// A certificate with its key, checked.
#[derive(Debug)]
pub struct Brought {
    /// What it says about itself.
    pub facts: Facts,
    /// It and those between it and the root, PEM.
    pub chain: String,
    /// Its key; none when its file is not on this machine.
    pub key: Option<PrivateKey>,
}

/// Reads the files of a certificate and finds out what visitors would: that it is for other names,
/// that its time is over, that its key is another's. Warnings go with a certificate that can be used.
///
/// # Errors
/// The finding, with its place in the project file.
pub fn bring(
    own: &Own,
    project: &Path,
    routing: &Routing,
    now: Timestamp,
) -> Result<(Brought, Vec<Diagnostic>), Box<Diagnostic>> {
    let wrong = |place: &Place, message: String, label: &str, help: &str| {
        let found = Diagnostic::error(Code::InvalidCertificate, place.span.clone(), message, label);
        Box::new(found.help(help))
    };
    let chain = match read(project, &own.certificate) {
        Ok(Some(text)) => text,
        Ok(None) => {
            let message = format!("there is no file {}", own.certificate.path);
            let help = "paths are absolute, below `~/`, or below the project";
            return Err(wrong(&own.certificate, message, "not there", help));
        }
        Err(why) => return Err(wrong(&own.certificate, why, "not readable", "look at its mode")),
    };
    let facts = facts::facts(&chain).map_err(|why| {
        let message = format!("{} cannot be shown to anybody: {why}", own.certificate.path);
        let help = "name the file with the whole chain, the certificate of the host first";
        wrong(&own.certificate, message, "no certificate", help)
    })?;
    if facts.not_after <= now {
        let message = format!("the certificate ended on {}", facts.not_after.strftime("%Y-%m-%d"));
        let help = "get another one, or let onward do that: `tls = \"acme\"`";
        return Err(wrong(&own.certificate, message, "nobody believes it any more", help));
    }
    if facts.not_before > now {
        let message =
            format!("the certificate begins on {}", facts.not_before.strftime("%Y-%m-%d"));
        return Err(wrong(
            &own.certificate,
            message,
            "nobody believes it yet",
            "is the clock right?",
        ));
    }
    let mut warnings = Vec::new();
    for name in routing.hosts.iter().chain(&routing.aliases) {
        if !covers(&facts, name) {
            let message = format!("the certificate is not for {name}");
            let label = format!("it is for {}", facts.names.join(", "));
            return Err(wrong(&own.certificate, message, &label, "get one with all the names"));
        }
    }
    let life = facts.not_after.duration_since(facts.not_before);
    if facts.not_after.duration_since(now) < life / 10 {
        let message = format!("the certificate ends on {}", facts.not_after.strftime("%Y-%m-%d"));
        let span = own.certificate.span.clone();
        warnings.push(Diagnostic::warning(Code::InvalidCertificate, span, message, "soon"));
    }
    let key = match read(project, &own.key) {
        Ok(text) => text.map(|text| PrivateKey::new(Zeroizing::new(text))),
        Err(why) => return Err(wrong(&own.key, why, "not readable", "look at its mode")),
    };
    if let Some(key) = &key {
        fits(&facts, &chain, key).map_err(|why| {
            let help = "name the key that the certificate was requested with";
            wrong(&own.key, why.to_string(), "this key", help)
        })?;
    }
    Ok((Brought { facts, chain, key }, warnings))
}

fn covers(facts: &Facts, name: &str) -> bool {
    facts.names.iter().any(|own| {
        own == name
            || own
                .strip_prefix("*.")
                .is_some_and(|below| name.split_once('.').is_some_and(|(_, rest)| rest == below))
    })
}

/// The file that a place names, as the shell would find it.
fn path(project: &Path, place: &Place) -> PathBuf {
    match (place.path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => PathBuf::from(home).join(rest),
        _ => project.join(&place.path),
    }
}

/// A file of text; `None` when it is not there. What the system says never quotes its content.
fn read(project: &Path, place: &Place) -> Result<Option<String>, String> {
    let path = path(project, place);
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
        Ok(meta) if meta.len() > MAX_PEM as u64 => {
            return Err(format!("{} is longer than 64 KiB", path.display()));
        }
        Ok(_) => {}
    }
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Some(text))
}

/// The certificate that an authority is believed by, from a file.
///
/// # Errors
/// The finding, with its place in the project file.
pub fn believed(place: &Place, project: &Path) -> Result<String, Box<Diagnostic>> {
    let text = read(project, place);
    let problem = match text {
        Ok(Some(text)) if text.contains("-----BEGIN CERTIFICATE-----") => return Ok(text),
        Ok(Some(_)) => format!("there is no certificate in {}", place.path),
        Ok(None) => format!("there is no file {}", place.path),
        Err(why) => why,
    };
    let found = Diagnostic::error(Code::InvalidCertificate, place.span.clone(), problem, "here");
    Err(Box::new(found.help("name a file with the certificate that the authority is believed by")))
}
