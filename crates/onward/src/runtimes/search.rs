//! Runtimes that this machine has: on `PATH`, and where version managers keep theirs.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::pins::Language;
use super::range::Version;

/// A runtime of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Its version.
    pub version: Version,
    /// The directory with its programs.
    pub directory: PathBuf,
    /// Whether it is what a command line would find.
    pub on_path: bool,
}

/// The variable that moves a version manager's directory, where it usually is below the home
/// directory, and the way from there to the versions.
type Manager = (&'static str, &'static str, &'static str);

fn managers(language: Language) -> &'static [Manager] {
    match language {
        Language::Node => &[
            ("NVM_DIR", ".nvm", "versions/node"),
            ("ASDF_DATA_DIR", ".asdf", "installs/nodejs"),
            ("MISE_DATA_DIR", ".local/share/mise", "installs/node"),
            ("NODENV_ROOT", ".nodenv", "versions"),
            ("VOLTA_HOME", ".volta", "tools/image/node"),
            ("FNM_DIR", ".local/share/fnm", "node-versions"),
        ],
        Language::Python => &[
            ("PYENV_ROOT", ".pyenv", "versions"),
            ("ASDF_DATA_DIR", ".asdf", "installs/python"),
            ("MISE_DATA_DIR", ".local/share/mise", "installs/python"),
            ("UV_PYTHON_INSTALL_DIR", ".local/share/uv/python", ""),
        ],
        Language::Ruby => &[
            ("RBENV_ROOT", ".rbenv", "versions"),
            ("ASDF_DATA_DIR", ".asdf", "installs/ruby"),
            ("MISE_DATA_DIR", ".local/share/mise", "installs/ruby"),
            ("RUBIES", ".rubies", ""),
        ],
        Language::Go => &[
            ("GOENV_ROOT", ".goenv", "versions"),
            ("ASDF_DATA_DIR", ".asdf", "installs/golang"),
            ("MISE_DATA_DIR", ".local/share/mise", "installs/go"),
            ("GOSDK", "sdk", ""),
        ],
    }
}

const fn program(language: Language) -> &'static str {
    match language {
        Language::Node => "node",
        Language::Python => "python3",
        Language::Ruby => "ruby",
        Language::Go => "go",
    }
}

/// Where the system's own programs are, whether they are on `PATH` or not.
const SHARED: [&str; 5] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin"];

/// The runtimes of a language: those on `PATH` first, then those of version managers, the newest
/// first.
pub fn installed(language: Language) -> Vec<Installed> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut seen = BTreeSet::new();
    let mut found: Vec<Installed> = Vec::new();
    for directory in env::split_paths(&path).filter(|directory| !is_shim(directory)) {
        found.extend(at(language, directory, true, &mut seen));
    }
    let mut others: Vec<Installed> = Vec::new();
    for directory in kept(language) {
        others.extend(at(language, directory, false, &mut seen));
    }
    others.sort_by_key(|one| std::cmp::Reverse(one.version));
    found.extend(others);
    found
}

/// Programs there choose a version by themselves.
fn is_shim(directory: &Path) -> bool {
    directory.file_name() == Some(OsStr::new("shims"))
}

/// Where version managers and installers keep the programs of a language.
fn kept(language: Language) -> Vec<PathBuf> {
    let home = env::home_dir().unwrap_or_default();
    let mut directories = Vec::new();
    for (variable, usual, below) in managers(language) {
        let base = env::var_os(variable).map_or_else(|| home.join(usual), PathBuf::from);
        let versions = if below.is_empty() { base } else { base.join(below) };
        for entry in fs::read_dir(versions).into_iter().flatten().flatten() {
            directories.extend([entry.path().join("bin"), entry.path().join("installation/bin")]);
        }
    }
    directories.extend(SHARED.iter().map(PathBuf::from));
    directories.push(PathBuf::from("/usr/local/go/bin"));
    directories
}

fn at(
    language: Language,
    directory: PathBuf,
    on_path: bool,
    seen: &mut BTreeSet<PathBuf>,
) -> Option<Installed> {
    let program = directory.join(program(language));
    let real = fs::canonicalize(&program).ok().filter(|real| real.is_file())?;
    if !directory.is_absolute() || !seen.insert(real) {
        return None;
    }
    let version = version_of(language, &program)?;
    Some(Installed { version, directory, on_path })
}

/// What a program says about itself.
fn version_of(language: Language, program: &Path) -> Option<Version> {
    let argument = if language == Language::Go { "version" } else { "--version" };
    let output = Command::new(program)
        .arg(argument)
        // A Go that fetches another one would speak for that.
        .env("GOTOOLCHAIN", "local")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    version_in(language, &String::from_utf8_lossy(&output.stdout))
}

/// `v20.1.0`, `Python 3.11.7`, `ruby 3.1.2p20 (…)`, `go version go1.19.8 linux/amd64`.
fn version_in(language: Language, text: &str) -> Option<Version> {
    let mut words = text.split_whitespace();
    let word = match language {
        Language::Node => words.next()?,
        Language::Python | Language::Ruby => words.nth(1)?,
        Language::Go => words.nth(2)?.strip_prefix("go")?,
    };
    let word = word.strip_prefix('v').unwrap_or(word);
    let end = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
    let rest = &word[end..];
    // A patch level of Ruby belongs to the version; a preview is another version.
    let is_release = rest.is_empty() || (rest.starts_with('p') && !rest.starts_with("pre"));
    Version::parse(&word[..end]).filter(|_| is_release)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_say_their_version() {
        for (language, text, version) in [
            (Language::Node, "v20.20.2\n", Some("20.20.2")),
            (Language::Python, "Python 3.11.7\n", Some("3.11.7")),
            (Language::Python, "Python 3.14.0rc1\n", None),
            (Language::Ruby, "ruby 3.1.2p20 (2022-04-12 revision 1) [x86_64-linux]", Some("3.1.2")),
            (Language::Ruby, "ruby 3.4.0preview1 (x)", None),
            (Language::Go, "go version go1.19.8 linux/amd64", Some("1.19.8")),
            (Language::Go, "go version go1.21 linux/amd64", Some("1.21.0")),
            (Language::Node, "", None),
        ] {
            let found = version_in(language, text).map(|version| version.to_string());
            assert_eq!(found.as_deref(), version, "{text}");
        }
    }
}
