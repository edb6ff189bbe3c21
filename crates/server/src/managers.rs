//! How the manager of an environment comes to the other servers: with a key of its own, which opens
//! nothing but a conversation with their agents.
//!
//! The manager makes the key the first time that somebody asks for it; the private half never leaves
//! it. The others keep the public halves, by environment, and let them in as a user of its own
//! ([`USER`]), whose home is below the server tree. So it works with or without a login of root and
//! whatever the person's own keys are.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use onward_core::machine::AuthorizedKey;
use onward_core::model::{AppName, EnvironmentName};

use crate::layout::managers_runtime;

/// Who managers sign in as.
pub const USER: &str = onward_core::machine::MANAGER;
/// The file of keys below the home of [`USER`], where sshd looks for it.
const KEYS: &str = ".ssh/authorized_keys";
/// The keys by environment, below the home.
const ADMITTED: &str = "admitted.json";
/// Held while keys are made or exchanged: the agent is the only one that does.
static TURN: Mutex<()> = Mutex::new(());

/// Whom a server lets in, by `APP/ENV`.
type Admitted = BTreeMap<String, Vec<AuthorizedKey>>;

/// The home of [`USER`].
pub fn home(root: &Path) -> PathBuf {
    root.join(USER)
}

/// The private half of this server's key.
pub fn identity(root: &Path) -> PathBuf {
    root.join("manager.key")
}

/// The public half of this server's key, which is made when there is none.
///
/// # Errors
/// When `ssh-keygen` cannot make it, or the system refuses.
pub fn key(root: &Path) -> io::Result<AuthorizedKey> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let public = root.join("manager.key.pub");
    if !public.exists() || !identity(root).exists() {
        make(root, &public)?;
    }
    let text = fs::read_to_string(&public)?;
    text.parse().map_err(|error| io::Error::other(format!("{}: {error}", public.display())))
}

/// Both halves get their names when both are there, the public one last.
fn make(root: &Path, public: &Path) -> io::Result<()> {
    let passing = root.join(".manager.key.new");
    let passing_public = root.join(".manager.key.new.pub");
    for file in [&passing, &passing_public] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "onward-manager", "-f"])
        .arg(&passing)
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(io::Error::other(format!("ssh-keygen: {said}")));
    }
    fs::rename(&passing, identity(root))?;
    fs::rename(&passing_public, public)
}

/// Lets exactly these keys in for an environment, as far as its manager is concerned. Others stay as
/// they are.
///
/// # Errors
/// What the system says.
pub fn admit(
    root: &Path,
    runtime: &Path,
    (app, environment): (&AppName, &EnvironmentName),
    keys: &[AuthorizedKey],
) -> io::Result<()> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let home = home(root);
    let record = home.join(ADMITTED);
    let mut admitted: Admitted = match fs::read(&record) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Admitted::new(),
        Err(error) => return Err(error),
    };
    let environment = format!("{app}/{environment}");
    match keys {
        [] => drop(admitted.remove(&environment)),
        keys => drop(admitted.insert(environment, keys.to_vec())),
    }
    let file = home.join(KEYS);
    let directory = file.parent().unwrap_or(&home);
    // sshd reads it as the user, and refuses what others could write.
    for directory in [home.as_path(), directory] {
        fs::create_dir_all(directory)?;
        fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    }
    replace(&record, &serde_json::to_vec_pretty(&admitted)?)?;
    replace(&file, lines(&admitted, root, runtime).as_bytes())
}

/// What sshd is told.
fn lines(admitted: &Admitted, root: &Path, runtime: &Path) -> String {
    let mut text =
        "# Written by onward: the managers of the environments that this server is part of.\n"
            .to_owned();
    let runtime = managers_runtime(runtime);
    let stdio = format!("agent stdio --runtime {}", runtime.display());
    let command = format!("{}/bin/current {stdio}", root.display());
    for (environment, keys) in admitted {
        text.push_str(&format!("# {environment}\n"));
        for key in keys {
            text.push_str(&format!("restrict,command=\"{command}\" {key}\n"));
        }
    }
    text
}

/// Leaves a file that is right already.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if fs::read(path).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let passing = path.with_extension("new");
    let mut file = File::create(&passing)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(0o644))?;
    file.sync_all()?;
    fs::rename(&passing, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(environment: &str) -> (AppName, EnvironmentName) {
        ("shop".parse().expect("a name"), environment.parse().expect("a name"))
    }

    #[test]
    fn each_environment_has_its_own_managers() {
        let root = tempfile::tempdir().expect("a directory");
        let root = root.path();
        let own = key(root).expect("ssh-keygen is there");
        assert_eq!(key(root).expect("it stays"), own);
        let mode = fs::metadata(identity(root)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);

        let runtime = Path::new("/run/onward");
        let read = || fs::read_to_string(home(root).join(KEYS)).expect("a file");
        let (shop, qa) = names("qa");
        let (_, lab) = names("lab");
        admit(root, runtime, (&shop, &qa), std::slice::from_ref(&own)).expect("admitted");
        admit(root, runtime, (&shop, &lab), std::slice::from_ref(&own)).expect("admitted");
        let line = format!(
            "restrict,command=\"{}/bin/current agent stdio --runtime /run/onward/managers\" {own}",
            root.display()
        );
        assert_eq!(read().lines().filter(|own| **own == line).count(), 2, "{}", read());
        admit(root, runtime, (&shop, &qa), &[]).expect("dismissed");
        assert_eq!(read().lines().filter(|own| **own == line).count(), 1, "{}", read());
    }
}
