//! The files of a release that are rendered here: `[file."PATH"]`.
//!
//! # Guarantees
//! They are written before anything of the release starts, and again whenever its files are compared
//! with their digests: what somebody changed by hand is what the template says again. A file takes
//! the place of another in one step. One that can hold a secret has mode 0600 from its first byte
//! on; the others have 0644. Nothing is written outside the release's own directory.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use onward_core::document::Failure;
use onward_core::model::{ReleaseNumber, RenderedFile, ServerName};
use onward_core::order::ReleaseOrder;

use super::app::App;
use super::files::{io_failure, own_parent};
use crate::systemd::Account;
use crate::template::{self, Given, Rendered, TEMPLATE_BYTES_MAX};

/// Only the app's own user reads it.
const PRIVATE: u32 = 0o600;
/// The same, where that user is not the one who writes it: its group is given it. Until then the group
/// is that of who writes it.
const GIVEN: u32 = 0o640;
/// Everybody may read it, as files of bundles.
const PUBLIC: u32 = 0o644;

/// What is rendered into the directory of one release.
#[derive(Debug, Clone)]
pub(super) struct Rendering {
    files: BTreeMap<String, RenderedFile>,
    given: Given,
}

impl Rendering {
    /// What a release wants, with what this server has for it.
    pub(super) fn new(
        app: &App,
        release: ReleaseNumber,
        order: &ReleaseOrder,
        server: &ServerName,
    ) -> Self {
        let files = order.config.files.clone();
        let secrets =
            if files.is_empty() { BTreeMap::new() } else { app.vault.texts(&order.config) };
        let given = Given {
            app: app.key.0.to_string(),
            environment: app.key.1.to_string(),
            server: server.to_string(),
            shared: app.tree.shared().to_string_lossy().into_owned(),
            number: release.0,
            label: order.bundle.label.clone(),
            digest: order.bundle.digest.to_string(),
            values: order.config.values.clone(),
            secrets,
        };
        Self { files, given }
    }

    /// Where files are rendered to, relative to the release directory.
    pub(super) fn paths(&self) -> impl Iterator<Item = &String> + Clone {
        self.files.keys()
    }

    /// Renders all, then writes them: when one cannot be rendered, none is written.
    /// Secret ones are for the user alone who runs the app.
    pub(super) fn write(&self, directory: &Path, account: Option<&Account>) -> Result<(), Failure> {
        let mut all = Vec::new();
        for (path, file) in &self.files {
            let source = read(&directory.join(&file.template), &file.template)?;
            let rendered = template::render(&file.template, &source, &self.given)
                .map_err(|wrong| failed(format!("{path} cannot be rendered: {wrong}")))?;
            all.push((path, rendered));
        }
        let mode = |rendered: &Rendered| match (rendered.private, account) {
            (false, _) => PUBLIC,
            (true, None) => PRIVATE,
            (true, Some(_)) => GIVEN,
        };
        let mut places = all.iter();
        places.try_for_each(|(path, rendered)| place(directory, path, rendered, mode(rendered)))?;
        let Some(account) = account else { return Ok(()) };
        let private = all.iter().filter(|(_, rendered)| rendered.private);
        let private: Vec<PathBuf> = private.map(|(path, _)| directory.join(path)).collect();
        account.let_read(&private).map_err(failed)
    }
}

fn failed(reason: String) -> Failure {
    Failure { reason, ..Failure::default() }
}

fn read(path: &Path, name: &str) -> Result<String, Failure> {
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => failed(format!("the bundle has no file {name} to render")),
        _ => io_failure(path, &error),
    })?;
    let limit = u64::try_from(TEMPLATE_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(|error| io_failure(path, &error))?;
    String::from_utf8(bytes).map_err(|_| failed(format!("the template {name} is not UTF-8 text")))
}

/// Puts a file where the app expects it, when it is not there already.
fn place(directory: &Path, path: &str, rendered: &Rendered, mode: u32) -> Result<(), Failure> {
    let target = directory.join(path);
    let parent = own_parent(directory, path)?;
    if is_there(&target, &rendered.text, mode) {
        return Ok(());
    }
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let passing = parent.join(format!(".onward-new-{name}"));
    let write = || -> io::Result<()> {
        match fs::remove_file(&passing) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::options().write(true).create_new(true).mode(PRIVATE).open(&passing)?;
        file.write_all(&rendered.text)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&passing, &target)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&passing);
        io_failure(&target, &error)
    })
}

fn is_there(target: &Path, text: &[u8], mode: u32) -> bool {
    let is_ours = fs::symlink_metadata(target)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o7777 == mode);
    is_ours && fs::read(target).is_ok_and(|own| own == text)
}
