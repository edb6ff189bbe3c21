//! Which runtimes a project pins, and where it says so.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::range::{Grammar, Range};

/// Larger files pin nothing.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A language whose runtime onward looks after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Node.js.
    Node,
    /// Python.
    Python,
    /// Ruby.
    Ruby,
    /// Go, which only builds need.
    Go,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 4] = [Self::Node, Self::Python, Self::Ruby, Self::Go];

    /// Its name in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Python => "python",
            Self::Ruby => "ruby",
            Self::Go => "go",
        }
    }

    /// Whether what was built needs it to run.
    pub const fn is_needed_to_run(self) -> bool {
        !matches!(self, Self::Go)
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a project wants of one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The language.
    pub language: Language,
    /// What the file says.
    pub wanted: String,
    /// What that means.
    pub range: Range,
    /// The file.
    pub file: &'static str,
}

/// A file says something that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file} pins {language} to `{wanted}`, which is no version that onward understands")]
pub struct NoVersion {
    /// The language.
    pub language: Language,
    /// What the file says.
    pub wanted: String,
    /// The file.
    pub file: &'static str,
}

/// The project file, whose `[runtime]` wins over every other file.
const PROJECT_FILE: &str = "onward.toml";

/// Something that a file wants, not yet understood.
type Wish = (String, Grammar, &'static str);

/// The pins of the project in `directory`; `own` is `[runtime]` of its project file.
///
/// # Errors
/// [`NoVersion`] for the first file that counts and says something else.
pub fn of(directory: &Path, own: &BTreeMap<String, String>) -> Result<Vec<Pin>, NoVersion> {
    let mut pins = Vec::new();
    for language in Language::ALL {
        let overridden =
            own.get(language.as_str()).map(|wanted| (wanted.clone(), Grammar::Npm, PROJECT_FILE));
        let Some((wanted, grammar, file)) = overridden.or_else(|| wish(directory, language)) else {
            continue;
        };
        match Range::parse(&wanted, grammar) {
            Some(range) => pins.push(Pin { language, wanted, range, file }),
            None => return Err(NoVersion { language, wanted, file }),
        }
    }
    Ok(pins)
}

/// What the files of a language say; the first one that says something counts.
fn wish(directory: &Path, language: Language) -> Option<Wish> {
    let text = |file: &str| text_of(&directory.join(file));
    let first_line = |file: &'static str| {
        let text = text(file)?;
        let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
        lines.find(|line| !line.is_empty()).map(|line| (line.to_owned(), Grammar::Prefix, file))
    };
    let tools = || {
        let text = text(".tool-versions")?;
        let names: &[&str] = match language {
            Language::Node => &["nodejs", "node"],
            Language::Python => &["python"],
            Language::Ruby => &["ruby"],
            Language::Go => &["golang", "go"],
        };
        text.lines().find_map(|line| {
            let mut words = line.split('#').next()?.split_whitespace();
            let name = words.next()?;
            let version = words.next().filter(|_| names.contains(&name))?;
            Some((version.to_owned(), Grammar::Prefix, ".tool-versions"))
        })
    };
    match language {
        Language::Node => tools()
            .or_else(|| first_line(".node-version"))
            .or_else(|| first_line(".nvmrc"))
            .or_else(|| engines(&text("package.json")?)),
        Language::Python => tools()
            .or_else(|| first_line(".python-version"))
            .or_else(|| {
                let (line, grammar, file) = first_line("runtime.txt")?;
                Some((line.strip_prefix("python-").unwrap_or(&line).to_owned(), grammar, file))
            })
            .or_else(|| pipfile(&text("Pipfile")?))
            .or_else(|| pyproject(&text("pyproject.toml")?)),
        Language::Ruby => tools()
            .or_else(|| {
                let (line, grammar, file) = first_line(".ruby-version")?;
                Some((line.strip_prefix("ruby-").unwrap_or(&line).to_owned(), grammar, file))
            })
            .or_else(|| gemfile(&text("Gemfile")?)),
        Language::Go => tools().or_else(|| go_mod(&text("go.mod")?)),
    }
}

fn engines(text: &str) -> Option<Wish> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let pinned = json.get("volta").and_then(|volta| volta.get("node"));
    let node = pinned.or_else(|| json.get("engines")?.get("node"))?.as_str()?.trim();
    // Everything is allowed: nothing is pinned.
    (!matches!(node, "" | "*")).then(|| (node.to_owned(), Grammar::Npm, "package.json"))
}

fn pipfile(text: &str) -> Option<Wish> {
    let table: toml::Table = text.parse().ok()?;
    let requires = table.get("requires")?;
    let version = requires.get("python_full_version").or_else(|| requires.get("python_version"))?;
    Some((version.as_str()?.to_owned(), Grammar::Prefix, "Pipfile"))
}

