//! A server without onward: what it is, whether onward can run there, and the copy that is sent.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::OnceLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use onward_server::build::Build;
use sha2::{Digest as _, Sha256};

use super::error::SshError;

/// The oldest systemd that has what the units need.
const SYSTEMD_MIN: u32 = 247;
/// The space that onward and a first release need, in KiB.
const FREE_KIB_MIN: u64 = 200 << 10;

/// What a server says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// `uname -s`.
    pub system: String,
    /// `uname -m`.
    pub machine: String,
    /// `ID` and `VERSION_ID` of `/etc/os-release`.
    pub os: String,
    /// The version of systemd; none when there is none.
    pub systemd: Option<u32>,
    /// Whether systemd runs the machine.
    pub managed: bool,
    /// Free space in KiB, when that is known.
    pub free_kib: Option<u64>,
    /// Programs that are missing.
    pub lacks: Vec<String>,
}

impl Facts {
    /// Understands the lines that a server prints.
    pub(super) fn of(lines: &[String]) -> Self {
        let mut facts = Self::default();
        for line in lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "system" => facts.system = rest.to_owned(),
                "machine" => facts.machine = rest.to_owned(),
                "os" => facts.os = rest.to_owned(),
                "systemd" => {
                    facts.systemd = rest.split(' ').nth(1).and_then(|number| number.parse().ok());
                }
                // A machine that only has the package says `offline`.
                "running" => facts.managed = !matches!(rest, "" | "offline" | "unknown"),
                "free" => {
                    facts.free_kib =
                        rest.split_ascii_whitespace().nth(3).and_then(|number| number.parse().ok());
                }
                "lacks" => facts.lacks.push(rest.to_owned()),
                _ => {}
            }
        }
        facts
    }

    /// Why onward cannot run there.
    pub fn unsuitable(&self) -> Option<String> {
        if self.system != "Linux" {
            return Some(format!("it is a machine with {}, and onward needs Linux", self.system));
        }
        if self.machine != std::env::consts::ARCH {
            return Some(format!(
                "its processor is {}, and this onward is built for {}",
                self.machine,
                std::env::consts::ARCH
            ));
        }
        match self.systemd {
            None => return Some("it has no systemd".to_owned()),
            Some(version) if version < SYSTEMD_MIN => {
                return Some(format!(
                    "its systemd is {version}, and onward needs {SYSTEMD_MIN} or newer ({})",
                    self.os
                ));
            }
            Some(_) => {}
        }
        if !self.managed {
            return Some("systemd does not run it; is it a container?".to_owned());
        }
        if let Some(program) = self.lacks.first() {
            return Some(format!("it has no `{program}`"));
        }
        self.free_kib.filter(|free| *free < FREE_KIB_MIN).map(|free| {
            format!("/var/lib has {} MiB free, and onward needs {}", free >> 10, FREE_KIB_MIN >> 10)
        })
    }
}

/// The copy of onward that is sent.
#[derive(Debug)]
pub(super) struct Copy {
    /// Its file, compressed.
    bytes: Vec<u8>,
    /// SHA-256 of the file itself, in hexadecimal digits.
    sum: String,
    build: Build,
}

impl Copy {
    /// This program, compressed.
    fn of_this(scratch: &Path) -> io::Result<Self> {
        let mut file = File::open("/proc/self/exe")?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let sum: String = Sha256::digest(&content).iter().map(|b| format!("{b:02x}")).collect();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&content)?;
        Ok(Self { bytes: gzip.finish()?, sum, build: Build::of_this(scratch)? })
    }

    /// Sends it to a server that waits for it.
    pub(super) fn send(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "install {} {} {}", self.bytes.len(), self.sum, self.build.name())?;
        out.write_all(&self.bytes)?;
        out.flush()
    }
}

/// The copy, made once for all servers of a command. `scratch` is a directory where the digest of
/// this program may be remembered.
pub(super) fn copy(scratch: &Path) -> Result<&'static Copy, SshError> {
    static COPY: OnceLock<Result<Copy, String>> = OnceLock::new();
    let made = COPY.get_or_init(|| Copy::of_this(scratch).map_err(|error| error.to_string()));
    made.as_ref().map_err(|why| SshError::Here(why.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_debian_is_fit_and_says_what_it_is() {
        let facts = Facts::of(&lines(&format!(
            "system Linux\nmachine {}\nos debian 12\nsystemd systemd 252 (252.39-1~deb12u1)\n\
             running running\nfree /dev/vda1 1000000 1 900000 1% /",
            std::env::consts::ARCH
        )));
        assert_eq!(facts.systemd, Some(252));
        assert_eq!(facts.free_kib, Some(900_000));
        assert_eq!(facts.unsuitable(), None);
        for (change, why) in [
            (Facts { system: "FreeBSD".into(), ..facts.clone() }, "needs Linux"),
            (Facts { machine: "riscv64".into(), ..facts.clone() }, "processor is riscv64"),
            (Facts { systemd: None, ..facts.clone() }, "no systemd"),
            (Facts { systemd: Some(232), ..facts.clone() }, "its systemd is 232"),
            (Facts { managed: false, ..facts.clone() }, "container"),
            (Facts { lacks: vec!["gzip".into()], ..facts.clone() }, "no `gzip`"),
            (Facts { free_kib: Some(1024), ..facts.clone() }, "1 MiB free"),
        ] {
            let found = change.unsuitable().expect("unfit");
            assert!(found.contains(why), "{found}");
        }
    }
}
