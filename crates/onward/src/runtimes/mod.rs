//! Language runtimes: the version that a project pins is found on this machine or fetched, recorded
//! in `onward.lock`, and used by the build and by everything that the release runs.
//!
//! | language | is looked for | is fetched |
//! |---|---|---|
//! | Node.js | `PATH`; nvm, asdf, mise, nodenv, volta, fnm | from npm's registry |
//! | Python | `PATH`; pyenv, asdf, mise, uv | no registry has it |
//! | Ruby | `PATH`; rbenv, asdf, mise, chruby | no registry has it |
//! | Go | `PATH`; goenv, asdf, mise, `~/sdk` | by Go itself, from 1.21 on |
//!
//! A project that pins nothing gets what is on `PATH`, as if this module were not there.

mod error;
mod fetch;
mod lock;
mod npm;
pub mod pins;
mod place;
pub mod range;
mod registry;
mod search;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use onward_core::model::{Runtime, RuntimeSource};

pub use error::{NotHere, RuntimeError};
pub use lock::{LOCK_NAME, Lock, LockError, Locked, Origin};
pub use npm::NpmError;
use pins::{Language, Pin};
use range::Version;
use search::Installed;

/// The first Go that fetches another one by itself.
const GO_FETCHES_FROM: Version = Version { major: 1, minor: 21, patch: 0 };

/// Who waits while something is fetched.
pub trait Onlooker {
    /// Is told what is fetched, before that takes its time.
    fn fetching(&self, what: &str);

    /// Whether it shall stop.
    fn wants_stop(&self) -> bool;
}

/// A runtime that is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// Its language.
    pub language: Language,
    /// What the project wants, and where it says so.
    pub wanted: (String, &'static str),
    /// What it is.
    pub runtime: Runtime,
}

/// Finds the runtimes that the project pins, without fetching or writing anything: each with what
/// it would be, or why it cannot be had here.
///
/// # Errors
/// [`RuntimeError::NoVersion`], [`RuntimeError::Lock`] and [`RuntimeError::Outdated`].
pub fn look(
    project: &Path,
    own: &BTreeMap<String, String>,
) -> Result<Vec<(Pin, Option<Version>)>, RuntimeError> {
    let lock = Lock::read(project)?;
    let pins = pins::of(project, own)?;
    let mut all = Vec::new();
    for pin in pins {
        let version = match lock.of(pin.language) {
            Some(locked) => Some(recorded_version(&pin, locked)?),
            None => choose(&pin, &search::installed(pin.language)).map(|one| one.version),
        };
        all.push((pin, version));
    }
    Ok(all)
}

/// What is there of the line that a pin belongs to, when the exact version is not: `3.10` for
/// `3.10.2`. Node is fetched instead.
pub fn near(pin: &Pin) -> Option<String> {
    let wanted = Version::parse(&pin.wanted).filter(|_| pin.language != Language::Node)?;
    let line =
        |one: &Installed| (one.version.major, one.version.minor) == (wanted.major, wanted.minor);
    let found = search::installed(pin.language).into_iter().any(|one| line(&one));
    found.then(|| format!("{}.{}", wanted.major, wanted.minor))
}

/// The recorded version, when it still belongs to what is wanted.
fn recorded_version(pin: &Pin, locked: &Locked) -> Result<Version, RuntimeError> {
    let version = Version::parse(&locked.version).filter(|version| fits(pin, *version));
    version.ok_or_else(|| RuntimeError::Outdated {
        language: pin.language,
        locked: locked.version.clone(),
        wanted: pin.wanted.clone(),
        file: pin.file,
    })
}

/// Whether a version does what is wanted.
fn fits(pin: &Pin, version: Version) -> bool {
    let fetches_itself = pin.language == Language::Go && version >= GO_FETCHES_FROM;
    pin.range.has(version) || fetches_itself
}

/// Finds or fetches the runtimes that the project pins, and records them. With `update` what was
/// recorded does not count.
///
/// # Errors
/// [`RuntimeError`]; then nothing was recorded.
pub fn resolve(
    project: &Path,
    own: &BTreeMap<String, String>,
    update: bool,
    onlooker: &dyn Onlooker,
) -> Result<Vec<InUse>, RuntimeError> {
    let pins = pins::of(project, own)?;
    if pins.is_empty() {
        return Ok(Vec::new());
    }
    let source = npm::Source::of(project, onlooker);
    let old = Lock::read(project)?;
    let mut new = Lock::default();
    let mut all = Vec::new();
    for pin in &pins {
        let locked = old.of(pin.language).filter(|_| !update);
        let (runtime, record) = match locked {
            Some(locked) => as_recorded(pin, locked, &source)?,
            None => chosen(pin, &source)?,
        };
        new.runtime.insert(pin.language.as_str().to_owned(), record);
        let wanted = (pin.wanted.clone(), pin.file);
        all.push(InUse { language: pin.language, wanted, runtime });
    }
    new.write(project)?;
    Ok(all)
}

/// Exactly what was recorded.
fn as_recorded(
    pin: &Pin,
    locked: &Locked,
    source: &npm::Source<'_>,
) -> Result<(Runtime, Locked), RuntimeError> {
    let version = recorded_version(pin, locked)?;
    let installed = search::installed(pin.language);
    let same = installed.iter().find(|one| one.version == version);
    match same.filter(|_| locked.from == Origin::System) {
        Some(one) => Ok((system(one), recorded(pin, one.version, Origin::System))),
        None => {
            let here = || NotHere::new(pin, locked.version.clone(), LOCK_NAME, &installed);
            fetched(pin, version, &locked.packages, source, here)
        }
    }
}

