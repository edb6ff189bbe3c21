//! What is wrong with a project file, where, and what to type instead.
//!
//! A [`Diagnostic`] is a value. It is drawn for people or written as JSON only together with the
//! file it speaks about, in a [`Findings`].

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::Serialize;

/// A place in the project file: byte offsets, the end excluded.
pub type Span = Range<usize>;

/// The kinds of problems. The text of a code is stable; scripts may rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The text is not TOML.
    Syntax,
    /// A key is given twice.
    DuplicateKey,
    /// A key that this file does not have.
    UnknownKey,
    /// A value of another type than expected.
    WrongType,
    /// A key that has to be there is not.
    MissingKey,
    /// There is no process at all.
    NoProcess,
    /// No server does what has to be done.
    NoServer,
    /// A name that cannot be a name.
    InvalidName,
    /// A command that cannot be run: empty, or with a NUL.
    InvalidCommand,
    /// A text that is not a duration, or one outside its limits.
    InvalidDuration,
    /// A path that leaves the project, or is reserved.
    InvalidPath,
    /// A text that is no host name, or one with a port.
    InvalidDomain,
    /// A text that is no address, or one that it cannot be.
    InvalidAddress,
    /// A text that is no public key, or no list of them.
    InvalidKey,
    /// A text that is no size.
    InvalidSize,
    /// A number outside its limits.
    InvalidNumber,
    /// A word that is not among the known ones: a signal, a provider.
    UnknownWord,
    /// A time of day that is none.
    InvalidTime,
    /// A value's name or text that no environment variable can have.
    InvalidValue,
    /// A value that onward sets itself.
    ReservedValue,
    /// A name that is a value and a secret.
    SecretIsValue,
    /// A text that names no state store.
    InvalidStore,
    /// A secret in a URL. Its place is never drawn as it is.
    SecretInUrl,
    /// A private key. Its place is never drawn as it is.
    PrivateKey,
    /// Two keys that exclude each other.
    Conflict,
    /// Something given that has no meaning here.
    Meaningless,
    /// The same thing listed twice.
    Repeated,
    /// Two environments that both say `default = true`.
    TwoDefaults,
    /// A template that cannot be rendered.
    InvalidTemplate,
    /// A certificate that nobody would believe, or a key that does not fit.
    InvalidCertificate,
    /// A part of the grammar that this version of onward does not build yet.
    NotYetSupported,
    /// More findings than anybody reads; the rest is left out.
    TooMany,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 32] = [
        Self::Syntax,
        Self::DuplicateKey,
        Self::UnknownKey,
        Self::WrongType,
        Self::MissingKey,
        Self::NoProcess,
        Self::NoServer,
        Self::InvalidName,
        Self::InvalidCommand,
        Self::InvalidDuration,
        Self::InvalidPath,
        Self::InvalidDomain,
        Self::InvalidAddress,
        Self::InvalidKey,
        Self::InvalidSize,
        Self::InvalidNumber,
        Self::UnknownWord,
        Self::InvalidTime,
        Self::InvalidValue,
        Self::ReservedValue,
        Self::SecretIsValue,
        Self::InvalidStore,
        Self::SecretInUrl,
        Self::PrivateKey,
        Self::Conflict,
        Self::Meaningless,
        Self::Repeated,
        Self::TwoDefaults,
        Self::InvalidTemplate,
        Self::InvalidCertificate,
        Self::NotYetSupported,
        Self::TooMany,
    ];

    /// The code as printed, for example `unknown-key`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::DuplicateKey => "duplicate-key",
            Self::UnknownKey => "unknown-key",
            Self::WrongType => "wrong-type",
            Self::MissingKey => "missing-key",
            Self::NoProcess => "no-process",
            Self::NoServer => "no-server",
            Self::InvalidName => "invalid-name",
            Self::InvalidCommand => "invalid-command",
            Self::InvalidDuration => "invalid-duration",
            Self::InvalidPath => "invalid-path",
            Self::InvalidDomain => "invalid-domain",
            Self::InvalidAddress => "invalid-address",
            Self::InvalidKey => "invalid-key",
            Self::InvalidSize => "invalid-size",
            Self::InvalidNumber => "invalid-number",
            Self::UnknownWord => "unknown-word",
            Self::InvalidTime => "invalid-time",
            Self::InvalidValue => "invalid-value",
            Self::ReservedValue => "reserved-value",
            Self::SecretIsValue => "secret-is-value",
            Self::InvalidStore => "invalid-store",
            Self::SecretInUrl => "secret-in-url",
            Self::PrivateKey => "private-key",
            Self::Conflict => "conflict",
            Self::Meaningless => "meaningless",
            Self::Repeated => "repeated",
            Self::TwoDefaults => "two-defaults",
            Self::InvalidTemplate => "invalid-template",
            Self::InvalidCertificate => "invalid-certificate",
            Self::NotYetSupported => "not-yet-supported",
            Self::TooMany => "too-many",
        }
    }

    /// Whether the problem is that something is absent. After a syntax error such a finding is
    /// only an echo: the missing thing may stand in the part that could not be read.
    pub(super) const fn is_absence(self) -> bool {
        matches!(self, Self::MissingKey | Self::NoProcess)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is legal, but probably does not do what was meant.
    Warning,
}

