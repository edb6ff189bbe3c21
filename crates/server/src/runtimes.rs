//! Where a server has language runtimes, and how a process gets them.
//!
//! Runtimes that onward fetched are kept once for each account of a machine, below
//! `~/.local/share/onward/runtimes`, each in a directory named by name, version and digest, complete
//! from the moment that it is there. The others belong to the system.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use onward_core::model::{Runtime, RuntimeSource};

/// Where programs are when a process has no `PATH` at all.
const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Directories that hold programs of every kind.
const SHARED: [&str; 5] = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin"];

/// The directory of the runtimes that onward fetched for this account.
pub fn store() -> PathBuf {
    let home = env::home_dir().unwrap_or_else(|| PathBuf::from("/var/lib"));
    home.join(".local/share/onward/runtimes")
}

/// The directories with the programs of a runtime, the first one first on `PATH`.
pub fn directories(runtime: &Runtime) -> Vec<PathBuf> {
    match &runtime.from {
        RuntimeSource::Stored(key) => vec![store().join(key).join("bin")],
        RuntimeSource::System(directories) => directories.iter().map(PathBuf::from).collect(),
    }
}

/// Puts the runtimes before everything else on the `PATH` of an environment.
pub fn enter(runtimes: &BTreeMap<String, Runtime>, environment: &mut BTreeMap<String, OsString>) {
    if runtimes.is_empty() {
        return;
    }
    let usual = environment.remove("PATH").unwrap_or_else(|| USUAL_PATH.into());
    // A directory with programs of every kind must not hide the runtime of another language.
    let own = runtimes.values().flat_map(directories);
    let (shared, alone): (Vec<_>, Vec<_>) = own.partition(|own| is_shared(own));
    let all: Vec<PathBuf> =
        alone.into_iter().chain(shared).chain(env::split_paths(&usual)).collect();
    // A directory with `:` in its name cannot be on a `PATH`; then the usual one stays.
    environment.insert("PATH".to_owned(), env::join_paths(all).unwrap_or(usual));
}

/// Says which runtime is no longer where it was, if one is.
pub fn missing(runtimes: &BTreeMap<String, Runtime>) -> Option<String> {
    let lost = |(name, runtime): (&String, &Runtime)| {
        let gone = directories(runtime).into_iter().find(|directory| !is_directory(directory))?;
        let Runtime { version, .. } = runtime;
        Some(format!("{name} {version} is no longer in {}", gone.display()))
    };
    runtimes.iter().find_map(lost)
}

fn is_shared(directory: &Path) -> bool {
    SHARED.iter().any(|shared| directory == Path::new(shared))
}

fn is_directory(path: &Path) -> bool {
    path.is_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(directory: &Path) -> BTreeMap<String, Runtime> {
        let from = RuntimeSource::System(vec![directory.display().to_string()]);
        BTreeMap::from([("node".to_owned(), Runtime { version: "22.12.0".to_owned(), from })])
    }

    #[test]
    fn runtimes_come_first_on_the_path() {
        let mut environment = BTreeMap::from([("PATH".to_owned(), OsString::from("/usr/bin"))]);
        enter(&system(Path::new("/opt/node/bin")), &mut environment);
        assert_eq!(environment["PATH"], "/opt/node/bin:/usr/bin");
        let mut untouched = BTreeMap::new();
        enter(&BTreeMap::new(), &mut untouched);
        assert_eq!(untouched, BTreeMap::new());
    }

    #[test]
    fn a_runtime_that_went_away_is_named() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(missing(&system(directory.path())), None);
        let gone = missing(&system(Path::new("/opt/gone/bin"))).unwrap();
        assert_eq!(gone, "node 22.12.0 is no longer in /opt/gone/bin");
    }
}
