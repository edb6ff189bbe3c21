//! `onward eject`: what is needed to live without onward. It changes nothing of what runs.

mod servers;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use onward_core::document::Document;
use onward_core::engine::{self, Refusal};
use onward_core::model::{ProcessName, Release};
use onward_core::order::Order;
use onward_secret::{Secret, open_value};
use onward_server::layout::Tree;
use serde_json::json;

use crate::cli::args_eject::EjectArgs;
use crate::cli::complaint::{self, Complaint};
use crate::cli::context::Context;
use crate::cli::exit::Exit;
use crate::cli::numbers;
use crate::cli::problem::Problem;
use crate::cli::screen::Screen;
use crate::cli::secret_problem::SecretProblem;
use crate::cli::secrets;
use crate::eject::{self, File, OnServer, Serving};

/// Directories that nobody else may enter.
const PRIVATE: [&str; 2] = ["env", "secrets"];

/// Writes the directory: all of it, or nothing.
pub fn run(context: &Context, args: &EjectArgs, screen: &Screen) -> Result<Exit, Complaint> {
    if context.ways().is_some() && args.copy {
        return Err(copies_nothing(context));
    }
    let Some(stored) = context.look()? else {
        return Err(Refusal::NothingReleased.into());
    };
    let document = &*stored.document;
    let is_down = || Problem::IsDown { environment: context.environment().clone() };
    let serving = document.serving.and_then(|number| document.release(number));
    let release = serving.ok_or_else(is_down)?;
    if let Some(operation) = &document.operation {
        let what = format!("operation {} is in flight", operation.number);
        return Err(Complaint::new(Exit::Refused, what)
            .nothing_changed()
            .hint("`onward status` says how far it is; eject when it has ended"));
    }
    let place = empty_place(context, &args.to)?;
    let made = match context.ways() {
        Some(ways) => servers::all(context, ways, document, release, args)?,
        None => {
            let made = eject::files(&serving_of(context, document, release, args, &place)?);
            let private = PRIVATE.map(PathBuf::from).to_vec();
            Made { files: made.files, notes: made.notes, private }
        }
    };
    write(context, document, release, args, &place, &made)?;
    for note in &made.notes {
        screen.warn(note.trim_end_matches('.'));
    }
    let (number, label) = (release.number, &release.bundle.label);
    let count = numbers::count(made.files.len() as u64, "file");
    screen.success(&format!("Release {number} ({label}) without onward: {count}"));
    screen.line(&format!("  {} says what to do", place.join("README.md").display()));
    let names: Vec<_> = made.files.iter().map(|file| &file.path).collect();
    screen.finished(true, json!({"release": number, "directory": place, "files": names}));
    Ok(Exit::Done)
}

/// What is written, relative to the directory.
#[derive(Default)]
struct Made {
    files: Vec<File>,
    notes: Vec<String>,
    /// Directories that nobody else may enter.
    private: Vec<PathBuf>,
}

/// The files of a release are on each server already, and what it stored is nowhere else.
fn copies_nothing(context: &Context) -> Complaint {
    let what = format!("the servers of {} have the files already", context.environment());
    Complaint::new(Exit::Usage, what)
        .fact("Its README copies those of the release, and moves what the app has stored")
        .nothing_changed()
        .hint("leave `--copy` out")
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// The directory as a full path; refused when there is something in it, and inside the project, whose
/// next bundle would hold the secrets in it.
fn empty_place(context: &Context, to: &Path) -> Result<PathBuf, Complaint> {
    let place = std::path::absolute(to).map_err(|error| complaint::system(to, error))?;
    let refused = |what: &str| {
        Complaint::new(Exit::Refused, format!("{} {what}", place.display()))
            .nothing_changed()
            .hint("name a directory outside the project that is not there yet, or is empty")
    };
    if place.to_str().is_none_or(|text| text.chars().any(|c| c.is_control() || c == '$')) {
        return Err(refused("has a name that systemd or nginx cannot have"));
    }
    if is_inside(&place, context.local.project()) {
        return Err(refused("is inside the project, whose bundles would have the secrets in it"));
    }
    match fs::read_dir(&place).map(Iterator::count) {
        Ok(0) => Ok(place),
        Ok(_) => Err(refused("is not empty")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(place),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(refused("is a file")),
        Err(error) => Err(complaint::system(&place, error)),
    }
}

/// Whether a path that may not be there yet is in a directory, whatever links lead to it.
fn is_inside(place: &Path, directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return false };
    let mut above = place.ancestors();
    let known = above.find_map(|path| path.canonicalize().ok());
    known.is_some_and(|path| path.starts_with(&directory))
}

fn serving_of<'a>(
    context: &'a Context,
    document: &'a Document,
    release: &'a Release,
    args: &EjectArgs,
    place: &Path,
) -> Result<Serving<'a>, Complaint> {
    let servers = engine::orders(document).into_iter();
    let servers = servers.filter_map(|order| on_server(context, &order, release, args, place));
    let user = rustix::process::geteuid().as_raw().to_string();
    let owner = (user, rustix::process::getegid().as_raw().to_string());
    Ok(Serving {
        app: context.app(),
        environment: context.environment(),
        release: release.number,
        bundle: &release.bundle,
        config: &release.config,
        maintenance: document.demand.maintenance.as_ref(),
        servers: servers.collect(),
        secrets: opened(context, document, release)?,
        inherited: inherited(),
        owner,
        place: place.to_owned(),
        copied: args.copy,
        listen: args.listen,
        first_port: args.first_port,
        elsewhere: None,
    })
}

