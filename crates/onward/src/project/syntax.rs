//! Syntax errors as findings, and what can still be read behind them.
//!
//! The TOML reader recovers from some errors and stops at others. To report everything in one
//! run, the line of the first error is blanked and the rest is read again; every other place in
//! the file stays where it was.

use toml::de::{DeTable, Error};

use super::diagnostic::{Code, Diagnostic, Span};
use super::parse::shown;

/// After so many syntax errors the rest is not looked at: it is another kind of file.
const ERRORS_MAX: usize = 50;

/// So much text is read again in search of further errors, so that a large file that is no TOML
/// at all is refused at once.
const READ_AGAIN_BYTES_MAX: usize = 1024 * 1024;

/// A text whose broken lines are blanked.
pub(super) struct Recovered {
    /// The text; as long as the original.
    pub(super) text: String,
    /// One finding for each blanked line.
    pub(super) broken: Vec<Diagnostic>,
    /// Parts whose table is not known, because its header is broken or was not looked for.
    lost: Vec<Span>,
}

/// Blanks lines until the rest is TOML, but for keys that are given twice.
pub(super) fn recover(original: &str) -> Recovered {
    let mut all = Recovered { text: original.to_owned(), broken: Vec::new(), lost: Vec::new() };
    let rounds = (READ_AGAIN_BYTES_MAX / original.len().max(1)).clamp(2, ERRORS_MAX);
    loop {
        let (_, errors) = DeTable::parse_recoverable(&all.text);
        let first = errors
            .iter()
            .filter(|error| !is_duplicate(error))
            .min_by_key(|error| error.span().map_or(0, |span| span.start));
        let Some(first) = first else { break };
        let span = inside(original, first.span().unwrap_or(0..0));
        if all.broken.len() == rounds {
            all.lost.push(span.start..usize::MAX);
            break;
        }
        let (part, finding) = diagnose(original, &all.text, span, first.message());
        all.broken.push(finding);
        if all.text[part.clone()].trim().is_empty() {
            // Nothing there to blank: the error is the end of the file. The rest is as it is.
            break;
        }
        if original[part.clone()].trim_start().starts_with('[') {
            all.lost.push(part.start..next_header(original, part.end));
        }
        all.blank(part);
    }
    all
}

/// The part to blank and what to say about it.
fn diagnose(original: &str, text: &str, span: Span, message: &str) -> (Span, Diagnostic) {
    let line = line_of(original, span.start);
    // A value is never read where a key stands, unless the list before it goes on.
    let before_key = starts_something(&text[line.clone()])
        && text[line.start..span.start].chars().all(|c| c == '[' || c.is_whitespace());
    let before = list_around(text, line.start.saturating_sub(1));
    if let Some(list) = before.filter(|list| before_key && list.start < line.start) {
        let message = "this is not TOML: a list is not closed";
        let begin = line_of(text, list.start);
        let found = Diagnostic::error(Code::Syntax, begin, message, "the list begins here");
        return (list, found.help("close it with `]`"));
    }
    let list = list_around(text, span.start).filter(|_| message.contains("array"));
    let part = list.unwrap_or(line);
    let finding = broken(original, span, message, part.start);
    (part, finding)
}

/// The lines of the list at `offset`: back to the key that it belongs to, and on to its end, which
/// is at the latest before the next key or header.
fn list_around(text: &str, offset: usize) -> Option<Span> {
    let mut start = line_of(text, offset).start;
    while !starts_a_list(&text[line_of(text, start)]) {
        start = line_of(text, start.checked_sub(1)?).start;
    }
    let mut end = start;
    for line in text[start..].split_inclusive('\n') {
        if end > start && starts_something(line) {
            break;
        }
        end += line.len();
        if line.trim_end().ends_with(']') {
            break;
        }
    }
    Some(start..end)
}

fn starts_a_list(line: &str) -> bool {
    line.split_once('=').is_some_and(|(key, value)| is_key(key) && value.trim().starts_with('['))
}

/// Whether a line starts a key or is a header.
fn starts_something(line: &str) -> bool {
    let line = line.trim();
    let header = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
    header.is_some_and(|name| is_key(name.trim_matches(['[', ']'])))
        || line.split_once('=').is_some_and(|(key, _)| is_key(key))
}

fn is_key(text: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let text = text.trim();
    !text.is_empty() && text.chars().all(plain) && text.contains(|c: char| c.is_alphabetic())
}

impl Recovered {
    /// Writes spaces over a part; line ends stay.
    fn blank(&mut self, part: Span) {
        let spaces = |c: char| match c {
            '\r' | '\n' => c.to_string(),
            c => " ".repeat(c.len_utf8()),
        };
        let blank: String = self.text[part.clone()].chars().map(spaces).collect();
        self.text.replace_range(part, &blank);
    }

