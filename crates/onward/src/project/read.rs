//! Reading the spanned tree: each access states what it expects and records what it finds wrong.
//!
//! The tree is read by hand, because `serde` loses the places of values behind flattened and
//! untagged types, and stops at the first error. A [`Section`] remembers which keys were asked
//! for; whatever else it holds is an unknown key. So the list of known keys cannot drift from
//! the code that reads them.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Code, Diagnostic, Span};
use super::suggest;

/// Collects findings while a file is read.
#[derive(Debug, Default)]
pub(super) struct Sink(pub(super) Vec<Diagnostic>);

impl Sink {
    /// Adds a finding.
    pub(super) fn push(&mut self, found: Diagnostic) {
        self.0.push(found);
    }
}

/// A table that is being read.
pub(super) struct Section<'t> {
    /// Dotted path for messages; empty for the whole file.
    path: String,
    /// The key that names the table.
    pub(super) span: Span,
    table: &'t DeTable<'t>,
    asked: Vec<&'static str>,
}

/// A key and its value.
#[derive(Clone)]
pub(super) struct Item<'t> {
    /// Dotted path for messages.
    pub(super) path: String,
    /// The last part of the path, as the user wrote it.
    pub(super) key: &'t str,
    /// The key's place.
    pub(super) key_span: Span,
    value: &'t Spanned<DeValue<'t>>,
}

/// A text and its place.
#[derive(Clone)]
pub(super) struct Text<'t> {
    /// Dotted path of the key, for messages.
    pub(super) path: String,
    /// The place of the value.
    pub(super) span: Span,
    /// The text.
    pub(super) text: &'t str,
}

impl<'t> Section<'t> {
    /// The whole file.
    pub(super) fn root(table: &'t DeTable<'t>) -> Self {
        Self { path: String::new(), span: 0..0, table, asked: Vec::new() }
    }

    /// How messages call this table.
    pub(super) fn title(&self) -> String {
        if self.path.is_empty() { "the file".to_owned() } else { format!("`{}`", self.path) }
    }

    /// The value of `key`, if it is there.
    pub(super) fn get(&mut self, key: &'static str) -> Option<Item<'t>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let (key, value) = self.table.get_key_value(key)?;
        Some(self.item(key, value))
    }

    /// Every entry in file order, for tables whose keys the user chooses.
    pub(super) fn entries(&self) -> Vec<Item<'t>> {
        let mut items: Vec<Item<'t>> =
            self.table.iter().map(|(key, value)| self.item(key, value)).collect();
        items.sort_by_key(|item| item.key_span.start);
        items
    }

    fn item(
        &self,
        key: &'t Spanned<std::borrow::Cow<'t, str>>,
        value: &'t Spanned<DeValue<'t>>,
    ) -> Item<'t> {
        let name: &'t str = key.get_ref().as_ref();
        let part = shown_key(name);
        let path = if self.path.is_empty() { part } else { format!("{}.{part}", self.path) };
        Item { path, key: name, key_span: key.span(), value }
    }

    /// Every table below `[key.NAME]`.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        sink: &mut Sink,
    ) -> Vec<(Item<'t>, Section<'t>)> {
        let Some(all) = self.get(key).and_then(|item| item.table(sink)) else { return Vec::new() };
        let tables = all.entries().into_iter();
        tables.filter_map(|item| item.table(sink).map(|section| (item, section))).collect()
    }

    /// Reports every key that was not asked for.
    pub(super) fn finish(self, sink: &mut Sink) {
        for item in self.entries() {
            if self.asked.contains(&item.key) {
                continue;
            }
            let found = Diagnostic::error(
                Code::UnknownKey,
                item.key_span.clone(),
                format!("{} has no key `{}`", self.title(), super::parse::shown(item.key)),
                "not a known key",
            );
            let help = match suggest::nearest(item.key, &self.asked) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known here: {}", suggest::list(&self.asked)),
            };
            sink.push(found.help(help));
        }
    }
}

impl<'t> Item<'t> {
    /// The place of the value.
    pub(super) fn value_span(&self) -> Span {
        match self.value.get_ref() {
            // A table's own span may cover its whole header, or be empty: its name says it better.
            DeValue::Table(_) => self.key_span.clone(),
            _ => self.value.span(),
        }
    }