fn pyproject(text: &str) -> Option<Wish> {
    let table: toml::Table = text.parse().ok()?;
    let standard = table.get("project").and_then(|project| project.get("requires-python"));
    let poetry = || table.get("tool")?.get("poetry")?.get("dependencies")?.get("python");
    let wanted = standard.or_else(poetry)?.as_str()?;
    Some((wanted.to_owned(), Grammar::Python, "pyproject.toml"))
}

/// The line `ruby "3.2.1"` or `ruby "~> 3.2"`; `ruby file: …` leads to a file that was looked at.
fn gemfile(text: &str) -> Option<Wish> {
    let rest = text.lines().find_map(|line| line.trim().strip_prefix("ruby "))?.trim();
    let texts: Vec<&str> = rest
        .split(',')
        .map(str::trim)
        .take_while(|part| part.starts_with(['"', '\'']))
        .map(|part| part.trim_matches(['"', '\'']))
        .collect();
    (!texts.is_empty()).then(|| (texts.join(", "), Grammar::Ruby, "Gemfile"))
}

fn go_mod(text: &str) -> Option<Wish> {
    let line = |word: &str| text.lines().find_map(|line| line.trim().strip_prefix(word));
    let wanted = line("go ")?.split("//").next()?.trim();
    // Previews are older than their version, which is the closest that can be wanted.
    let wanted = wanted.split("rc").next()?;
    Some((wanted.to_owned(), Grammar::Minimum, "go.mod"))
}

fn text_of(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok().filter(|_| path.is_file())?;
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(files: &[(&str, &str)]) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in files {
            std::fs::write(directory.path().join(path), text).unwrap();
        }
        match of(directory.path(), &BTreeMap::new()) {
            Ok(pins) => {
                let shown = |pin: &Pin| format!("{} {} {}", pin.language, pin.wanted, pin.file);
                pins.iter().map(shown).collect()
            }
            Err(error) => vec![error.to_string()],
        }
    }

    #[test]
    fn each_file_pins_and_the_first_one_counts() {
        for (files, expected) in [
            (vec![(".nvmrc", "v22\n")], "node v22 .nvmrc"),
            (vec![(".nvmrc", "22"), (".node-version", "20.1.0\n")], "node 20.1.0 .node-version"),
            (
                vec![("package.json", r#"{"engines": {"node": ">=18 <23"}}"#)],
                "node >=18 <23 package.json",
            ),
            (vec![(".tool-versions", "# x\nnodejs 22.1.0 20.0.0\n")], "node 22.1.0 .tool-versions"),
            (vec![(".python-version", "# a comment\n3.12\n3.11\n")], "python 3.12 .python-version"),
            (vec![("runtime.txt", "python-3.10.2")], "python 3.10.2 runtime.txt"),
            (
                vec![("pyproject.toml", "[project]\nrequires-python = '>=3.9'")],
                "python >=3.9 pyproject.toml",
            ),
            (
                vec![("pyproject.toml", "[tool.poetry.dependencies]\npython = '^3.10'")],
                "python ^3.10 pyproject.toml",
            ),
            (vec![("Pipfile", "[requires]\npython_version = '3.11'")], "python 3.11 Pipfile"),
            (vec![("Gemfile", "ruby '~> 3.2', '>= 3.2.1'\n")], "ruby ~> 3.2, >= 3.2.1 Gemfile"),
            (vec![(".ruby-version", "ruby-3.1.2\n")], "ruby 3.1.2 .ruby-version"),
            (vec![("go.mod", "module a\n\ngo 1.21 // why\n")], "go 1.21 go.mod"),
        ] {
            assert_eq!(pinned(&files), [expected], "{files:?}");
        }
        assert!(pinned(&[("package.json", r#"{"engines": {"node": "*"}}"#)]).is_empty());
        assert!(pinned(&[("Gemfile", "ruby file: '.ruby-version'\n")]).is_empty());
    }

    #[test]
    fn what_is_no_version_is_refused() {
        let expected =
            ".python-version pins python to `pypy3.9`, which is no version that onward understands";
        assert_eq!(pinned(&[(".python-version", "pypy3.9")]), [expected]);
    }

    #[test]
    fn the_project_file_wins() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(".nvmrc"), "20").unwrap();
        let own = BTreeMap::from([("node".to_owned(), ">=22".to_owned())]);
        let pins = of(directory.path(), &own).unwrap();
        assert_eq!((pins[0].wanted.as_str(), pins[0].file), (">=22", "onward.toml"));
    }
}
