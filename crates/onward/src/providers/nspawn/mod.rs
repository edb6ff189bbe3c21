//! Servers of this machine: Debian with systemd and sshd, each with an address, a disk and keys of
//! its own, booted by `systemd-nspawn` in about a second.
//!
//! ```text
//! /var/lib/onward-nspawn/rootfs/HASH/        what every server starts from
//!                        labs/LAB/lab.json   what is demanded, written before anything is done
//!                                 key        logs in to all of them as root
//!                                 servers/   disks, host keys, what was printed at boot
//! ```
//! A **lab** is the servers of one environment. Whatever is killed at whatever moment: the next `up`
//! finishes it, the next `down` removes it. Nothing is found by what a dead command remembered:
//! bridge, rules, control groups, mounts and directories have the lab in their name.
//!
//! It needs root on Linux, and says so. It boots servers; what runs on them is the concern of the
//! provider `ssh`, which reaches them as any other server.

mod control_group;
mod cuts;
mod error;
mod faults;
mod keys;
mod lock;
mod machine;
mod mounts;
mod needs;
mod network;
mod program;
mod record;
mod rootfs;

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use onward_core::model::{Digest, ServerName};

pub use error::{LabError, SERVERS_MAX};
pub use faults::{Cut, End};
pub use needs::check;

use control_group::ControlGroup;
use machine::Server;
use network::Network;
use record::{Entry, Record};

/// Where all labs of this machine are.
const BASE: &str = "/var/lib/onward-nspawn";
/// The environment variable that names another place, for machines where `/var` is small or is an
/// overlay itself.
pub const BASE_VARIABLE: &str = "ONWARD_NSPAWN_DIR";

/// A server that there shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Its name, also as its host name.
    pub name: ServerName,
    /// The size of its disk in MiB; as large as this machine's when there is none. It is made with
    /// the server and does not change afterwards.
    pub disk_mib: Option<u32>,
}

impl ServerSpec {
    /// One with a disk as large as this machine's.
    pub fn of(name: ServerName) -> Self {
        Self { name, disk_mib: None }
    }
}

/// A server that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: ServerName,
    /// Where it is reached from this machine and from the other servers; for its whole life.
    pub address: IpAddr,
    /// What its sshd shows, as `ssh-ed25519 AAAA…`; for its whole life.
    pub host_key: String,
}

impl Machine {
    fn of(server: &Server<'_>) -> Result<Self, LabError> {
        let address = IpAddr::V4(server.address());
        Ok(Self { name: server.name.clone(), address, host_key: server.host_key()? })
    }
}

/// A server of a lab, running or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineState {
    /// Its name.
    pub name: ServerName,
    /// Where it is reached when it runs.
    pub address: IpAddr,
    /// What its sshd shows; none when it was not made yet.
    pub host_key: Option<String>,
    /// Whether something of it runs; a paused server does.
    pub is_running: bool,
}

/// What is told while a lab is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The root file system is built, once for this machine: about a minute.
    RootfsBegun,
    /// Another command is at that; it is waited for.
    RootfsByAnother,
    /// It is built.
    RootfsBuilt {
        /// The time it took.
        took: Duration,
    },
    /// Another command is at work on this lab; it is waited for.
    Waiting,
    /// This machine now passes on packets of a link. `down` of the last lab takes it back.
    Forwarding {
        /// The link to the Internet.
        link: String,
    },
    /// A server boots.
    Booting {
        /// It.
        server: ServerName,
    },
    /// A server that booted answers.
    Ready {
        /// It.
        server: ServerName,
        /// The time it took.
        took: Duration,
    },
}

/// The servers of one environment.
#[derive(Debug, Clone)]
pub struct Lab {
    base: PathBuf,
    place: PathBuf,
    name: String,
    id: String,
}

impl Lab {
    /// The lab of a directory, one of several by its name (`APP/ENVIRONMENT`). Makes nothing.
    pub fn of(place: &Path, name: &str) -> Self {
        Self::within(&base(), place, name)
    }

    /// All labs of this machine, those of directories that are gone among them.
    ///
    /// # Errors
    /// When what is written down of one cannot be read.
    pub fn all() -> Result<Vec<Self>, LabError> {
        let base = base();
        let records = record::all(&base.join("labs"))?;
        let lab = |record: Record| Self::within(&base, &record.place, &record.name);
        Ok(records.into_iter().map(lab).collect())
    }