    /// The value as a table.
    pub(super) fn table(&self, sink: &mut Sink) -> Option<Section<'t>> {
        match self.value.get_ref() {
            DeValue::Table(table) => Some(Section {
                path: self.path.clone(),
                span: self.key_span.clone(),
                table,
                asked: Vec::new(),
            }),
            _ => self.wrong(
                sink,
                "a table",
                &format!("write `[{}]` on a line of its own", self.path),
            ),
        }
    }

    /// The value as a text.
    pub(super) fn text(&self, sink: &mut Sink) -> Option<Text<'t>> {
        if let DeValue::String(text) = self.value.get_ref() {
            return Some(Text { path: self.path.clone(), span: self.value.span(), text });
        }
        let written = self.scalar();
        let help = written.map_or_else(
            || format!("write `{} = \"…\"`", self.key),
            |written| format!("put it in quotes: `{} = \"{written}\"`", self.key),
        );
        self.wrong(sink, "text", &help)
    }

    /// The value as `true` or `false`.
    pub(super) fn boolean(&self, sink: &mut Sink) -> Option<bool> {
        match self.value.get_ref() {
            DeValue::Boolean(value) => Some(*value),
            DeValue::String(text) if matches!(text.as_ref(), "true" | "false") => self.wrong(
                sink,
                "`true` or `false`",
                &format!("leave the quotes out: `{} = {text}`", self.key),
            ),
            _ => self.wrong(sink, "`true` or `false`", &format!("write `{} = true`", self.key)),
        }
    }

    /// The value as a whole number between `least` and `most`.
    pub(super) fn number(&self, sink: &mut Sink, least: u32, most: u32) -> Option<u32> {
        let DeValue::Integer(number) = self.value.get_ref() else {
            let help =
                format!("write a number without quotes, for example `{} = {least}`", self.key);
            return self.wrong(sink, "a whole number", &help);
        };
        let value = i128::from_str_radix(number.as_str(), number.radix()).ok();
        let fitting = value
            .and_then(|value| u32::try_from(value).ok())
            .filter(|value| (least..=most).contains(value));
        if fitting.is_none() {
            let found = Diagnostic::error(
                Code::InvalidNumber,
                self.value.span(),
                format!("`{}` cannot be {number}", self.path),
                format!("has to be {least} to {most}"),
            );
            sink.push(found);
        }
        fitting
    }

    /// The value as a list; each element carries the path of the list.
    pub(super) fn list(&self, sink: &mut Sink) -> Option<Vec<Item<'t>>> {
        let help = match self.scalar() {
            Some(_) => format!("put it in brackets: `{} = [{}]`", self.key, self.quoted()),
            None => format!("write `{} = [ … ]`", self.key),
        };
        self.list_or(sink, &help)
    }

    /// The same, with the help for whoever wrote something else.
    pub(super) fn list_or(&self, sink: &mut Sink, help: &str) -> Option<Vec<Item<'t>>> {
        let DeValue::Array(elements) = self.value.get_ref() else {
            return self.wrong(sink, "a list", help);
        };
        let item = |value: &'t Spanned<DeValue<'t>>| Item {
            path: self.path.clone(),
            key: self.key,
            key_span: value.span(),
            value,
        };
        Some(elements.iter().map(item).collect())
    }

    /// The value as a list of texts. Elements of another type are reported and left out.
    pub(super) fn texts(&self, sink: &mut Sink) -> Option<Vec<Text<'t>>> {
        let items = self.list(sink)?;
        Some(items.iter().filter_map(|item| item.element_text(sink)).collect())
    }

    fn element_text(&self, sink: &mut Sink) -> Option<Text<'t>> {
        if let DeValue::String(text) = self.value.get_ref() {
            return Some(Text { path: self.path.clone(), span: self.value.span(), text });
        }
        let help = match self.scalar() {
            Some(written) => format!("put it in quotes: `\"{written}\"`"),
            None => "each element is one text in quotes".to_owned(),
        };
        self.wrong(sink, "a list of texts", &help)
    }

    /// For a duration written as a number: what to type instead.
    pub(super) fn bare_number_as_duration(&self) -> Option<String> {
        match self.value.get_ref() {
            DeValue::Integer(number) => {
                Some(format!("write it with a unit: `{} = \"{number}s\"`", self.key))
            }
            _ => None,
        }
    }

    /// Whether the value is a list.
    pub(super) fn is_list(&self) -> bool {
        self.value.get_ref().is_array()
    }

    /// Whether the value is a text.
    pub(super) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// Whether the value is a table.
    pub(super) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Reports that the value should be `expected`.
    pub(super) fn wrong<T>(&self, sink: &mut Sink, expected: &str, help: &str) -> Option<T> {
        let kind = kind(self.value.get_ref());
        let found = Diagnostic::error(
            Code::WrongType,
            self.value_span(),
            format!("`{}` has to be {expected}, not {kind}", self.path),
            format!("this is {kind}"),
        );
        sink.push(found.help(help));
        None
    }

    /// A scalar as it would read inside quotes.
    fn scalar(&self) -> Option<String> {
        match self.value.get_ref() {
            DeValue::String(text) => Some(text.escape_debug().to_string()),
            DeValue::Integer(number) => Some(number.to_string()),
            DeValue::Float(number) => Some(number.to_string()),
            DeValue::Boolean(value) => Some(value.to_string()),
            DeValue::Datetime(value) => Some(value.to_string()),
            DeValue::Array(_) | DeValue::Table(_) => None,
        }
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.scalar().unwrap_or_default())
    }
}

/// A part of a path as it has to be written: in quotes where it holds other characters.
fn shown_key(key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        format!("\"{}\"", super::parse::shown(key))
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
