//! Versions of runtimes, and the four ways in which projects say which ones they want.

use std::cmp::Ordering;
use std::fmt;

/// Numbers that a pin may have. Versions of runtimes have three.
const PARTS_MAX: usize = 4;

/// Alternatives that a pin may have.
const ALTERNATIVES_MAX: usize = 32;

/// An exact version of a runtime: `22.12.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first number.
    pub major: u64,
    /// The second number.
    pub minor: u64,
    /// The third number.
    pub patch: u64,
}

impl Version {
    /// Reads `22.12.0`, `v22.12.0` or `1.19`; nothing behind it, so a preview is none.
    pub fn parse(text: &str) -> Option<Self> {
        let parts = numbers(text.strip_prefix('v').unwrap_or(text))?;
        match parts[..] {
            [major, minor, patch] => Some(Self { major, minor, patch }),
            [major, minor] => Some(Self { major, minor, patch: 0 }),
            _ => None,
        }
    }

    fn of(parts: &[u64]) -> Self {
        let at = |i: usize| parts.get(i).copied().unwrap_or(0);
        Self { major: at(0), minor: at(1), patch: at(2) }
    }

    /// The first version that differs in the part before `parts`: `1.3.0` for two parts of `1.2.7`.
    fn next_of(self, parts: usize) -> Self {
        let Self { major, minor, patch } = self;
        match parts {
            0 | 1 => Self { major: major.saturating_add(1), minor: 0, patch: 0 },
            2 => Self { major, minor: minor.saturating_add(1), patch: 0 },
            _ => Self { major, minor, patch: patch.saturating_add(1) },
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// How a file writes down what it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grammar {
    /// The beginning of a version (`22`, `3.12`), as version managers take it, or a word of `nvm`.
    Prefix,
    /// npm's: `^20.1 || >=22`.
    Npm,
    /// Python's: `>=3.9,<3.13`, `~=3.10`.
    Python,
    /// Ruby's: `~> 3.2`, `>= 3.1, < 3.4`.
    Ruby,
    /// Go's: at least this.
    Minimum,
}

/// A set of versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// One of these has to hold; each is a list that has to hold as a whole.
    alternatives: Vec<Vec<Rule>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    AtLeast(Version),
    Below(Version),
    Outside(Version, Version),
}

impl Range {
    /// Reads what a project wants; `None` when that is no version in this grammar.
    pub fn parse(text: &str, grammar: Grammar) -> Option<Self> {
        let text = text.trim();
        let all = |rules| Some(Self { alternatives: vec![rules] });
        match grammar {
            Grammar::Prefix => match codename(text) {
                Some(rules) => all(rules),
                None => all(prefix(text.strip_prefix('v').unwrap_or(text))?),
            },
            Grammar::Minimum => all(vec![Rule::AtLeast(Version::of(&numbers(text)?))]),
            Grammar::Npm => npm(text),
            Grammar::Python => all(list(text, python)?),
            Grammar::Ruby => all(list(text, ruby)?),
        }
    }

    /// Whether a version belongs to it.
    pub fn has(&self, version: Version) -> bool {
        let holds = |rule: &Rule| match rule {
            Rule::AtLeast(least) => version >= *least,
            Rule::Below(end) => version < *end,
            Rule::Outside(from, end) => version < *from || version >= *end,
        };
        self.alternatives.iter().any(|rules| rules.iter().all(holds))
    }
}

fn numbers(text: &str) -> Option<Vec<u64>> {
    let parts: Option<Vec<u64>> = text
        .split('.')
        .map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            if digits { part.parse().ok() } else { None }
        })
        .collect();
    parts.filter(|parts| parts.len() <= PARTS_MAX)
}

/// Everything that begins with these numbers. `x` and `*` stand for any number.
fn prefix(text: &str) -> Option<Vec<Rule>> {
    let parts = text.split('.').take_while(|part| !matches!(*part, "x" | "X" | "*"));
    let known = parts.collect::<Vec<_>>().join(".");
    if known.is_empty() {
        return (!text.is_empty()).then(Vec::new);
    }
    let parts = numbers(&known)?;
    let from = Version::of(&parts);
    Some(vec![Rule::AtLeast(from), Rule::Below(from.next_of(parts.len()))])
}

/// The words of `nvm`.
fn codename(text: &str) -> Option<Vec<Rule>> {
    let line = match text.strip_prefix("lts/") {
        Some("*") => return Some(Vec::new()),
        Some("gallium") => "16",
        Some("hydrogen") => "18",
        Some("iron") => "20",
        Some("jod") => "22",
        Some("krypton") => "24",
        Some(_) => return None,
        None if matches!(text, "node" | "latest" | "stable" | "lts") => return Some(Vec::new()),
        None => return None,
    };
    prefix(line)
}

