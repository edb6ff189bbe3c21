//! How an agent comes to be the one agent of its tree.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::note::note;
use crate::build::{self, Build};
use crate::layout::{self, Tree};

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tree has an agent.
    #[error("the agent of {} runs already, as process {pid}", root.display())]
    AlreadyRunning {
        /// The tree.
        root: PathBuf,
        /// Its agent's process id, as it wrote it.
        pid: String,
    },
    /// The runtime directory belongs to somebody else, who could answer in our name.
    #[error("{} belongs to another user; remove it or set XDG_RUNTIME_DIR", .0.display())]
    ForeignDirectory(PathBuf),
    /// The system refused.
    #[error("the agent cannot {what} {}: {source}", path.display())]
    Io {
        /// What it wanted to do, as a verb.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A file of the tree cannot be used.
    #[error(transparent)]
    File(#[from] super::durable::FileError),
    /// The address of the proxy cannot be had.
    #[error("{0}")]
    Address(String),
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { what, path, source }
}

/// The lock of a tree, held until it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Becomes the one agent of the tree.
pub(super) fn lock(tree: &Tree) -> Result<Lock, Error> {
    let root = tree.root();
    fs::create_dir_all(root).map_err(failed("create", root))?;
    let path = tree.lock_file();
    let options =
        || File::options().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = options().map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let pid = pid.trim().to_owned();
            return Err(Error::AlreadyRunning { root: root.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => return Err(failed("lock", &path)(error)),
    }
    let write = |file: &mut File| -> io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())
    };
    write(&mut file).map_err(failed("write", &path))?;
    Ok(Lock { _file: file })
}

/// The build of this agent, which the tree runs from now on.
pub(super) fn build(config: &super::Config, tree: &Tree) -> Result<Build, Error> {
    let bin = tree.bin();
    let this = || Build::of_this(&bin).map_err(failed("read its own program for", &bin));
    let build = Build::of_process(std::process::id()).map_or_else(this, Ok)?;
    if config.binary.parent() == Some(&bin)
        && let Err(error) = build::settle(&bin, &build)
    {
        // It runs all the same; only the next one may be of another build.
        note(format_args!("{} does not lead to this build: {error}", bin.display()));
    }
    Ok(build)
}

/// Leaves the terminal and the session that started us, and prints to the log from now on.
pub(super) fn detach(tree: &Tree) -> Result<(), Error> {
    // Refused to a process that leads its group already, which has left them.
    let _ = rustix::process::setsid();
    let path = tree.agent_log();
    let open = || -> io::Result<()> {
        let log = File::options().create(true).append(true).open(&path)?;
        let null = File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::stdio::dup2_stdout(&log)?;
        rustix::stdio::dup2_stderr(&log)?;
        Ok(())
    };
    open().map_err(failed("print to", &path))
}

/// Makes the runtime directory, which nobody else may enter, but a proxy that is another user to come
/// by its own.
pub(super) fn runtime_directory(config: &super::Config) -> Result<(), Error> {
    let path = config.runtime_dir.as_path();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(failed("create", path))?;
    let own = rustix::process::geteuid().as_raw();
    let meta = fs::symlink_metadata(path).map_err(failed("read", path))?;
    if !meta.is_dir() || meta.uid() != own {
        return Err(Error::ForeignDirectory(path.to_owned()));
    }
    // Who owns the directory above could put another one in its place.
    if let Some(above) = path.parent() {
        let meta = fs::symlink_metadata(above).map_err(failed("read", above))?;
        if meta.uid() != own && meta.uid() != 0 {
            return Err(Error::ForeignDirectory(above.to_owned()));
        }
    }
    let mode = if config.systemd.is_some() { 0o711 } else { 0o700 };
    let private = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, private).map_err(failed("close to others", path))
}

/// Opens the socket, in the place of one that a dead agent left.
pub(super) fn socket(runtime: &Path) -> Result<UnixListener, Error> {
    bound(runtime, 0o600)
}

/// Opens the socket for managers of other servers, whose group the directory gives it; none where
/// there is no such directory.
pub(super) fn managers_socket(runtime: &Path) -> Result<Option<UnixListener>, Error> {
    let directory = layout::managers_runtime(runtime);
    directory.is_dir().then(|| bound(&directory, 0o660)).transpose()
}

fn bound(runtime: &Path, mode: u32) -> Result<UnixListener, Error> {
    let path = layout::agent_socket(runtime);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("replace", &path)(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed("listen at", &path))?;
    let private = fs::Permissions::from_mode(mode);
    fs::set_permissions(&path, private).map_err(failed("close to others", &path))?;
    Ok(listener)
}
