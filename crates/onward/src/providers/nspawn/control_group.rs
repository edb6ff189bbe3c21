//! The processes of a server, as one control group.
//!
//! A group is a better handle than a process id: whatever runs in a server is in it and cannot
//! leave, whoever started it, and a group's name says whose it is even when the command that made
//! it was killed before it could write anything down.
//!
//! ```text
//! CGROUP/ownsp/LAB/NUMBER/keeper   starts the server again when it reboots itself
//!                        /run      systemd-nspawn, and below it what runs in the server
//! ```
//! The same directories are made in the hierarchy `name=systemd` of machines that still have one:
//! without them `systemd-nspawn --keep-unit` would put all servers into one group, where the systemd
//! of each would take the others' processes for its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::{LabError, mounts};

/// The directory of all labs in a hierarchy.
const TOP: &str = "ownsp";
/// The time in which killed processes must be gone. They are killed by the kernel; one that is in a
/// system call that cannot be interrupted (a disk that hangs) takes as long as that.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// How often a group is looked at while it empties.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// What a server's systemd can limit, where version 2 groups have it.
const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// Where version 2 groups are.
pub(super) fn root() -> Result<PathBuf, LabError> {
    let mounts = mounts::all()?;
    let found = mounts.into_iter().find(|mount| mount.kind == "cgroup2");
    found.map(|mount| mount.at).ok_or(LabError::NoControlGroups)
}

/// The groups of one server.
#[derive(Debug, Clone)]
pub(super) struct ControlGroup {
    /// In the version 2 hierarchy.
    main: PathBuf,
    /// In all hierarchies, that one first.
    all: Vec<PathBuf>,
}

impl ControlGroup {
    /// The group of server `number` of a lab. Makes nothing.
    pub fn of(lab: &str, number: u8) -> Result<Self, LabError> {
        Self::at(&format!("{lab}/{number}"))
    }

    /// The group of all servers of a lab.
    pub fn of_lab(lab: &str) -> Result<Self, LabError> {
        Self::at(lab)
    }

    fn at(name: &str) -> Result<Self, LabError> {
        let place = |hierarchy: PathBuf| hierarchy.join(TOP).join(name);
        let main = place(root()?);
        let systemd = mounts::all()?.into_iter().filter(|mount| {
            mount.kind == "cgroup" && mount.options.split(',').any(|word| word == "name=systemd")
        });
        let mut all = vec![main.clone()];
        all.extend(systemd.map(|mount| place(mount.at)));
        all.dedup();
        Ok(Self { main, all })
    }

    /// The directories, for the one who puts itself into them.
    pub fn directories(&self) -> &[PathBuf] {
        &self.all
    }

    /// Makes the directories.
    pub fn make(&self) -> Result<(), LabError> {
        for directory in &self.all {
            for leaf in ["keeper", "run"] {
                let leaf = directory.join(leaf);
                fs::create_dir_all(&leaf).map_err(LabError::file(&leaf))?;
            }
        }
        // From the top on, so that a server can limit its own services. A controller that an older
        // hierarchy has is not to be had here; then limits in servers have no effect.
        for directory in self.main.ancestors().take(4).collect::<Vec<_>>().into_iter().rev() {
            for controller in CONTROLLERS {
                let _ =
                    fs::write(directory.join("cgroup.subtree_control"), format!("+{controller}"));
            }
        }
        Ok(())
    }

    /// Whether a process is in it.
    pub fn is_populated(&self) -> bool {
        let events = fs::read_to_string(self.main.join("cgroup.events")).unwrap_or_default();
        events.lines().any(|line| line == "populated 1")
    }

    /// The process id, as this machine counts, of the server's first process.
    pub fn init(&self) -> Option<u32> {
        let file = self.main.join("run/payload/init.scope/cgroup.procs");
        let mut ids: Vec<u32> =
            fs::read_to_string(file).ok()?.lines().filter_map(|line| line.parse().ok()).collect();
        ids.sort_unstable();
        ids.into_iter().next()
    }

    /// Stops all its processes where they are, or lets them go on.
    pub fn freeze(&self, frozen: bool) -> Result<(), LabError> {
        let file = self.main.join("cgroup.freeze");
        fs::write(&file, if frozen { "1" } else { "0" }).map_err(LabError::file(&file))?;
        let wanted = if frozen { "frozen 1" } else { "frozen 0" };
        let events = self.main.join("cgroup.events");
        self.wait("its processes do not stop", || {
            fs::read_to_string(&events).is_ok_and(|text| text.lines().any(|line| line == wanted))
        })
    }

    /// Kills all its processes at once, waits for their end and removes the group. Frozen ones die
    /// as well. A group that is not there is fine.
    pub fn kill(&self) -> Result<(), LabError> {
        let file = self.main.join("cgroup.kill");
        match fs::write(&file, "1") {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(LabError::file(&file)(error));
            }
            _ => {}
        }
        self.wait("its processes do not end", || !self.is_populated())?;
        let removed = || self.all.iter().all(|directory| remove(directory));
        self.wait("its control group cannot be removed", removed)
    }

    /// Waits for the kernel.
    fn wait(&self, what: &str, done: impl Fn() -> bool) -> Result<(), LabError> {
        let began = Instant::now();
        while !done() {
            if began.elapsed() > GONE_WITHIN {
                let what_of = format!("control group {}", self.main.display());
                return Err(LabError::Program { what: what_of, why: what.to_owned() });
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// Removes a group with all below it; whether it is gone. The directory of all labs goes with the
/// last lab.
fn remove(directory: &Path) -> bool {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let gone = match fs::remove_dir(directory) {
        Ok(()) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    if let Some(above) = directory.parent().filter(|above| above.ends_with(TOP)) {
        // Refused while another lab is there.
        let _ = fs::remove_dir(above);
    }
    gone
}