/// What fits best: what a command line would find, else the newest here, else one that is fetched.
fn chosen(pin: &Pin, source: &npm::Source<'_>) -> Result<(Runtime, Locked), RuntimeError> {
    let installed = search::installed(pin.language);
    if let Some(one) = choose(pin, &installed) {
        return Ok((system(one), recorded(pin, one.version, Origin::System)));
    }
    let here = || NotHere::new(pin, pin.wanted.clone(), pin.file, &installed);
    if pin.language != Language::Node {
        return Err(RuntimeError::NotHere(here()));
    }
    let version = source
        .best(&pin.range, &pin.wanted)
        .map_err(|source| RuntimeError::NotFetched { here: here(), source })?;
    fetched(pin, version, &BTreeMap::new(), source, here)
}

fn choose<'a>(pin: &Pin, installed: &'a [Installed]) -> Option<&'a Installed> {
    let fits = |one: &&Installed| fits(pin, one.version);
    let on_path = installed.iter().find(|one| one.on_path && fits(one));
    on_path.or_else(|| installed.iter().find(fits))
}

fn fetched(
    pin: &Pin,
    version: Version,
    known: &BTreeMap<String, String>,
    source: &npm::Source<'_>,
    here: impl Fn() -> NotHere,
) -> Result<(Runtime, Locked), RuntimeError> {
    if pin.language != Language::Node {
        return Err(RuntimeError::NotHere(here()));
    }
    let (key, mut packages) = source
        .bring(version, known)
        .map_err(|source| RuntimeError::NotFetched { here: here(), source })?;
    // The packages of other machines' kinds stay recorded: the same file serves everybody.
    packages.extend(known.iter().map(|(name, digest)| (name.clone(), digest.clone())));
    let runtime = Runtime { version: version.to_string(), from: RuntimeSource::Stored(key) };
    Ok((runtime, Locked { packages, ..recorded(pin, version, Origin::Npm) }))
}

fn system(one: &Installed) -> Runtime {
    let directory = one.directory.display().to_string();
    Runtime { version: one.version.to_string(), from: RuntimeSource::System(vec![directory]) }
}

fn recorded(pin: &Pin, version: Version, from: Origin) -> Locked {
    Locked {
        wanted: pin.wanted.clone(),
        version: version.to_string(),
        from,
        packages: BTreeMap::new(),
    }
}

/// The runtimes that a release keeps.
pub fn of_release(all: &[InUse]) -> BTreeMap<String, Runtime> {
    let needed = all.iter().filter(|one| one.language.is_needed_to_run());
    needed.map(|one| (one.language.as_str().to_owned(), one.runtime.clone())).collect()
}

/// The `PATH` of a build: the runtimes before everything else, those in directories that hold
/// programs of every kind last. `None` when nothing is pinned.
pub fn path(all: &[InUse]) -> Option<OsString> {
    if all.is_empty() {
        return None;
    }
    let mut environment = BTreeMap::new();
    environment.extend(std::env::var_os("PATH").map(|path| ("PATH".to_owned(), path)));
    let runtimes: BTreeMap<String, Runtime> =
        all.iter().map(|one| (one.language.as_str().to_owned(), one.runtime.clone())).collect();
    onward_server::runtimes::enter(&runtimes, &mut environment);
    environment.remove("PATH")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::range::{Grammar, Range};
    use super::*;

    pub(super) fn pin(language: Language, wanted: &str, file: &'static str) -> Pin {
        let range = Range::parse(wanted, Grammar::Npm).unwrap();
        Pin { language, wanted: wanted.to_owned(), range, file }
    }

    pub(super) fn installed(all: &[(&str, &str, bool)]) -> Vec<Installed> {
        let one = |&(version, directory, on_path): &(&str, &str, bool)| Installed {
            version: Version::parse(version).unwrap(),
            directory: directory.into(),
            on_path,
        };
        all.iter().map(one).collect()
    }

    #[test]
    fn what_a_command_line_would_find_is_taken_when_it_fits() {
        let all = installed(&[
            ("3.11.2", "/usr/bin", true),
            ("3.13.0", "/p/13", false),
            ("3.12.1", "/p/12", false),
        ]);
        for (wanted, version) in [(">=3.9", "3.11.2"), (">=3.12", "3.13.0"), ("3.12", "3.12.1")] {
            let chosen = choose(&pin(Language::Python, wanted, "x"), &all).unwrap();
            assert_eq!(chosen.version.to_string(), version, "{wanted}");
        }
        assert_eq!(choose(&pin(Language::Python, "3.14", "x"), &all), None);
        let go = installed(&[("1.21.0", "/usr/local/go/bin", true)]);
        assert!(
            choose(&pin(Language::Go, ">=1.25", "go.mod"), &go).is_some(),
            "it fetches 1.25 itself"
        );
        let go = installed(&[("1.19.0", "/usr/bin", true)]);
        assert!(choose(&pin(Language::Go, ">=1.25", "go.mod"), &go).is_none());
    }

    #[test]
    fn go_builds_and_does_not_run() {
        let one = |language, version: &str| InUse {
            language,
            wanted: (version.to_owned(), "x"),
            runtime: Runtime {
                version: version.to_owned(),
                from: RuntimeSource::System(vec![format!("/opt/{version}")]),
            },
        };
        let all = [one(Language::Node, "22.1.0"), one(Language::Go, "1.21.0")];
        assert_eq!(of_release(&all).keys().collect::<Vec<_>>(), ["node"]);
        let path = path(&all).unwrap().into_string().unwrap();
        assert!(path.starts_with("/opt/1.21.0:/opt/22.1.0:"), "{path}");
        assert_eq!(super::path(&[]), None);
    }
}