    /// Adds the syntax errors to the findings and removes those that are only their echo: what is
    /// said to be absent may stand in a blanked line, and keys below a broken header belong to
    /// another table than it seems.
    pub(super) fn merge_into(self, found: &mut Vec<Diagnostic>) {
        if self.broken.is_empty() {
            return;
        }
        found.retain(|found| {
            !found.code.is_absence() && !self.lost.iter().any(|lost| lost.contains(&found.start()))
        });
        found.extend(self.broken);
    }
}

fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}

/// The findings for keys that are given twice.
pub(super) fn duplicates(text: &str, errors: &[Error]) -> Vec<Diagnostic> {
    let all = errors.iter().filter(|error| is_duplicate(error));
    all.map(|error| duplicate(text, inside(text, error.span().unwrap_or(0..0)))).collect()
}

fn duplicate(text: &str, span: Span) -> Diagnostic {
    let key = shown(text[span.clone()].trim_matches(['"', '\'']));
    let line = text[line_of(text, span.start)].trim_start();
    let help = if line.starts_with('[') {
        "a table has one header: put the keys of both below the first"
    } else {
        "keep one of the two"
    };
    let message = format!("`{key}` is given twice");
    Diagnostic::error(Code::DuplicateKey, span, message, "given again here").help(help)
}

fn broken(text: &str, span: Span, message: &str, start: usize) -> Diagnostic {
    let (what, expected) = message.split_once(", expected ").unwrap_or((message, ""));
    let error =
        |span, message: String, label: &str| Diagnostic::error(Code::Syntax, span, message, label);
    let word = text[span.clone()].trim();
    if matches!(what, "string values must be quoted" | "invalid boolean" | "invalid float") {
        if word.is_empty() {
            let message = "this is not TOML: a value is missing".to_owned();
            return error(span, message, "nothing here").help("write a value; text in quotes");
        }
        let lower = word.to_ascii_lowercase();
        let help = match lower.as_str() {
            "true" | "false" => format!("did you mean `{lower}`?"),
            _ => format!("write `\"{}\"`", shown(word)),
        };
        let message = "this is not TOML: text has to stand in quotes".to_owned();
        return error(span, message, "not in quotes").help(help);
    }
    let label = if matches!(expected, "" | "nothing") {
        what.to_owned()
    } else {
        format!("expected {expected}")
    };
    let found = error(span.clone(), format!("this is not TOML: {what}"), &label).help(help(what));
    if what.contains("array") && start < line_of(text, span.start).start {
        return found.also(line_of(text, start), "the list begins here");
    }
    match text[..span.start].rfind(if what.contains("literal") { "'''" } else { "\"\"\"" }) {
        Some(at) if what.contains("multi-line") => found.also(at..at + 3, "it begins here"),
        _ => found,
    }
}

/// What to type, for each thing that the TOML reader says.
fn help(what: &str) -> &'static str {
    match what {
        "unclosed table" | "unclosed array table" => "close the header with `]`: `[process.web]`",
        "unclosed array" => "close the list with `]`",
        "unexpected `=` in array" => "close the list with `]` before the next key",
        "unclosed inline table" => "close the table with `}`",
        "missing comma between key-value pairs" | "missing comma between array elements" => {
            "put a comma between them"
        }
        "key with no value" | "missing assignment between key-value pairs" => "write `KEY = VALUE`",
        "unexpected key or value" | "extra assignment between key-value pairs" => {
            "put each `KEY = VALUE` on a line of its own"
        }
        "extra `=`" => "one `=` is enough",
        "unquoted keys cannot be empty" => "write the name of the key",
        "invalid unquoted key" => {
            "keys consist of letters, digits, `-` and `_`; others stand in quotes"
        }
        "missing escaped value" => {
            "write `\\\\` for a backslash, or use single quotes: nothing is escaped in them"
        }
        "invalid basic string" => "close the text with `\"`; a line end is written `\\n`",
        "invalid literal string" => "close the text with `'`",
        "invalid multi-line basic string" => "close the text with `\"\"\"`",
        "invalid fraction" | "invalid integer" | "invalid float exponent" => {
            "did you forget the quotes? Text, durations too, stands in quotes"
        }
        "invalid multi-line literal string" => "close the text with `'''`",
        "unexpected leading zero" => "numbers start with another digit than 0",
        "cannot recurse further; max recursion depth met" => "no project file is that deep",
        _ => "https://toml.io shows how the parts of a TOML file are written",
    }
}

/// The line around `offset`, without its end.
fn line_of(text: &str, offset: usize) -> Span {
    let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
    let end = text[offset..].find(['\r', '\n']).map_or(text.len(), |at| offset + at);
    start..end.max(start)
}

/// Where the next line starts that is a header; else the end.
fn next_header(text: &str, from: usize) -> usize {
    let mut start = from;
    for line in text[from..].split_inclusive('\n') {
        if start > from && line.trim_start().starts_with('[') {
            return start;
        }
        start += line.len();
    }
    text.len()
}

/// The span, moved inside the text and to borders of characters.
fn inside(text: &str, span: Span) -> Span {
    let start = text.floor_char_boundary(span.start);
    let end = text.ceil_char_boundary(span.end.max(start));
    start..end
}
