//! One server: its disk, what it is told before its first boot, its start and its end.
//!
//! ```text
//! servers/NAME/host_key host_key.pub    what its sshd shows
//!              disk.img disk/           a disk that can be full, when it has one
//!              upper/ work/             what it changed (below disk/ when it has one)
//!              root/                    what it sees: an overlay of that on the root file system
//!              console.log              what its last boots printed
//!              answered                 its sshd has answered since it was started
//! ```

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use onward_core::model::{Digest, ServerName};

use super::control_group::ControlGroup;
use super::network::Network;
use super::record::Entry;
use super::{LabError, keys, mounts, program, rootfs};

/// The time that a server has to boot. It takes one second alone, and longer when twenty boot at
/// once on two cores.
const BOOT_WITHIN: Duration = Duration::from_secs(60);
/// How long the program may take that starts the keeper of a server and does not wait for it.
const STARTED_WITHIN: Duration = Duration::from_secs(60);
/// The time that a server which was told to reboot has to end what runs in it; systemd itself waits
/// 90 seconds for a service.
const REBOOT_WITHIN: Duration = Duration::from_secs(100);
/// How long one attempt to reach it may take: a packet to a server that is not there yet is lost,
/// and is sent again only after a second.
const ATTEMPT: Duration = Duration::from_millis(100);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(5);
/// The time that an sshd which has taken a connection has to say so.
const GREETING_WITHIN: Duration = Duration::from_secs(5);

/// Starts the server, and starts it again when it reboots itself: `systemd-nspawn --keep-unit` then
/// ends with 133. `$ONWARD_GROUPS` are its groups.
const KEEPER: &str = r#"
for group in $ONWARD_GROUPS; do echo $$ > "$group/keeper/cgroup.procs" || exit 1; done
while :; do
  sh -c 'for group in $ONWARD_GROUPS; do echo $$ > "$group/run/cgroup.procs" || exit 1; done
         exec "$@"' run "$@"
  [ $? = 133 ] || exit
done
"#;

/// One server of a lab.
pub(super) struct Server<'a> {
    pub name: &'a ServerName,
    pub entry: &'a Entry,
    pub directory: PathBuf,
    pub network: &'a Network,
    pub group: ControlGroup,
}

