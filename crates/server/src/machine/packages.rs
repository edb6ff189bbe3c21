//! Installing packages: one small port, three systems behind it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

use onward_core::machine::PackageSystem;

use super::command::Program;
use super::error::MachineError;
use super::place::Place;

/// The time for an installation: slow disks and slow networks are served too.
const INSTALL_WITHIN: Duration = Duration::from_secs(1800);
/// How long a list of packages is good for.
const LISTS_LIVE: Duration = Duration::from_secs(24 * 3600);
/// What another installation, such as one at the first start of a cloud image, gets to end.
const LOCK_WITHIN: &str = "DPkg::Lock::Timeout=300";

/// Told each line of what goes on.
pub(super) type Tell<'a> = &'a mut dyn FnMut(&str);

/// What installs packages on a system.
///
/// # Guarantees
/// [`PackageManager::installed`] names packages by their own names and starts no program that takes
/// long. [`PackageManager::install`] asks nobody anything, and may be repeated after it was killed.
pub(super) trait PackageManager {
    /// The packages that are installed.
    fn installed(&self, place: &Place) -> Result<BTreeSet<String>, MachineError>;

    /// Installs packages that are not.
    fn install(&self, place: &Place, names: &[&str], tell: Tell<'_>) -> Result<(), MachineError>;
}

/// How the machine installs packages; none when onward does not know it.
pub(super) fn system(place: &Place) -> Option<PackageSystem> {
    let has = |program: &str| place.path(program).exists();
    if has("/usr/bin/apt-get") {
        Some(PackageSystem::Apt)
    } else if has("/usr/bin/dnf") {
        Some(PackageSystem::Dnf)
    } else if has("/usr/bin/pacman") {
        Some(PackageSystem::Pacman)
    } else {
        None
    }
}

/// The one of a system.
pub(super) fn manager(system: PackageSystem) -> &'static dyn PackageManager {
    match system {
        PackageSystem::Apt => &Apt,
        PackageSystem::Dnf => &Dnf,
        PackageSystem::Pacman => &Pacman,
    }
}

/// Debian, Ubuntu.
struct Apt;

impl PackageManager for Apt {
    fn installed(&self, place: &Place) -> Result<BTreeSet<String>, MachineError> {
        let text = place.text("/var/lib/dpkg/status");
        let mut found = BTreeSet::new();
        let mut name = "";
        for line in text.lines() {
            if let Some(package) = line.strip_prefix("Package: ") {
                name = package;
            } else if line.starts_with("Status: ") && line.ends_with(" ok installed") {
                found.insert(name.to_owned());
            }
        }
        Ok(found)
    }

    fn install(&self, place: &Place, names: &[&str], tell: Tell<'_>) -> Result<(), MachineError> {
        if !place.names("/var/lib/dpkg/updates").is_empty() {
            // An installation was cut off; apt refuses everything until it is ended.
            run("dpkg", &["--configure", "-a"], tell)?;
        }
        let is_fresh = has_fresh_lists(place);
        if !is_fresh {
            run("apt-get", &["-q", "-o", LOCK_WITHIN, "update"], tell)?;
        }
        let options = [
            "-q",
            "-y",
            "--no-install-recommends",
            "-o",
            LOCK_WITHIN,
            "-o",
            "Dpkg::Options::=--force-confdef",
            "-o",
            "Dpkg::Options::=--force-confold",
            "install",
        ];
        let arguments = [&options[..], names].concat();
        match run("apt-get", &arguments, tell) {
            // A version that is gone from the archive since.
            Err(_) if is_fresh => {
                run("apt-get", &["-q", "-o", LOCK_WITHIN, "update"], tell)?;
                run("apt-get", &arguments, tell)
            }
            result => result,
        }
    }
}

fn has_fresh_lists(place: &Place) -> bool {
    let directory = "/var/lib/apt/lists";
    let age = |name: &String| {
        let modified =
            place.path(&format!("{directory}/{name}")).metadata().ok()?.modified().ok()?;
        SystemTime::now().duration_since(modified).ok()
    };
    let lists = place.names(directory).into_iter().filter(|name| name.contains("_Packages"));
    lists.filter_map(|name| age(&name)).any(|age| age < LISTS_LIVE)
}

/// Fedora, RHEL and its relatives. Untested.
struct Dnf;

impl PackageManager for Dnf {
    fn installed(&self, _: &Place) -> Result<BTreeSet<String>, MachineError> {
        let text = Program::new("rpm", &["-qa", "--qf", "%{NAME}\\n"]).run()?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    fn install(&self, _: &Place, names: &[&str], tell: Tell<'_>) -> Result<(), MachineError> {
        run("dnf", &[&["-y", "install"], names].concat(), tell)
    }
}

/// Arch. Untested.
struct Pacman;

impl PackageManager for Pacman {
    fn installed(&self, place: &Place) -> Result<BTreeSet<String>, MachineError> {
        // NAME-VERSION-RELEASE, and versions have no dash.
        let names = place.names("/var/lib/pacman/local");
        let name = |full: &String| full.rsplitn(3, '-').nth(2).map(str::to_owned);
        Ok(names.iter().filter_map(name).collect())
    }

    fn install(&self, _: &Place, names: &[&str], tell: Tell<'_>) -> Result<(), MachineError> {
        let options = ["--noconfirm", "--needed", "-Sy"];
        run("pacman", &[&options[..], names].concat(), tell)
    }
}

fn run(program: &str, arguments: &[&str], tell: Tell<'_>) -> Result<(), MachineError> {
    let program = Program::new(program, arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("NEEDRESTART_MODE", "l")
        .within(INSTALL_WITHIN);
    program.run_telling(tell).map(|_| ())
}

/// The name of the system, for people.
pub(super) fn name(place: &Place) -> String {
    let text = ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .map(|path| place.text(path))
        .find(|text| !text.is_empty())
        .unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "this system".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// Whether the file of a time zone is there.
pub(super) fn has_zone(place: &Place, name: &str) -> bool {
    let inside =
        Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
    inside && place.path(&format!("/usr/share/zoneinfo/{name}")).is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_installed_is_not_installed() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path());
        let text = "Package: sudo\nStatus: install ok installed\n\nPackage: cron\n\
                    Status: deinstall ok config-files\n\nPackage: nftables\n\
                    Status: install ok half-configured\n\nPackage: held\nStatus: hold ok installed\n";
        place.write("/var/lib/dpkg/status", 0o644, text).unwrap();
        let found: Vec<String> = Apt.installed(&place).unwrap().into_iter().collect();
        assert_eq!(found, ["held", "sudo"]);
        place.write("/var/lib/pacman/local/gcc-libs-14.2.1-3/desc", 0o644, "").unwrap();
        let found: Vec<String> = Pacman.installed(&place).unwrap().into_iter().collect();
        assert_eq!(found, ["gcc-libs"]);
    }

    #[test]
    fn the_system_is_known_by_its_program() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path());
        assert_eq!((system(&place), name(&place)), (None, "this system".to_owned()));
        place.write("/usr/bin/dnf", 0o755, "").unwrap();
        place.write("/etc/os-release", 0o644, "ID=fedora\nPRETTY_NAME=\"Fedora 42\"\n").unwrap();
        assert_eq!(system(&place), Some(PackageSystem::Dnf));
        assert_eq!(name(&place), "Fedora 42");
        assert!(!has_zone(&place, "../../../etc/os-release"));
    }
}
