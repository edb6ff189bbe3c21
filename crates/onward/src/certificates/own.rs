//! A certificate of the user's own, read from the files that the project file names.

use std::fs::{self, File};
use std::io::{self, Read};
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
    let shown = path.display();
    // Looked at before it is opened: opening a FIFO would wait for ever.
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{shown}: {error}")),
        Ok(meta) if !meta.is_file() => return Err(format!("{shown} is not a file")),
        Ok(_) => {}
    }
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(MAX_PEM as u64 + 1).read_to_string(&mut text))
        .map_err(|error| format!("{shown}: {error}"))?;
    if text.len() > MAX_PEM {
        return Err(format!("{shown} is longer than 64 KiB"));
    }
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn what_is_no_file_and_what_has_no_end_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", directory.path().join("zero")).unwrap();
        fs::write(directory.path().join("long"), "x".repeat(MAX_PEM + 1)).unwrap();
        fs::write(directory.path().join("fits"), "x".repeat(MAX_PEM)).unwrap();
        for (name, expected) in [
            ("pipe", Err("is not a file")),
            ("zero", Err("is not a file")),
            ("long", Err("is longer than 64 KiB")),
            ("fits", Ok(Some(MAX_PEM))),
            ("none", Ok(None)),
        ] {
            let found = read(directory.path(), &Place { path: name.to_owned(), span: 0..0 });
            match (found.map(|text| text.map(|text| text.len())), expected) {
                (Err(why), Err(expected)) => assert!(why.ends_with(expected), "{name}: {why}"),
                (found, expected) => assert_eq!(found, expected.map_err(str::to_owned), "{name}"),
            }
        }
    }
}
