//! A place in a JSON text, drawn.

use onward_core::document::InvalidDocument;

/// How much of a long line is shown on each side of the place.
const CONTEXT_CHARS: usize = 60;

/// The line that an error is about, with a caret below the place; nothing when it has no place.
pub fn draw(text: &[u8], reason: &InvalidDocument) -> Vec<String> {
    let InvalidDocument::Syntax { line, column, .. } = reason else { return Vec::new() };
    let text = String::from_utf8_lossy(text);
    let lines: Vec<&str> = text.lines().collect();
    // The end of the text counts as a line of its own; what is missing belongs behind the last one.
    let ends_before = *line > lines.len() || *column == 0;
    let number = if ends_before { lines.len().min(*line) } else { *line };
    let Some(shown) = number.checked_sub(1).and_then(|index| lines.get(index)) else {
        return Vec::new();
    };
    let chars: Vec<char> = shown.chars().collect();
    let at = if ends_before {
        chars.len()
    } else {
        let before = shown.as_bytes().get(..column.saturating_sub(1)).unwrap_or_default();
        String::from_utf8_lossy(before).chars().count()
    };
    let from = at.saturating_sub(CONTEXT_CHARS);
    let to = chars.len().min(at + CONTEXT_CHARS);
    let piece: String = chars[from..to].iter().collect();
    let margin = number.to_string().len();
    vec![
        format!("{number} | {}", piece.replace('\t', " ")),
        format!("{} | {}^", " ".repeat(margin), " ".repeat(at - from)),
    ]
}

#[cfg(test)]
mod tests {
    use onward_core::document::Document;

    use super::*;

    fn drawn(text: &str) -> Vec<String> {
        draw(text.as_bytes(), &Document::decode(text.as_bytes()).expect_err("it is invalid"))
    }

    #[test]
    fn the_caret_is_below_the_place() {
        assert_eq!(
            drawn("{\n  \"schema\": one\n}\n"),
            ["2 |   \"schema\": one", "  |             ^"]
        );
    }

    #[test]
    fn what_is_missing_at_the_end_is_behind_the_last_line() {
        assert_eq!(drawn("{\"schema\": 1,\n"), ["1 | {\"schema\": 1,", "  |              ^"]);
        assert!(drawn("").is_empty());
    }

    #[test]
    fn a_long_line_is_cut_around_the_place() {
        let text = format!("{{\"schema\": \"{}\", !", "x".repeat(500));
        let lines = drawn(&text);
        assert!(lines[0].chars().count() < 140, "{lines:?}");
    }
}