fn npm(text: &str) -> Option<Range> {
    let alternatives: Option<Vec<Vec<Rule>>> = text.split("||").map(npm_alternative).collect();
    let alternatives = alternatives.filter(|all| all.len() <= ALTERNATIVES_MAX)?;
    Some(Range { alternatives })
}

fn npm_alternative(text: &str) -> Option<Vec<Rule>> {
    if let Some((low, high)) = text.split_once(" - ") {
        let mut rules = npm_one(&format!(">={}", low.trim()))?;
        rules.extend(npm_one(&format!("<={}", high.trim()))?);
        return Some(rules);
    }
    // A sign may stand apart from its version.
    let mut joined = String::new();
    for c in text.chars() {
        let after_sign = joined.ends_with(['<', '>', '=', '^', '~']);
        if !(c.is_whitespace() && after_sign) {
            joined.push(c);
        }
    }
    let rules: Option<Vec<Vec<Rule>>> = joined.split_whitespace().map(npm_one).collect();
    Some(rules?.concat())
}

fn npm_one(text: &str) -> Option<Vec<Rule>> {
    let (sign, rest) = split_sign(text);
    let rest = rest.strip_prefix('v').unwrap_or(rest);
    let parts: Vec<&str> = rest.split('.').take_while(|p| !matches!(*p, "x" | "X" | "*")).collect();
    let any = parts.is_empty() || rest.is_empty();
    let known = if any { Vec::new() } else { numbers(&parts.join("."))? };
    let version = Version::of(&known);
    Some(match sign {
        "" | "=" => prefix(if rest.is_empty() { "*" } else { rest })?,
        _ if any => Vec::new(),
        "^" => vec![Rule::AtLeast(version), Rule::Below(caret_end(version, known.len()))],
        "~" => vec![Rule::AtLeast(version), Rule::Below(version.next_of(known.len().min(2)))],
        ">=" => vec![Rule::AtLeast(version)],
        "<" => vec![Rule::Below(version)],
        ">" => vec![Rule::AtLeast(version.next_of(known.len()))],
        "<=" => vec![Rule::Below(version.next_of(known.len()))],
        _ => return None,
    })
}

/// Where `^` ends: at the first number that is not zero.
fn caret_end(version: Version, parts: usize) -> Version {
    let first = [version.major, version.minor, version.patch].iter().position(|part| *part != 0);
    version.next_of(first.map_or(parts, |at| at + 1))
}

fn split_sign(text: &str) -> (&str, &str) {
    let end = text.find(|c| !matches!(c, '<' | '>' | '=' | '^' | '~' | '!')).unwrap_or(text.len());
    let (sign, rest) = text.split_at(end);
    (sign, rest.trim_start())
}

/// Rules separated by commas.
fn list(text: &str, one: fn(&str, &str) -> Option<Vec<Rule>>) -> Option<Vec<Rule>> {
    let rules: Option<Vec<Vec<Rule>>> = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (sign, rest) = split_sign(part);
            one(sign, rest)
        })
        .collect();
    rules.map(|rules| rules.concat()).filter(|rules| !rules.is_empty())
}

fn python(sign: &str, rest: &str) -> Option<Vec<Rule>> {
    let stem = rest.strip_suffix(".*").unwrap_or(rest);
    let parts = numbers(stem)?;
    let version = Version::of(&parts);
    let length = if stem == rest { 3 } else { parts.len() };
    Some(match sign {
        // `==3.11` is meant as all of 3.11: there is no Python that is called `3.11`.
        "" | "==" | "===" => prefix(stem)?,
        "!=" => vec![Rule::Outside(version, version.next_of(length))],
        ">=" => vec![Rule::AtLeast(version)],
        ">" => vec![Rule::AtLeast(version.next_of(3))],
        "<" => vec![Rule::Below(version)],
        "<=" => vec![Rule::Below(version.next_of(length))],
        "~=" if parts.len() >= 2 => pessimistic(version, parts.len()),
        "^" => vec![Rule::AtLeast(version), Rule::Below(caret_end(version, parts.len()))],
        "~" => vec![Rule::AtLeast(version), Rule::Below(version.next_of(parts.len().min(2)))],
        _ => return None,
    })
}

fn ruby(sign: &str, rest: &str) -> Option<Vec<Rule>> {
    let parts = numbers(rest)?;
    let version = Version::of(&parts);
    Some(match sign {
        "" | "=" => prefix(rest)?,
        "!=" => vec![Rule::Outside(version, version.next_of(3))],
        ">=" => vec![Rule::AtLeast(version)],
        ">" => vec![Rule::AtLeast(version.next_of(3))],
        "<" => vec![Rule::Below(version)],
        "<=" => vec![Rule::Below(version.next_of(3))],
        "~>" => pessimistic(version, parts.len()),
        _ => return None,
    })
}