    /// The same with all labs and root file systems below `base`. Its file system must be one that
    /// an overlay can be on (ext4, xfs, btrfs, tmpfs).
    pub fn within(base: &Path, place: &Path, name: &str) -> Self {
        let place = place.canonicalize().unwrap_or_else(|_| place.to_owned());
        let identity = [base.as_os_str(), place.as_os_str(), name.as_ref()]
            .map(|part| part.to_string_lossy())
            .join("\0");
        let id = Digest::of(identity.as_bytes()).short();
        Self { base: base.to_owned(), place, name: name.to_owned(), id }
    }

    /// Eight hexadecimal digits, in the name of everything that the lab has on this machine.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The directory that it belongs to.
    pub fn place(&self) -> &Path {
        &self.place
    }

    /// Which of the labs of that directory it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The private key that logs in to every server as root. It is there after [`Self::up`].
    pub fn key_file(&self) -> PathBuf {
        self.directory().join("key")
    }

    /// Where its disks and keys are.
    pub fn directory(&self) -> PathBuf {
        self.labs().join(&self.id)
    }

    /// What `down` has not yet removed of it.
    fn gone(&self) -> PathBuf {
        self.directory().with_extension("gone")
    }

    fn labs(&self) -> PathBuf {
        self.base.join("labs")
    }

