//! "Did you mean": the known word nearest to what was typed.

/// Words that other tools use for ours.
const SYNONYMS: [(&str, &str); 24] = [
    ("applications", "app"),
    ("cmd", "run"),
    ("command", "run"),
    ("dirs", "include"),
    ("entrypoint", "run"),
    ("env", "values"),
    ("environments", "environment"),
    ("exec", "run"),
    ("files", "include"),
    ("health", "probe"),
    ("healthcheck", "probe"),
    ("name", "app"),
    ("processes", "process"),
    ("public", "static"),
    ("script", "run"),
    ("scripts", "process"),
    ("services", "service"),
    ("start", "run"),
    ("tasks", "task"),
    ("text", "body"),
    ("timeout", "within"),
    ("url", "path"),
    ("variables", "values"),
    ("vars", "values"),
];

/// The candidate that `typed` most probably means, if any is near enough: a synonym, the same
/// word in other letters, or at most one edit per three characters away (one at least).
pub(super) fn nearest<'c>(typed: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let typed = typed.to_lowercase();
    let allowed = (typed.chars().count() / 3).max(1);
    let near = candidates
        .iter()
        .map(|candidate| (distance(&typed, &candidate.to_lowercase()), *candidate))
        .filter(|(distance, candidate)| *distance <= allowed && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate);
    near.or_else(|| {
        SYNONYMS
            .iter()
            .filter(|(other, _)| *other == typed)
            .find_map(|(_, ours)| candidates.iter().copied().find(|candidate| candidate == ours))
    })
}

/// Edits between two words: an insertion, a deletion, a replacement or a swap of neighbours
/// counts one (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(WORD_CHARS_MAX).collect();
    let b: Vec<char> = b.chars().take(WORD_CHARS_MAX).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before_last[j - 2] + 1);
            }
            row.push(best);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Longer words are compared by their start only, so that a hostile file costs little.
const WORD_CHARS_MAX: usize = 64;

/// `` `a`, `b` and `c` ``.
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        let keys = ["run", "probe", "stop", "overlap", "static"];
        for (typed, meant) in [
            ("rnu", "run"),
            ("Run", "run"),
            ("prob", "probe"),
            ("stopp", "stop"),
            ("overlpa", "overlap"),
            ("command", "run"),
            ("healthcheck", "probe"),
        ] {
            assert_eq!(nearest(typed, &keys), Some(meant), "{typed}");
        }
    }

    #[test]
    fn something_else_is_not_guessed() {
        for typed in ["", "x", "replicas", "ünïcödé", &"a".repeat(10_000)] {
            assert_eq!(nearest(typed, &["run", "probe"]), None, "{typed}");
        }
    }

    #[test]
    fn lists_read_as_english() {
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
