//! How the server is besides what runs on it: space, memory, failed units, and what somebody changed
//! by hand of what onward put there.

use std::fs;
use std::path::{Path, PathBuf};

use onward_core::model::{AppName, EnvironmentName, ServerName};
use onward_core::order::Level;
use onward_core::reconcile::Kept;

use super::durable;
use super::files;
use crate::layout::Tree;
use crate::looking::{Changed, Checkup, Space};
use crate::process;
use crate::systemd::{Manager, units};

/// The most failed units that are named.
const UNITS_MAX: usize = 20;

/// How agent and proxy were put into the care of systemd.
#[derive(Debug, Clone)]
pub(super) struct Installed {
    pub(super) runtime: PathBuf,
    pub(super) server: ServerName,
    pub(super) http: u16,
}

/// Looks at everything. This blocks: the files of what runs are read.
pub(super) fn look(
    tree: &Tree,
    bundles: &Path,
    installed: Option<&Installed>,
    app: &AppName,
    environment: &EnvironmentName,
) -> Checkup {
    let mut changed = installed.map(|own| changed_units(tree, own)).unwrap_or_default();
    changed.extend(changed_releases(tree, bundles, app, environment));
    Checkup {
        disk: space(tree.root()),
        memory_available: process::available_memory(),
        failed_units: installed.map(|_| failed_units()).unwrap_or_default(),
        changed,
    }
}

fn space(path: &Path) -> Option<Space> {
    let stat = rustix::fs::statvfs(path).ok()?;
    let of = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Some(Space { free: of(stat.f_bavail), all: of(stat.f_blocks) })
}

fn failed_units() -> Vec<String> {
    let words = ["list-units", "--state=failed", "--plain", "--no-legend"];
    let text = Manager.systemctl(&words).unwrap_or_default();
    let names = text.lines().filter_map(|line| line.split_ascii_whitespace().next());
    names.take(UNITS_MAX).map(str::to_owned).collect()
}

/// Units of onward that are not what it wrote, and files that add to one.
fn changed_units(tree: &Tree, installed: &Installed) -> Vec<Changed> {
    let Installed { runtime, server, http } = installed;
    // The port of TLS is written in one file only, which is not compared.
    let setup = units::Setup { root: tree.root(), runtime, server, http: *http, https: 0 };
    let files = units::files(&setup).into_iter().filter(|file| file.name != units::HTTPS);
    let mut changed: Vec<_> = files
        .filter_map(|file| {
            let path = Path::new(file.directory).join(file.name);
            // One that cannot be read here is looked at by the next `up`.
            let text = fs::read_to_string(&path).ok()?;
            (text != file.text).then(|| Changed::Unit { path: path.display().to_string() })
        })
        .collect();
    for unit in [units::AGENT, units::PROXY, units::HTTP, units::HTTPS] {
        let added = Path::new(units::UNITS).join(format!("{unit}.d"));
        let entries = fs::read_dir(added).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let parts = paths.filter(|path| path.extension().is_some_and(|own| own == "conf"));
        changed.extend(parts.map(|path| Changed::Unit { path: path.display().to_string() }));
    }
    changed
}

/// Releases that run from other files than those of their bundles.
fn changed_releases(
    tree: &Tree,
    bundles: &Path,
    app: &AppName,
    environment: &EnvironmentName,
) -> Vec<Changed> {
    let app = tree.app(app, environment);
    let kept: Option<Kept> = durable::read(&app.kept_file()).ok().flatten();
    let Some(order) = kept.and_then(|kept| kept.order) else { return Vec::new() };
    let running = order.releases.iter().filter(|(_, own)| own.level >= Level::Running);
    let changed = running.filter_map(|(release, own)| {
        let text = files::changed(&app, bundles, *release, own)?;
        Some(Changed::Release { release: *release, text })
    });
    changed.collect()
}
