//! Environments that are not in the project file: `up -e NAME --like ENV` makes one, `down` takes
//! it away. What it is like is kept beside its state, so that the other commands find it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use onward_core::model::{AppName, EnvironmentName};

use super::complaint::{self, Complaint};
use super::exit::Exit;
use crate::project::{self, Project, Resolved};
use crate::providers::local::Local;

/// The file beside the state of such an environment, with the name of the other one.
const FILE: &str = "like";
/// No name of an environment is longer.
const NAME_BYTES_MAX: u64 = 64;

/// The wishes for an environment of the file, or for one that is like one of the file: the one that
/// is given, else the one that was kept.
///
/// # Errors
/// When there is neither, and when the file has the environment that shall be like another.
pub fn resolve(
    project: &Project,
    local: &Local,
    wanted: Option<EnvironmentName>,
    like: Option<&EnvironmentName>,
) -> Result<Resolved, Complaint> {
    let unknown = match (project::resolve(project, wanted.clone()), like) {
        (Ok(resolved), None) => return Ok(resolved),
        (Ok(resolved), Some(like)) => return Err(in_file(&resolved.environment, like)),
        (Err(unknown), _) => unknown,
    };
    let kept = wanted.as_ref().and_then(|name| kept(local, &project.app, name));
    let Some((name, like)) = wanted.zip(like.cloned().or(kept)) else { return Err(unknown.into()) };
    let resolved = project::resolve(project, Some(like.clone()))?;
    Ok(resolved.as_another(name, like))
}

/// Keeps what an environment is like, when it is not in the file.
///
/// # Errors
/// What the system says.
pub fn keep(local: &Local, resolved: &Resolved) -> Result<(), Complaint> {
    let Some(like) = &resolved.like else { return Ok(()) };
    let path = path(local, &resolved.app, &resolved.environment);
    write(&path, like).map_err(|error| complaint::system(&path, error))
}

/// Forgets it: the environment is down, and only the file can bring it back, or another `--like`.
///
/// # Errors
/// What the system says.
pub fn forget(local: &Local, resolved: &Resolved) -> Result<(), Complaint> {
    let path = path(local, &resolved.app, &resolved.environment);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(complaint::system(&path, error))
        }
        _ => Ok(()),
    }
}

fn path(local: &Local, app: &AppName, environment: &EnvironmentName) -> PathBuf {
    local.root().join("state").join(app.as_str()).join(environment.as_str()).join(FILE)
}

fn kept(local: &Local, app: &AppName, environment: &EnvironmentName) -> Option<EnvironmentName> {
    let mut text = String::new();
    let file = fs::File::open(path(local, app, environment)).ok()?;
    file.take(NAME_BYTES_MAX).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write(path: &Path, like: &EnvironmentName) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let new = path.with_extension("new");
    fs::write(&new, format!("{like}\n"))?;
    fs::rename(new, path)
}

fn in_file(name: &EnvironmentName, like: &EnvironmentName) -> Complaint {
    let what = format!("the environment {name} is in onward.toml, so it cannot be like {like}");
    Complaint::new(Exit::Usage, what)
        .nothing_changed()
        .hint(format!("leave `--like {like}` out, or give another name with `-e NAME`"))
}
