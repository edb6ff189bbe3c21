//! Source files of a project: found, read and searched, within limits.

use std::fs;
use std::path::Path;

use super::text_of;

/// Source files that are looked into. Larger projects say in their project file what runs.
const FILES_MAX: usize = 2_000;

/// How deep below the project source files are looked for.
const DEPTH_MAX: usize = 3;

/// Directories that hold no part of the program.
const OTHERS: [&str; 18] = [
    "node_modules",
    "vendor",
    "target",
    "dist",
    "build",
    "venv",
    "env",
    "tests",
    "test",
    "spec",
    "docs",
    "doc",
    "examples",
    "example",
    "migrations",
    "static",
    "templates",
    "site-packages",
];

/// A source file.
pub(super) struct Source {
    /// Its path below the project, with `/`.
    pub(super) path: String,
    /// Its text.
    pub(super) text: String,
}

/// The source files with this extension, the outer ones first, in the order of their names.
pub(super) fn files(dir: &Path, extension: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut level = vec![String::new()];
    for _ in 0..=DEPTH_MAX {
        let mut below = Vec::new();
        for parent in &level {
            visit(dir, parent, extension, &mut found, &mut below);
        }
        level = below;
    }
    found
}

fn visit(
    dir: &Path,
    parent: &str,
    extension: &str,
    found: &mut Vec<Source>,
    below: &mut Vec<String>,
) {
    let entries = fs::read_dir(dir.join(parent)).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    for name in names {
        let path = if parent.is_empty() { name.clone() } else { format!("{parent}/{name}") };
        let full = dir.join(&path);
        if full.is_dir() {
            if !name.starts_with('.') && !OTHERS.contains(&name.as_str()) {
                below.push(path);
            }
        } else if name.rsplit_once('.').is_some_and(|(_, own)| own == extension)
            && found.len() < FILES_MAX
            && let Ok(Some(text)) = text_of(&full)
        {
            found.push(Source { path, text });
        }
    }
}

/// The quoted texts of a line, of either kind of quotes.
pub(super) fn literals(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find(['"', '\'']) {
        let quote = &rest[at..=at];
        let inside = &rest[at + 1..];
        let Some(end) = inside.find(quote) else { break };
        found.push(&inside[..end]);
        rest = &inside[end + 1..];
    }
    found
}

/// Paths that apps answer when they are well.
const HEALTH: [&str; 7] =
    ["/up", "/health", "/healthz", "/healthcheck", "/health-check", "/livez", "/ping"];

/// The path of a health route that the text declares.
pub(super) fn health_route(text: &str) -> Option<&'static str> {
    let declares = |line: &str| {
        ["route(", "get(", "path(", "HandleFunc(", "Handle(", "GET("]
            .iter()
            .any(|word| line.contains(word))
    };
    text.lines().filter(|line| declares(line)).find_map(|line| {
        let own = literals(line);
        HEALTH.into_iter().find(|path| own.contains(path))
    })
}

/// Whether a name needs no quotes in a shell.
pub(super) fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '.');
    !text.is_empty() && !text.starts_with('-') && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_of_both_kinds_are_found() {
        assert_eq!(literals(r#"a = f("x", 'y"z') # it's"#), ["x", "y\"z"]);
        assert!(literals("no quotes").is_empty());
    }

    #[test]
    fn a_health_route_is_one_that_is_declared() {
        assert_eq!(health_route("@app.get('/health')"), Some("/health"));
        assert_eq!(health_route("requests.post(\"/health\")"), None);
        assert_eq!(health_route("http.HandleFunc(\"/healthz\", ok)"), Some("/healthz"));
    }
}
