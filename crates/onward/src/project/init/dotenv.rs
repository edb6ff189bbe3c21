//! `.env`: variables for the developer's own machine. What looks like a secret is never copied.

use std::path::Path;

use super::super::words::ValueName;
use super::{CannotTell, Draft, text_of};

/// Parts of names that secrets have.
const SECRET_PARTS: [&str; 12] = [
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "TOKEN",
    "PRIVATE",
    "CREDENTIAL",
    "API_KEY",
    "APIKEY",
    "ACCESS_KEY",
    "DSN",
    "SALT",
    "AUTH",
];

/// Longer values that mix letters and digits are taken for keys.
const PLAIN_CHARS_MAX: usize = 20;

/// Values longer than this are left to the person.
const VALUE_BYTES_MAX: usize = 256;

/// Adds the harmless variables as values of this machine, and the names of the secrets.
pub(super) fn describe(dir: &Path, draft: &mut Draft) -> Result<(), CannotTell> {
    let Some(text) = text_of(&dir.join(".env"))? else { return Ok(()) };
    let (mut harmless, mut secret) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let Some((name, value)) = variable(line) else { continue };
        let legal = ValueName::new(name).is_ok_and(|name| !name.is_reserved());
        if !legal {
            continue;
        }
        if looks_secret(name, value) {
            secret.push(name.to_owned());
        } else {
            harmless.push(name.to_owned());
            draft.local_values.retain(|(known, _)| known != name);
            draft.local_values.push((name.to_owned(), value.to_owned()));
        }
    }
    if !harmless.is_empty() {
        draft.found(format!(".env: {} for this machine", harmless.join(", ")));
    }
    if !secret.is_empty() {
        draft.found(format!(".env: {} looks secret and was not copied", secret.join(", ")));
    }
    secret.into_iter().for_each(|name| draft.secret(name));
    Ok(())
}

/// Name and value of a line, quotes and comments removed.
fn variable(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let line = line.strip_prefix("export ").unwrap_or(line);
    if line.starts_with('#') {
        return None;
    }
    let (name, value) = line.split_once('=')?;
    let value = value.trim();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let value = match quote {
        Some(quote) => value[1..].split(quote).next().unwrap_or_default(),
        None => value.split(" #").next().unwrap_or_default().trim_end(),
    };
    Some((name.trim(), value))
}

/// Whether a variable may hold a secret. In doubt it does.
pub(super) fn looks_secret(name: &str, value: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let named = SECRET_PARTS.iter().any(|part| upper.contains(part))
        || upper == "KEY"
        || upper.ends_with("_KEY")
        || upper.ends_with("_PASS")
        || upper.ends_with("_PWD");
    let credentials = value.split_once("://").is_some_and(|(_, rest)| {
        rest.split('/').next().is_some_and(|authority| authority.contains('@'))
    });
    let mixed = value.len() >= PLAIN_CHARS_MAX
        && !value.contains("://")
        && value.chars().any(|c| c.is_ascii_digit())
        && value.chars().any(|c| c.is_ascii_alphabetic());
    let odd = value.len() > VALUE_BYTES_MAX || value.contains("-----BEGIN");
    named || credentials || mixed || odd
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_shells_and_libraries_do() {
        for (line, expected) in [
            ("A=1", Some(("A", "1"))),
            ("export A = \"x y\" # why", Some(("A", "x y"))),
            ("A='it # is'", Some(("A", "it # is"))),
            ("A=x # why", Some(("A", "x"))),
            ("# A=1", None),
            ("nothing", None),
            ("A=", Some(("A", ""))),
        ] {
            assert_eq!(variable(line), expected, "{line}");
        }
    }

    #[test]
    fn secrets_are_known_by_name_or_content() {
        for (name, value) in [
            ("SECRET_KEY", "x"),
            ("STRIPE_API_KEY", ""),
            ("DB_PASSWORD", "x"),
            ("DATABASE_URL", "postgres://u:p@db/x"),
            ("WHATEVER", "sk0live1abcdefghijklmnop2345"),
            ("SENTRY_DSN", "https://x"),
        ] {
            assert!(looks_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("TIMES", "2"),
            ("ENVIRONMENT", "development"),
            ("DATABASE_URL", "postgres://localhost:5432/go-getting-started?sslmode=disable"),
            ("LOG_LEVEL", "debug"),
        ] {
            assert!(!looks_secret(name, value), "{name}");
        }
    }
}
