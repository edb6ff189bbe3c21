//! Rendering the configuration files of a release: Jinja templates, as far as `minijinja` has them.
//!
//! # Guarantees
//! - The same template with the same [`Given`] is the same text: there is no clock, no chance, no
//!   file and no network in it.
//! - What is not defined is an error, never an empty text.
//! - A template ends: [`FUEL`] bounds what it computes, [`RENDERED_BYTES_MAX`] what it writes.
//! - An error says where, and nothing of what a value or a secret holds.
//!
//! # Limits
//! What a template keeps in variables is bounded by [`FUEL`] alone; it is written by those who own the app.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::ops::Range;

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use zeroize::Zeroizing;

/// The longest template, in bytes: more than that is data, not configuration.
pub const TEMPLATE_BYTES_MAX: usize = 256 << 10;
/// The longest file that a template makes, in bytes.
pub const RENDERED_BYTES_MAX: usize = 4 << 20;
/// How many steps a template may take: a second of work at most.
pub const FUEL: u64 = 2_000_000;
/// How deep macros may call each other; a thread has 2 MiB of stack.
const DEPTH_MAX: usize = 64;
/// The names that every template has.
pub const NAMES: [&str; 7] =
    ["app", "environment", "release", "secrets", "server", "shared", "values"];
/// Those whose content is known only on the server.
const KNOWN_LATER: [&str; 4] = ["release", "secrets", "server", "shared"];

/// What a template can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// `app`: the name of the app.
    pub app: String,
    /// `environment`: its name.
    pub environment: String,
    /// `server`: the name of the server.
    pub server: String,
    /// `shared`: the directory that survives releases, absolute.
    pub shared: String,
    /// `release.number`.
    pub number: u64,
    /// `release.label`.
    pub label: String,
    /// `release.digest`.
    pub digest: String,
    /// `values.NAME`.
    pub values: BTreeMap<String, String>,
    /// `secrets.NAME`. A secret that is not UTF-8 text is in files and variables only.
    pub secrets: BTreeMap<String, Hidden>,
}

/// A secret as text. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Hidden(Zeroizing<String>);

impl Hidden {
    /// Hides a text.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a template made.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The content of the file.
    pub text: Zeroizing<Vec<u8>>,
    /// Whether it can hold a secret: then nobody but the app's user may read it.
    pub private: bool,
}

impl fmt::Debug for Rendered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.text.len();
        f.debug_struct("Rendered").field("bytes", &bytes).field("private", &self.private).finish()
    }
}

/// What is wrong with a template, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{template}:{line}:{column}: {what}")]
pub struct Wrong {
    /// The template, as it is called.
    pub template: String,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// The same place in bytes of the template, on borders of characters.
    pub span: Range<usize>,
    /// What is wrong, in words without any value.
    pub what: String,
    /// Whether it can come from something that only the server knows, so that another server with
    /// other secrets may render it.
    pub depends: bool,
}

/// Renders a template.
///
/// # Errors
/// [`Wrong`]; also for what is not defined.
pub fn render(name: &str, source: &str, given: &Given) -> Result<Rendered, Wrong> {
    if source.len() > TEMPLATE_BYTES_MAX {
        return Err(at_begin(name, "it is longer than 256 KiB, which no configuration is"));
    }
    let engine = engine();
    let template = engine
        .template_from_named_str(name, source)
        .map_err(|error| wrong(name, source, &error, false))?;
    let used = template.undeclared_variables(false);
    let depends = KNOWN_LATER.iter().any(|name| used.contains(*name));
    let mut text = Limited(Zeroizing::new(Vec::new()));
    match template.render_captured_to(context(given), &mut text) {
        Ok(_) => Ok(Rendered { private: is_private(&used, &text.0, given), text: text.0 }),
        Err(error) => Err(wrong(name, source, &error, depends)),
    }
}

/// The template knows of secrets, or one came into it another way.
fn is_private(used: &std::collections::HashSet<String>, text: &[u8], given: &Given) -> bool {
    let holds = |secret: &Hidden| {
        let secret = secret.0.as_bytes();
        !secret.is_empty() && text.windows(secret.len()).any(|window| window == secret)
    };
    used.contains("secrets") || given.secrets.values().any(holds)
}