impl Server<'_> {
    /// Where it is reached.
    pub fn address(&self) -> Ipv4Addr {
        self.network.address(self.entry.number)
    }

    /// What its sshd shows.
    pub fn host_key(&self) -> Result<String, LabError> {
        keys::public(&self.directory.join("host_key"))
    }

    /// Whether something of it runs.
    pub fn is_running(&self) -> bool {
        self.group.is_populated()
    }

    /// The file with what its boots printed.
    pub fn console(&self) -> PathBuf {
        self.directory.join("console.log")
    }

    /// Makes what it boots from. What is there already, of whatever boot, stays as it is.
    pub fn make(&self, base: &Path, login: &str) -> Result<(), LabError> {
        let directory = &self.directory;
        private(directory)?;
        keys::make(&directory.join("host_key"))?;
        let changes = match self.entry.disk_mib {
            Some(mib) => {
                let disk = directory.join("disk");
                mounts::disk(&directory.join("disk.img"), mib, &disk)?;
                disk
            }
            None => directory.clone(),
        };
        let upper = changes.join("upper");
        if !upper.exists() {
            let new = changes.join("upper.new");
            if new.exists() {
                fs::remove_dir_all(&new).map_err(LabError::file(&new))?;
            }
            self.settings(&new, login)?;
            fs::rename(&new, &upper).map_err(LabError::file(&upper))?;
        }
        let lower = rootfs::path(base, &self.entry.rootfs);
        mounts::overlay(&lower, &upper, &changes.join("work"), &directory.join("root"))
    }

    /// The files that make it this server, below `top`.
    fn settings(&self, top: &Path, login: &str) -> Result<(), LabError> {
        let host_key = self.directory.join("host_key");
        let secret = fs::read_to_string(&host_key).map_err(LabError::file(&host_key))?;
        let public = self.host_key()?;
        let machine_id = Digest::of(public.as_bytes()).to_string()[..32].to_owned();
        let name = self.name;
        let network = format!(
            "# Written once by onward, which gave this server its address.\n[Match]\nName=host0\n\n\
             [Network]\nAddress={}/24\nGateway={}\nIPv6AcceptRA=no\n",
            self.address(),
            self.network.address(1)
        );
        let files = [
            ("etc/hostname", 0o644, format!("{name}\n")),
            ("etc/hosts", 0o644, format!("127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {name}\n")),
            ("etc/machine-id", 0o444, format!("{machine_id}\n")),
            ("etc/systemd/network/10-onward-lab.network", 0o644, network),
            ("etc/ssh/ssh_host_ed25519_key", 0o600, secret),
            ("etc/ssh/ssh_host_ed25519_key.pub", 0o644, format!("{public}\n")),
            ("root/.ssh/authorized_keys", 0o600, format!("{login} onward\n")),
        ];
        // An overlay shows the modes of these directories, not of those below.
        let directories = [
            ("", 0o755),
            ("etc", 0o755),
            ("etc/systemd", 0o755),
            ("etc/systemd/network", 0o755),
            ("etc/ssh", 0o755),
            ("root", 0o700),
            ("root/.ssh", 0o700),
        ];
        for (path, mode) in directories {
            let path = top.join(path);
            fs::create_dir(&path)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
                .map_err(LabError::file(&path))?;
        }
        for (path, mode, text) in files {
            let path = top.join(path);
            write(&path, mode, &text).map_err(LabError::file(&path))?;
        }
        Ok(())
    }

    /// Whether it has answered since it was started. It may be paused, cut off or broken since.
    pub fn has_answered(&self) -> bool {
        self.is_running() && self.answered().exists()
    }

    fn answered(&self) -> PathBuf {
        self.directory.join("answered")
    }

    /// Starts it, unless it runs. It survives the one who started it.
    pub fn start(&self) -> Result<(), LabError> {
        if self.is_running() {
            return Ok(());
        }
        self.group.kill()?;
        self.network.unlink(self.entry.number);
        // It may not be there.
        let _ = fs::remove_file(self.answered());
        self.group.make()?;
        let console = self.console();
        let output = File::create(&console).map_err(LabError::file(&console))?;
        let errors = output.try_clone().map_err(LabError::file(&console))?;
        let groups: Vec<_> =
            self.group.directories().iter().map(|path| path.to_string_lossy()).collect();
        let mut child = program::command("setsid")
            .args(["--fork", "sh", "-c", KEEPER, "keeper"])
            .args(["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot"])
            .arg(format!("--directory={}", self.directory.join("root").display()))
            .arg(format!("--machine={}", self.network.machine(self.entry.number)))
            .arg(format!("--hostname={}", self.name))
            .arg(format!("--network-bridge={}", self.network.bridge()))
            .arg(format!("--resolv-conf={}", resolver()))
            .args(["--link-journal=no", "--timezone=off", "--console=read-only"])
            .env("ONWARD_GROUPS", groups.join(" "))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(LabError::file(Path::new("setsid")))?;
        let what = format!("the start of {}", self.name);
        let status = program::end(&mut child, STARTED_WITHIN, &what, "setsid")?;
        let status = status.map_err(LabError::file(Path::new("setsid")))?;
        if status.success() {
            return Ok(());
        }
        Err(self.failed(&format!("was not started: {status}")))
    }

    /// Waits until its sshd answers.
    pub fn await_sshd(&self) -> Result<(), LabError> {
        let began = Instant::now();
        let mut was_running = false;
        while !greets(IpAddr::V4(self.address())) {
            let is_running = self.is_running();
            // Its starter needs a moment to put itself into the group.
            if was_running && !is_running {
                return Err(self.failed("ended while it booted"));
            }
            was_running |= is_running;
            if began.elapsed() > BOOT_WITHIN {
                let limit = BOOT_WITHIN.as_secs();
                return Err(self.failed(&format!("does not answer on port 22 after {limit} s")));
            }
            thread::sleep(PAUSE);
        }
        let answered = self.answered();
        fs::write(&answered, "").map_err(LabError::file(&answered))
    }

    /// Ends it at once, as when its power is cut.
    pub fn kill(&self) -> Result<(), LabError> {
        self.group.kill()?;
        self.network.unlink(self.entry.number);
        unlock(&self.directory);
        Ok(())
    }

    /// Tells it to reboot and waits until it has begun to boot again.
    pub fn reboot(&self) -> Result<(), LabError> {
        let not_running = || LabError::NotRunning(self.name.clone());
        let init = self.group.init().ok_or_else(not_running)?;
        // SIGRTMIN+5: systemd(1).
        program::run("the reboot", "kill", &["-s", "RTMIN+5", &init.to_string()])?;
        let began = Instant::now();
        while self.group.init().is_none_or(|now| now == init) {
            if began.elapsed() > REBOOT_WITHIN {
                return Err(self.failed("was told to reboot and does not"));
            }
            if !self.is_running() {
                return Err(self.failed("was told to reboot and ended"));
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Removes every trace of it.
    pub fn remove(&self) -> Result<(), LabError> {
        self.kill()?;
        mounts::unmount_below(&self.directory)?;
        remove_directory(&self.directory)
    }

    fn failed(&self, why: &str) -> LabError {
        let (server, why) = (self.name.clone(), why.to_owned());
        LabError::Boot { server, why, console: self.console() }
    }
}

/// Removes the lock that systemd-nspawn, killed, leaves of the root of a server in `directory`. It
/// has the name of the directory's inode.
pub(super) fn unlock(directory: &Path) {
    if let Ok(root) = fs::metadata(directory.join("root")) {
        let name = format!("inode-{}:{}", root.dev(), root.ino());
        // It may not be there.
        let _ = fs::remove_file(Path::new("/run/systemd/nspawn/locks").join(name));
    }
}

/// Removes a directory in which nothing is mounted.
pub(super) fn remove_directory(directory: &Path) -> Result<(), LabError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LabError::file(directory)(error))
        }
        _ => Ok(()),
    }
}

/// Makes a directory that only its owner may look into.
pub(super) fn private(directory: &Path) -> Result<(), LabError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(LabError::file(directory))
}

fn write(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Whether an sshd is there.
fn greets(address: IpAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&SocketAddr::new(address, 22), ATTEMPT) else {
        return false;
    };
    let mut greeting = [0; 4];
    stream.set_read_timeout(Some(GREETING_WITHIN)).is_ok()
        && stream.read_exact(&mut greeting).is_ok()
        && &greeting == b"SSH-"
}

/// Which of this machine's lists of name servers a server gets at each boot: one that is only
/// reached on this machine's loopback is of no use to it.
fn resolver() -> &'static str {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let is_uplink_known = Path::new("/run/systemd/resolve/resolv.conf").exists();
    if is_uplink_known && is_loopback_only(&text) { "copy-uplink" } else { "copy-host" }
}

fn is_loopback_only(text: &str) -> bool {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok())
        .all(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolver_of_this_machine_alone_is_seen() {
        assert!(is_loopback_only("# local\nnameserver 127.0.0.53\noptions edns0\n"));
        assert!(is_loopback_only("nameserver ::1\n"));
        assert!(!is_loopback_only("nameserver 127.0.0.1\nnameserver 192.0.2.53\n"));
    }
}