/// What every process starts from, without what is only there while somebody is logged in.
fn inherited() -> BTreeMap<String, OsString> {
    let mut all = onward_server::process::inherited_environment();
    all.remove("XDG_RUNTIME_DIR");
    all
}

fn on_server(
    context: &Context,
    order: &Order,
    release: &Release,
    args: &EjectArgs,
    place: &Path,
) -> Option<OnServer> {
    let own = order.releases.get(&release.number)?;
    let counts: BTreeMap<ProcessName, u32> =
        own.config.processes.iter().map(|(name, own)| (name.clone(), own.count)).collect();
    let name = order.server.clone();
    let (directory, shared) = if args.copy {
        let own = place.join("files").join(name.as_str());
        (own.join("releases").join(release.number.to_string()), own.join("shared"))
    } else {
        let tree = Tree::new(context.local_server(&name).root());
        let tree = tree.app(context.app(), context.environment());
        (tree.release(release.number), tree.shared())
    };
    Some(OnServer { name, directory, shared, counts })
}

/// The secrets that the release was made with.
fn opened(
    context: &Context,
    document: &Document,
    release: &Release,
) -> Result<BTreeMap<String, Secret>, Complaint> {
    if release.config.secrets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let own = document.secrets.as_ref().ok_or(Problem::Bug("a release without its secrets"))?;
    let identity = secrets::opened(context, own)?;
    let mut all = BTreeMap::new();
    for (name, version) in &release.config.secrets {
        let value = own.versions.get(version).ok_or(Problem::Bug("a secret without its value"))?;
        let opened = open_value(&identity, name, *version, &value.sealed.text)
            .map_err(|why| SecretProblem::Damaged { name: name.clone(), why })?;
        all.insert(name.to_string(), opened);
    }
    Ok(all)
}

/// Writes everything beside the place and then puts it there in one step.
fn write(
    context: &Context,
    document: &Document,
    release: &Release,
    args: &EjectArgs,
    place: &Path,
    made: &Made,
) -> Result<(), Complaint> {
    let name = place.file_name().unwrap_or_default().to_string_lossy();
    let passing = place.with_file_name(format!(".{name}.new-{}", std::process::id()));
    let all = || -> io::Result<()> {
        fs::create_dir_all(&passing)?;
        for directory in &made.private {
            let path = passing.join(directory);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            DirBuilder::new().mode(0o700).create(path)?;
        }
        for file in &made.files {
            let path = passing.join(&file.path);
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            let mut new =
                fs::File::options().write(true).create_new(true).mode(0o600).open(&path)?;
            new.write_all(&file.content)?;
            new.set_permissions(fs::Permissions::from_mode(file.mode))?;
        }
        // What has no content is not there.
        for directory in &made.private {
            let _ = fs::remove_dir(passing.join(directory));
        }
        if args.copy {
            copy_files(context, document, release, &passing)?;
        }
        fs::rename(&passing, place)
    };
    all().map_err(|error| {
        let _ = fs::remove_dir_all(&passing);
        complaint::system(place, error)
    })
}

fn copy_files(
    context: &Context,
    document: &Document,
    release: &Release,
    to: &Path,
) -> io::Result<()> {
    for order in engine::orders(document) {
        let tree = Tree::new(context.local_server(&order.server).root());
        let tree = tree.app(context.app(), context.environment());
        let own = to.join("files").join(order.server.as_str());
        // The links from a release to what it shares are relative, and lead there again.
        let number = release.number.to_string();
        copy(&tree.release(release.number), &own.join("releases").join(number))?;
        copy(&tree.shared(), &own.join("shared"))?;
    }
    Ok(())
}

/// Copies a tree with its modes and links. What is neither file nor directory is left out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())
}