fn engine<'s>() -> Environment<'s> {
    let mut engine = Environment::new();
    engine.set_undefined_behavior(UndefinedBehavior::Strict);
    // A configuration file is text: who wants JSON writes `|tojson`.
    engine.set_auto_escape_callback(|_| AutoEscape::None);
    let mut syntax = engine.syntax().to_builder();
    syntax.keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true);
    engine.set_syntax(syntax.build().expect("the delimiters are those of the library"));
    engine.set_fuel(Some(FUEL));
    engine.set_recursion_limit(DEPTH_MAX);
    engine.set_debug(true);
    engine
}

fn context(given: &Given) -> Value {
    let text = |text: &str| Value::from(text);
    let map = |entries: BTreeMap<String, Value>| Value::from(entries);
    let values = given.values.iter().map(|(name, value)| (name.clone(), text(value)));
    let secrets = given.secrets.iter().map(|(name, value)| (name.clone(), text(&value.0)));
    let release = [
        ("number".to_owned(), Value::from(given.number)),
        ("label".to_owned(), text(&given.label)),
        ("digest".to_owned(), text(&given.digest)),
    ];
    let all = [
        ("app", text(&given.app)),
        ("environment", text(&given.environment)),
        ("server", text(&given.server)),
        ("shared", text(&given.shared)),
        ("release", map(release.into())),
        ("values", map(values.collect())),
        ("secrets", map(secrets.collect())),
    ];
    map(all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Takes so much and no more.
struct Limited(Zeroizing<Vec<u8>>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::Error::other("too long"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn at_begin(name: &str, what: &str) -> Wrong {
    let (template, what) = (name.to_owned(), what.to_owned());
    Wrong { template, line: 1, column: 1, span: 0..0, what, depends: false }
}

fn wrong(name: &str, source: &str, error: &minijinja::Error, depends: bool) -> Wrong {
    let span = span(source, error);
    let line_start = source[..span.start].rfind('\n').map_or(0, |at| at + 1);
    Wrong {
        template: name.to_owned(),
        line: source[..span.start].matches('\n').count() + 1,
        column: source[line_start..span.start].chars().count() + 1,
        what: words(error, &source[span.clone()]),
        span,
        depends,
    }
}

/// The place of an error: its own, else its line.
fn span(source: &str, error: &minijinja::Error) -> Range<usize> {
    let own = error.range().filter(|own| own.start < own.end && source.get(own.clone()).is_some());
    own.unwrap_or_else(|| {
        let at = error.line().unwrap_or(1).saturating_sub(1);
        let mut start = 0;
        for (number, line) in source.split_inclusive('\n').enumerate() {
            if number == at {
                return start..start + line.trim_end_matches(['\n', '\r']).len();
            }
            start += line.len();
        }
        source.len()..source.len()
    })
}

/// What went wrong. What the library adds can hold a value, so only what it says about the text of
/// a template is passed on.
fn words(error: &minijinja::Error, there: &str) -> String {
    let words = match error.kind() {
        ErrorKind::SyntaxError => {
            return match error.detail() {
                Some(detail) => format!("this is no template: {detail}"),
                None => "this is no template".to_owned(),
            };
        }
        ErrorKind::UndefinedError => return undefined(there),
        ErrorKind::OutOfFuel => "it takes too many steps: does it end?",
        ErrorKind::WriteFailure => "it makes more than 4 MiB",
        ErrorKind::TemplateNotFound => "a template can include no other",
        ErrorKind::UnknownFilter => "there is no such filter",
        ErrorKind::UnknownTest => "there is no such test",
        ErrorKind::UnknownFunction => "there is no such function",
        ErrorKind::UnknownMethod => "there is no such method",
        ErrorKind::NonPrimitive => "this is no text and no number",
        ErrorKind::NonKey => "this cannot be a key",
        ErrorKind::InvalidOperation => "that cannot be done with what is here",
        ErrorKind::MissingArgument => "an argument is missing",
        ErrorKind::TooManyArguments => "there are too many arguments",
        ErrorKind::CannotUnpack => "this cannot be taken apart",
        _ => "it cannot be rendered",
    };
    words.to_owned()
}

fn undefined(there: &str) -> String {
    let there = there.trim();
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.".contains(c))
    };
    if !is_name(there) {
        return "something in it is not defined".to_owned();
    }
    if there.starts_with("values.") || there.starts_with("secrets.") {
        return format!("`{there}` is not defined in this environment");
    }
    format!("`{there}` is not defined; there are {}", NAMES.join(", "))
}

#[cfg(test)]
mod tests;