    /// Makes and boots what is not running of `servers`, all at once, and waits until they answer.
    /// Servers of the lab that are not named stay as they are. Returns them in the order asked for.
    ///
    /// `tell` is called from several threads.
    ///
    /// # Errors
    /// [`LabError`]. What was made is kept, and the next call carries on.
    pub fn up(
        &self,
        servers: &[ServerSpec],
        tell: &(dyn Fn(Event) + Sync),
    ) -> Result<Vec<Machine>, LabError> {
        check()?;
        machine::private(&self.base)?;
        let used = || record::rootfs_in(&self.labs());
        let rootfs = rootfs::ready(&self.base, &used, tell)?;
        let _lock = loop {
            let lock = self.lock(tell)?;
            if !self.record()?.is_some_and(|record| record.leaving) {
                break lock;
            }
            // With the lock's file.
            self.remove_all()?;
        };
        let record = self.demand(servers, &rootfs)?;
        let network = Network::of(&self.id, record.network);
        network.make(&record, tell)?;
        keys::make(&self.key_file())?;
        let login = keys::public(&self.key_file())?;
        let boot = |spec: &ServerSpec| {
            let entry = &record.servers[&spec.name];
            self.boot(&self.server(&spec.name, entry, &network)?, &login, tell)
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                servers.iter().map(|spec| scope.spawn(move || boot(spec))).collect();
            let joined = threads.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            // All are waited for before the first error is returned.
            joined.collect::<Vec<_>>().into_iter().collect()
        })
    }

    /// Removes servers with all they have. Those that are not there are fine.
    ///
    /// # Errors
    /// [`LabError`]; to be called again then.
    pub fn remove(&self, names: &[ServerName]) -> Result<(), LabError> {
        check()?;
        if !self.directory().exists() {
            return Ok(());
        }
        let _lock = self.lock(&|_| {})?;
        let Some(mut record) = self.record()? else { return Ok(()) };
        let network = Network::of(&self.id, record.network);
        for name in names {
            if let Some(entry) = record.servers.get(name) {
                self.server(name, entry, &network)?.remove()?;
                record.servers.remove(name);
            }
            let is_gone = |end: &End| *end == End::Server(name.clone());
            record.cuts.retain(|cut| !is_gone(&cut.from) && !is_gone(&cut.to));
        }
        record.write(&self.directory())
    }

    /// Removes every trace of the lab: processes, mounts, disks, keys, links, rules. The root file
    /// system stays for the next one. A lab that is not there is fine.
    ///
    /// # Errors
    /// [`LabError`]; the next `up` or `down` finishes it.
    pub fn down(&self) -> Result<(), LabError> {
        check()?;
        if !self.directory().exists() && !self.gone().exists() {
            return Ok(());
        }
        let _lock = self.lock(&|_| {})?;
        if let Some(mut record) = self.record()? {
            record.leaving = true;
            record.write(&self.directory())?;
        }
        self.remove_all()
    }

    /// The servers of the lab by name.
    ///
    /// # Errors
    /// When what is written down cannot be read.
    pub fn state(&self) -> Result<Vec<MachineState>, LabError> {
        let Some(record) = self.record()?.filter(|record| !record.leaving) else {
            return Ok(Vec::new());
        };
        let network = Network::of(&self.id, record.network);
        let state = |(name, entry)| {
            let server = self.server(name, entry, &network)?;
            let address = IpAddr::V4(server.address());
            let host_key = server.host_key().ok();
            let is_running = server.is_running();
            Ok(MachineState { name: name.clone(), address, host_key, is_running })
        };
        record.servers.iter().map(state).collect()
    }

    /// Writes down what there shall be.
    fn demand(&self, servers: &[ServerSpec], rootfs: &str) -> Result<Record, LabError> {
        let _networks = network::lock()?;
        let mut record = match self.record()? {
            Some(record) => record,
            None => Record::new(&self.place, &self.name, network::free(&self.labs())?),
        };
        for spec in servers {
            if !record.servers.contains_key(&spec.name) {
                let number = record.free_number().ok_or(LabError::TooMany)?;
                let entry = Entry { number, rootfs: rootfs.to_owned(), disk_mib: spec.disk_mib };
                record.servers.insert(spec.name.clone(), entry);
            }
        }
        record.write(&self.directory())?;
        Ok(record)
    }

    fn boot(
        &self,
        server: &Server<'_>,
        login: &str,
        tell: &(dyn Fn(Event) + Sync),
    ) -> Result<Machine, LabError> {
        if !server.has_answered() {
            let name = server.name.clone();
            tell(Event::Booting { server: name.clone() });
            let began = Instant::now();
            server.make(&self.base, login)?;
            server.start()?;
            server.await_sshd()?;
            tell(Event::Ready { server: name, took: began.elapsed() });
        }
        Machine::of(server)
    }

    /// Removes all that has the lab in its name, whatever is written down.
    fn remove_all(&self) -> Result<(), LabError> {
        let directory = self.directory();
        let network = Network::of(&self.id, self.record()?.map_or(0, |record| record.network));
        ControlGroup::of_lab(&self.id)?.kill()?;
        for number in network.numbers_left() {
            network.unlink(number);
        }
        for server in fs::read_dir(directory.join("servers")).into_iter().flatten().flatten() {
            machine::unlock(&server.path());
        }
        network.remove()?;
        mounts::unmount_below(&directory)?;
        machine::remove_directory(&directory.join("servers"))?;
        // The record goes last: until then the next command knows that this one has begun. It goes
        // with the lock, at once: who waited for that makes a new directory.
        let gone = self.gone();
        machine::remove_directory(&gone)?;
        fs::rename(&directory, &gone).map_err(LabError::file(&gone))?;
        machine::remove_directory(&gone)?;
        // Refused while there are other labs.
        let _ = fs::remove_dir(self.labs());
        Ok(())
    }

    fn server<'a>(
        &self,
        name: &'a ServerName,
        entry: &'a Entry,
        network: &'a Network,
    ) -> Result<Server<'a>, LabError> {
        let directory = self.directory().join("servers").join(name.as_str());
        let group = ControlGroup::of(&self.id, entry.number)?;
        Ok(Server { name, entry, directory, network, group })
    }

    /// Does something with one server.
    fn with<T>(
        &self,
        name: &ServerName,
        act: impl FnOnce(&Server<'_>) -> Result<T, LabError>,
    ) -> Result<T, LabError> {
        check()?;
        let record = self.record()?.filter(|record| !record.leaving);
        let missing = || LabError::NoServer(name.clone());
        let record = record.ok_or_else(missing)?;
        let entry = record.servers.get(name).ok_or_else(missing)?;
        let network = Network::of(&self.id, record.network);
        act(&self.server(name, entry, &network)?)
    }

    /// Changes what is cut.
    fn change(
        &self,
        change: impl FnOnce(&mut Record) -> Result<(), LabError>,
    ) -> Result<(), LabError> {
        check()?;
        if !self.directory().exists() {
            return Ok(());
        }
        let _lock = self.lock(&|_| {})?;
        let Some(mut record) = self.record()? else { return Ok(()) };
        change(&mut record)?;
        record.write(&self.directory())?;
        Network::of(&self.id, record.network).cut(&record)
    }

    fn record(&self) -> Result<Option<Record>, LabError> {
        Record::read(&self.directory())
    }

    /// The lock under which the lab changes.
    fn lock(&self, tell: &dyn Fn(Event)) -> Result<fs::File, LabError> {
        machine::private(&self.directory())?;
        lock::take(&self.directory().join("lock"), &|| tell(Event::Waiting))
    }
}

fn base() -> PathBuf {
    std::env::var_os(BASE_VARIABLE).map_or_else(|| BASE.into(), PathBuf::from)
}