/// The last number that is given may rise.
fn pessimistic(version: Version, parts: usize) -> Vec<Rule> {
    vec![Rule::AtLeast(version), Rule::Below(version.next_of(parts.saturating_sub(1)))]
}

/// The better one of two versions of Node for a range that takes both: a line with long support
/// (an even number), and the newest of it.
pub fn node_preference(a: Version, b: Version) -> Ordering {
    let supported = |version: Version| version.major.is_multiple_of(2);
    supported(a).cmp(&supported(b)).then(a.cmp(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(text: &str, grammar: Grammar, yes: &[&str], no: &[&str]) {
        let range = Range::parse(text, grammar).unwrap_or_else(|| panic!("{text}"));
        let version = |text: &str| Version::parse(text).unwrap_or_else(|| panic!("{text}"));
        for one in yes {
            assert!(range.has(version(one)), "{text} has {one}");
        }
        for one in no {
            assert!(!range.has(version(one)), "{text} does not have {one}");
        }
    }

    #[test]
    fn prefixes_and_words() {
        has("22", Grammar::Prefix, &["22.0.0", "22.99.1"], &["21.9.9", "23.0.0"]);
        has("v22.12", Grammar::Prefix, &["22.12.0", "22.12.9"], &["22.13.0", "22.1.0"]);
        has("3.12.1", Grammar::Prefix, &["3.12.1"], &["3.12.2", "3.12.0"]);
        has("lts/jod", Grammar::Prefix, &["22.1.0"], &["20.1.0"]);
        has("lts/*", Grammar::Prefix, &["22.1.0"], &[]);
        for wrong in ["", "pypy3.9", "lts/unknown", "3.12-dev", "3..1", "system", "1.2.3.4.5"] {
            assert_eq!(Range::parse(wrong, Grammar::Prefix), None, "{wrong}");
        }
    }

    #[test]
    fn ranges_of_npm() {
        has(">=18", Grammar::Npm, &["18.0.0", "26.1.0"], &["17.9.9"]);
        has(
            "^20.1 || >=22.5",
            Grammar::Npm,
            &["20.1.0", "22.5.0"],
            &["21.0.0", "20.0.9", "22.4.9"],
        );
        has("20.x", Grammar::Npm, &["20.0.0", "20.9.9"], &["21.0.0"]);
        has("18 - 20", Grammar::Npm, &["18.0.0", "20.20.2"], &["21.0.0"]);
        has(">= 18 <21", Grammar::Npm, &["20.0.0"], &["21.0.0"]);
        has("~20.1.2", Grammar::Npm, &["20.1.9"], &["20.2.0", "20.1.1"]);
        has("^0.10.1", Grammar::Npm, &["0.10.9"], &["0.11.0"]);
        has("*", Grammar::Npm, &["1.0.0"], &[]);
        has(">20", Grammar::Npm, &["21.0.0"], &["20.9.9"]);
        has("<=20", Grammar::Npm, &["20.9.9"], &["21.0.0"]);
        has("=20.1.0", Grammar::Npm, &["20.1.0"], &["20.1.1"]);
        assert_eq!(Range::parse("latest please", Grammar::Npm), None);
    }

    #[test]
    fn ranges_of_python_and_ruby() {
        has(">=3.9,<3.13", Grammar::Python, &["3.9.0", "3.12.9"], &["3.13.0", "3.8.9"]);
        has("~=3.10", Grammar::Python, &["3.10.0", "3.99.0"], &["4.0.0", "3.9.0"]);
        has("==3.11.*", Grammar::Python, &["3.11.7"], &["3.12.0"]);
        has(">=3.8, !=3.9.*", Grammar::Python, &["3.8.1", "3.10.0"], &["3.9.5"]);
        has("^3.10", Grammar::Python, &["3.12.0"], &["4.0.0"]);
        has("~> 3.2", Grammar::Ruby, &["3.2.0", "3.4.0"], &["4.0.0", "3.1.0"]);
        has("~> 3.2.1", Grammar::Ruby, &["3.2.9"], &["3.3.0", "3.2.0"]);
        has("3.1.2", Grammar::Ruby, &["3.1.2"], &["3.1.3"]);
        has("1.21", Grammar::Minimum, &["1.21.0", "1.25.3"], &["1.20.9"]);
        assert_eq!(Range::parse(">=three", Grammar::Python), None);
    }

    #[test]
    fn long_support_is_preferred() {
        let version = |text| Version::parse(text).unwrap();
        let best = ["25.1.0", "24.9.0", "22.1.0"]
            .map(version)
            .into_iter()
            .max_by(|a, b| node_preference(*a, *b));
        assert_eq!(best, Some(version("24.9.0")));
    }
}