/// One finding about the project file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Its kind.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, as a sentence that names the thing.
    pub message: String,
    /// Where, and what to say at that place. The first label is the main one; there is at least
    /// one. Spans lie inside the file and on borders of characters.
    pub labels: Vec<(Span, String)>,
    /// What to type instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `span`.
    pub fn error(
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: vec![(span, label.into())],
            help: None,
        }
    }

    /// A warning at `span`.
    pub fn warning(
        code: Code,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
    ) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, span, message, label) }
    }

    /// The same with a help line.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with one more place.
    pub(super) fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push((span, label.into()));
        self
    }

    /// Where the main label starts: findings are listed in this order.
    pub(super) fn start(&self) -> usize {
        self.labels.first().map_or(0, |(span, _)| span.start)
    }
}

/// A project file and what was found in it, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The file as the user knows it, for example `onward.toml` or `shop/onward.toml`.
    pub file: String,
    /// Its text.
    pub text: String,
    /// What was found, in file order.
    pub diagnostics: Vec<Diagnostic>,
}

/// Whether a drawing carries colours (ANSI escape codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    On,
    /// For files, pipes and tests.
    Off,
}

/// Lines wider than this are cut around the marked place, so that a file of one very long line
/// stays readable on a terminal.
const WIDTH_MAX: usize = 120;

impl Findings {
    /// Draws all findings: for each its message, `file:line:column`, the line with carets, help.
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::On => Renderer::styled(),
            Colour::Off => Renderer::plain(),
        }
        .term_width(WIDTH_MAX);
        let text = self.without_secrets();
        let drawn: Vec<String> =
            self.diagnostics.iter().map(|found| self.draw(&renderer, &text, found)).collect();
        drawn.join("\n\n")
    }

    /// The text, with a star for each byte of a secret that was found.
    fn without_secrets(&self) -> String {
        let mut text = self.text.clone();
        let is_secret = |code| matches!(code, Code::SecretInUrl | Code::PrivateKey);
        let secrets = self.diagnostics.iter().filter(|found| is_secret(found.code));
        for (span, _) in secrets.flat_map(|found| &found.labels) {
            text.replace_range(span.clone(), &"*".repeat(span.len()));
        }
        text
    }

    fn draw(&self, renderer: &Renderer, text: &str, found: &Diagnostic) -> String {
        let level = match found.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut snippet = Snippet::source(text).path(&self.file);
        for (i, (span, label)) in found.labels.iter().enumerate() {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            snippet = snippet.annotation(kind.span(span.clone()).label(label));
        }
        let mut group =
            level.primary_title(&found.message).id(found.code.as_str()).element(snippet);
        if let Some(help) = &found.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group])
    }

    /// The findings as one JSON array, for `--json`. Lines and columns count from 1; columns are
    /// characters, offsets are bytes.
    pub fn to_json(&self) -> serde_json::Value {
        let all = self.diagnostics.iter().map(|found| {
            serde_json::json!({
                "code": found.code,
                "severity": found.severity,
                "message": found.message,
                "file": self.file,
                "labels": found.labels.iter().map(|label| self.label_json(label)).collect::<Vec<_>>(),
                "help": found.help,
            })
        });
        serde_json::Value::Array(all.collect())
    }

    fn label_json(&self, (span, text): &(Span, String)) -> serde_json::Value {
        let (line, column) = place(&self.text, span.start);
        let (end_line, end_column) = place(&self.text, span.end);
        serde_json::json!({
            "line": line,
            "column": column,
            "end_line": end_line,
            "end_column": end_column,
            "start": span.start,
            "end": span.end,
            "text": text,
        })
    }

    /// How many of the findings are errors.
    pub fn errors(&self) -> usize {
        self.diagnostics.iter().filter(|found| found.severity == Severity::Error).count()
    }

    /// One line for the end: `onward.toml: 2 errors, 1 warning`.
    pub fn summary(&self) -> String {
        let errors = self.errors();
        let warnings = self.diagnostics.len() - errors;
        let mut parts = Vec::new();
        if errors > 0 {
            parts.push(counted(errors, "error"));
        }
        if warnings > 0 {
            parts.push(counted(warnings, "warning"));
        }
        if parts.is_empty() {
            parts.push("no problem found".to_owned());
        }
        format!("{}: {}", self.file, parts.join(", "))
    }
}

fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// Line and column, both from 1, of a byte offset. The column counts characters.
pub(super) fn place(text: &str, offset: usize) -> (usize, usize) {
    let offset = text.floor_char_boundary(offset);
    let before = &text[..offset];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
