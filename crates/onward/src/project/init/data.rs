//! Databases in files, which have to survive releases: found by the lines that open them; and
//! database servers, which have to be there: found by the packages that speak to them.

use std::path::Path;

use super::Draft;
use super::source::{self, is_plain, literals};

/// How the names of such files end.
const ENDS: [&str; 4] = [".db", ".sqlite", ".sqlite3", ".db3"];

/// Words of lines that open one.
const OPENERS: [&str; 3] = ["sqlite", "Database(", "duckdb"];

/// What may stand before the path of a file.
const PREFIXES: [&str; 4] = ["sqlite:///", "sqlite://", "sqlite:", "file:"];

/// Packages that speak to a server, and to which.
const CLIENTS: [(&str, &str); 16] = [
    ("psycopg2", "PostgreSQL"),
    ("psycopg2-binary", "PostgreSQL"),
    ("psycopg", "PostgreSQL"),
    ("asyncpg", "PostgreSQL"),
    ("pg", "PostgreSQL"),
    ("postgres", "PostgreSQL"),
    ("mysqlclient", "MySQL"),
    ("pymysql", "MySQL"),
    ("mysql2", "MySQL"),
    ("mysql", "MySQL"),
    ("pymongo", "MongoDB"),
    ("mongodb", "MongoDB"),
    ("mongoose", "MongoDB"),
    ("redis", "Redis"),
    ("ioredis", "Redis"),
    ("bullmq", "Redis"),
];

/// Says which servers the packages of a project may want.
pub(super) fn servers(asks_for: impl Fn(&str) -> bool, draft: &mut Draft) {
    let mut told = Vec::new();
    for (package, server) in CLIENTS {
        if asks_for(package) && !told.contains(&server) {
            told.push(server);
            draft.caution(format!(
                "it asks for `{package}`: if it wants a {server} server, that has to answer before \
                 `onward up`"
            ));
        }
    }
}

/// Shares the database files that source files with this extension open.
pub(super) fn describe(dir: &Path, extension: &str, draft: &mut Draft) {
    for file in files(dir, extension) {
        draft.assume(format!("the database {file} survives releases"));
        draft.share_file(file);
    }
}

/// The database files that source files with this extension open, relative to the directory that
/// they run in.
pub(super) fn files(dir: &Path, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for source in source::files(dir, extension) {
        let opens = |line: &&str| {
            let comment = line.trim_start().starts_with(['#', '/', '*']);
            !comment && OPENERS.iter().any(|word| line.contains(word))
        };
        for file in source.text.lines().filter(opens).flat_map(literals).filter_map(file) {
            if !found.contains(&file) {
                found.push(file);
            }
        }
    }
    found
}

fn file(literal: &str) -> Option<String> {
    let after = PREFIXES.iter().find_map(|prefix| literal.strip_prefix(prefix));
    let path = after.unwrap_or(literal).split('?').next().unwrap_or_default();
    let path = path.strip_prefix("./").unwrap_or(path);
    let is_file = is_plain(path)
        && !path.starts_with('/')
        && ENDS.iter().any(|end| path.strip_suffix(end).is_some_and(|name| !name.is_empty()));
    is_file.then(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_what_opens_them() {
        for (literal, expected) in [
            ("sqlite:///./shop.db", Some("shop.db")),
            ("data/shop.sqlite3", Some("data/shop.sqlite3")),
            ("file:shop.db?cache=shared", Some("shop.db")),
            ("sqlite:////var/lib/shop.db", None),
            (":memory:", None),
            ("sqlite://", None),
            (".db", None),
        ] {
            assert_eq!(file(literal).as_deref(), expected, "{literal}");
        }
    }
}
