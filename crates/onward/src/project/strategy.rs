//! In which steps the servers take a release: `strategy`, `batch` and `canary` of `[release]`.

use onward_core::model::{Part, Strategy};

use super::diagnostic::{Code, Diagnostic};
use super::parse::unknown_word;
use super::read::{Item, Section, Sink};
use super::servers::SERVERS_MAX;

/// What each step takes when `batch` does not say: four steps for most.
const BATCH: Part = Part::Percent(25);
/// Who takes the first step when `canary` does not say.
const CANARY: Part = Part::Servers(1);

/// Reads the three keys; `all` when the file does not say.
pub(super) fn read(section: &mut Section<'_>, sink: &mut Sink) -> Strategy {
    let word = section.get("strategy").and_then(|item| item.text(sink));
    let batch = section.get("batch");
    let canary = section.get("canary");
    let known = ["all", "batches", "canary"];
    if let Some(text) = word.as_ref().filter(|text| !known.contains(&text.text)) {
        unknown_word(sink, text, "a strategy", &known);
        return Strategy::All;
    }
    let word = word.as_ref().map_or("all", |text| text.text);
    for (item, of) in [(&batch, "batches"), (&canary, "canary")] {
        if let Some(item) = item.as_ref().filter(|_| word != of) {
            let found = Diagnostic::error(
                Code::Meaningless,
                item.key_span.clone(),
                format!("`{}` means nothing with the strategy `{word}`", item.path),
                format!("a size of the strategy `{of}`"),
            );
            sink.push(found.help(format!("write `strategy = \"{of}\"`, or remove this line")));
        }
    }
    let part = |item: Option<Item<'_>>, sink: &mut Sink| item.and_then(|item| part(&item, sink));
    match word {
        "batches" => Strategy::Batches(part(batch, sink).unwrap_or(BATCH)),
        "canary" => Strategy::Canary(part(canary, sink).unwrap_or(CANARY)),
        _ => Strategy::All,
    }
}

/// A part of the servers: a number of them, or `"25%"`.
fn part(item: &Item<'_>, sink: &mut Sink) -> Option<Part> {
    if !item.is_text() {
        return item.number(sink, 1, SERVERS_MAX).map(Part::Servers);
    }
    let text = item.text(sink)?;
    let percent = text.text.strip_suffix('%').and_then(|number| number.parse::<u32>().ok());
    let percent = percent.filter(|percent| (1..=100).contains(percent));
    if percent.is_none() {
        let found = Diagnostic::error(
            Code::InvalidNumber,
            text.span,
            format!("`{}` cannot be \"{}\"", text.path, text.text.escape_debug()),
            "not a part of the servers",
        );
        let key = item.key;
        sink.push(found.help(format!(
            "write how many servers, `{key} = 2`, or their share from 1 to 100, `{key} = \"25%\"`"
        )));
    }
    percent.map(Part::Percent)
}
