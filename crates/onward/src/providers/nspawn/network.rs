//! The network of a lab: a bridge with addresses of its own, and a way out.
//!
//! ```text
//! bridge ownsp-LAB   10.81.N.1/24        this machine's end, the servers' gateway
//! link vb-LAB-M      10.81.N.M           a server's, made by systemd-nspawn at its boot
//! table ip ownsp_LAB                     masquerading; nobody outside reaches a server
//! table bridge ownsp_LAB                 what tests have cut
//! ```
//! Each name says whose it is, each step may be repeated, and all of it is found and removed by
//! name, whatever was written down.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use super::faults::End;
use super::record::{self, Record};
use super::{Event, LabError, cuts, lock, program};

/// The first two bytes of every address.
const RANGE: [u8; 2] = [10, 81];
/// What is forgotten when the machine restarts: what this machine's network was changed to.
const RUNTIME: &str = "/run/onward-nspawn";
/// Where the kernel lists links.
const LINKS: &str = "/sys/class/net";
/// Where systemd-nspawn has a directory for each server.
const PROPAGATE: &str = "/run/systemd/nspawn/propagate";
/// How long an address that does not answer is waited for until it is asked for again, in
/// milliseconds. A server that boots is found as soon as it is there, and not a second later.
const NEIGHBOUR_RETRY_MS: u32 = 30;

/// The network of one lab.
#[derive(Debug, Clone)]
pub(super) struct Network {
    lab: String,
    /// `10.81.NUMBER.0/24`.
    number: u8,
}

impl Network {
    /// The network of a lab. Makes nothing.
    pub fn of(lab: &str, number: u8) -> Self {
        Self { lab: lab.to_owned(), number }
    }

    /// The name of the bridge.
    pub fn bridge(&self) -> String {
        format!("ownsp-{}", self.lab)
    }

    /// The name of server `number` for `systemd-nspawn`, from which it makes the name of its link:
    /// `vb-` and this, 15 bytes at most.
    pub fn machine(&self, number: u8) -> String {
        format!("{}-{number}", self.lab)
    }

    /// This machine's end of the link of a server.
    pub fn link(&self, number: u8) -> String {
        format!("vb-{}", self.machine(number))
    }

    /// The address of server `number`; 1 is this machine.
    pub fn address(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(RANGE[0], RANGE[1], self.number, number)
    }

    fn table(&self) -> String {
        format!("ownsp_{}", self.lab)
    }

    /// Makes all that is not there.
    pub fn make(&self, record: &Record, tell: &dyn Fn(Event)) -> Result<(), LabError> {
        let bridge = self.bridge();
        if !exists(&bridge) {
            let address = self.hardware_address();
            let arguments = ["link", "add", "name", &bridge, "address", &address, "type", "bridge"];
            program::run(&format!("bridge {bridge}"), "ip", &arguments)?;
        }
        let address = format!("{}/24", self.address(1));
        let what = format!("the address of {bridge}");
        program::run(&what, "ip", &["address", "replace", &address, "dev", &bridge])?;
        program::run(&what, "ip", &["link", "set", "dev", &bridge, "up"])?;
        let retry = PathBuf::from(format!("/proc/sys/net/ipv4/neigh/{bridge}/retrans_time_ms"));
        fs::write(&retry, NEIGHBOUR_RETRY_MS.to_string()).map_err(LabError::file(&retry))?;
        let mut rules = self.way_out();
        rules.push_str(&self.cuts(record));
        program::feed("the rules of the network", "nft", &["-f", "-"], &rules)?;
        forward(&bridge, tell)
    }

    /// Puts what cannot reach what in the place of what was so before.
    pub fn cut(&self, record: &Record) -> Result<(), LabError> {
        program::feed("the cuts of the network", "nft", &["-f", "-"], &self.cuts(record))
    }

    /// Removes the link of a server that ended. The kernel does it as well, a moment later.
    pub fn unlink(&self, number: u8) {
        program::attempt("ip", &["link", "delete", "dev", &self.link(number)]);
        // What systemd-nspawn leaves when it is killed.
        let _ = fs::remove_dir(Path::new(PROPAGATE).join(self.machine(number)));
    }

    /// The numbers of the servers that ever had a link, whatever is written down.
    pub fn numbers_left(&self) -> Vec<u8> {
        let of = |directory: &str, prefix: &str| -> Vec<u8> {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            names.filter_map(|name| name.strip_prefix(prefix)?.parse().ok()).collect()
        };
        let mut numbers = of(LINKS, &format!("vb-{}-", self.lab));
        numbers.extend(of(PROPAGATE, &format!("{}-", self.lab)));
        numbers
    }

    /// Removes all of it.
    pub fn remove(&self) -> Result<(), LabError> {
        let bridge = self.bridge();
        let table = self.table();
        for family in ["ip", "bridge"] {
            // A table that is declared is there, and one that is there can be deleted.
            let rules = format!("table {family} {table} {{}}\ndelete table {family} {table}\n");
            program::feed("the rules of the network", "nft", &["-f", "-"], &rules)?;
        }
        if exists(&bridge) {
            let arguments = ["link", "delete", "dev", &bridge];
            program::run(&format!("removal of bridge {bridge}"), "ip", &arguments)?;
        }
        forward_no_more()
    }

    /// A bridge would take the address of its first link, and another when that one goes.
    fn hardware_address(&self) -> String {
        let digits = self.lab.as_bytes().chunks(2).map(String::from_utf8_lossy);
        let pairs: Vec<_> = digits.take(4).collect();
        format!("02:81:{}", pairs.join(":"))
    }

    fn cuts(&self, record: &Record) -> String {
        let link = |end: &End| match end {
            End::Server(name) => record.servers.get(name).map(|entry| self.link(entry.number)),
            End::Everyone => Some(format!("vb-{}-*", self.lab)),
            End::Host => None,
        };
        cuts::rules(&self.table(), &record.cuts, &link)
    }

    fn way_out(&self) -> String {
        let (table, bridge) = (self.table(), self.bridge());
        let network = format!("{}/24", self.address(0));
        format!(
            "table ip {table} {{}}
delete table ip {table}
table ip {table} {{
  chain out {{
    type nat hook postrouting priority srcnat;
    ip saddr {network} oifname != \"{bridge}\" masquerade
  }}
  chain through {{
    type filter hook forward priority filter;
    iifname != \"{bridge}\" oifname \"{bridge}\" ct state new drop
    iifname \"{bridge}\" tcp flags syn / syn,rst tcp option maxseg size set rt mtu
  }}
}}
"
        )
    }
}

fn exists(link: &str) -> bool {
    Path::new(LINKS).join(link).exists()
}

/// The first network that neither this machine nor another lab has. The caller holds the lock of
/// networks until it is written down.
pub(super) fn free(labs: &Path) -> Result<u8, LabError> {
    let mut text = program::run("the list of addresses", "ip", &["-4", "-o", "address", "show"])?;
    text += &program::run("the list of routes", "ip", &["-4", "route", "show", "table", "all"])?;
    let mut taken = networks_in(&text);
    taken.extend(record::all(labs)?.iter().map(|record| record.network));
    (0..=u8::MAX).find(|number| !taken.contains(number)).ok_or(LabError::NoNetwork)
}

/// The third bytes of all addresses of the range.
fn networks_in(text: &str) -> Vec<u8> {
    let prefix = format!("{}.{}.", RANGE[0], RANGE[1]);
    let words = text.split_whitespace().filter_map(|word| word.strip_prefix(&prefix));
    words.filter_map(|rest| rest.split('.').next()?.parse().ok()).collect()
}

/// Takes the lock under which networks are chosen and this machine's forwarding is changed.
pub(super) fn lock() -> Result<fs::File, LabError> {
    lock::take(&lock_file(), &|| {})
}

fn lock_file() -> PathBuf {
    Path::new(RUNTIME).join("lock")
}

/// Lets this machine pass on what comes from the bridge, and the answers: only these links, not the
/// switch for all of them.
fn forward(bridge: &str, tell: &dyn Fn(Event)) -> Result<(), LabError> {
    let _lock = lock()?;
    let own = switch(bridge);
    fs::write(&own, "1").map_err(LabError::file(&own))?;
    let file = Path::new(RUNTIME).join("forwarding");
    let written = fs::read_to_string(&file).unwrap_or_default();
    let mut changed: Vec<String> = written.lines().map(str::to_owned).collect();
    let routes = program::run("the list of routes", "ip", &["-4", "route", "show", "default"])?;
    for link in links_in(&routes) {
        let path = switch(&link);
        if fs::read_to_string(&path).is_ok_and(|text| text.trim() == "1") {
            continue;
        }
        if !changed.contains(&link) {
            changed.push(link.clone());
            record::durable(&file, changed.join("\n").as_bytes())?;
        }
        fs::write(&path, "1").map_err(LabError::file(&path))?;
        tell(Event::Forwarding { link });
    }
    Ok(())
}

/// The links that routes lead through.
fn links_in(routes: &str) -> Vec<String> {
    let words = routes.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip_while(|word| *word != "dev");
        words.nth(1).map(str::to_owned)
    });
    let mut links: Vec<String> = words.collect();
    links.sort();
    links.dedup();
    links
}

/// With the last lab, forwarding is as it was, unless somebody has switched it on for all links
/// since.
fn forward_no_more() -> Result<(), LabError> {
    let lock = lock()?;
    let mut links = fs::read_dir(LINKS).into_iter().flatten().flatten();
    let is_lab = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("ownsp-");
    if links.any(is_lab) {
        return Ok(());
    }
    let file = Path::new(RUNTIME).join("forwarding");
    let changed = fs::read_to_string(&file).unwrap_or_default();
    let for_all = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
    for link in changed.lines().filter(|_| for_all.trim() == "0") {
        // The link may be gone.
        let _ = fs::write(switch(link), "0");
    }
    let _ = fs::remove_file(&file);
    // Those who waited for the lock see that it is gone and make another. The directory stays when
    // one of them was faster.
    let _ = fs::remove_file(lock_file());
    drop(lock);
    let _ = fs::remove_dir(RUNTIME);
    Ok(())
}

fn switch(link: &str) -> PathBuf {
    PathBuf::from(format!("/proc/sys/net/ipv4/conf/{link}/forwarding"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_what_the_kernel_takes() {
        let network = Network::of("a1b2c3d4", 7);
        assert_eq!(network.link(254), "vb-a1b2c3d4-254");
        assert!(network.link(254).len() <= 15 && network.bridge().len() <= 15);
        assert_eq!(network.address(2).to_string(), "10.81.7.2");
        assert_eq!(network.hardware_address(), "02:81:a1:b2:c3:d4");
    }

    #[test]
    fn what_the_machine_has_is_read() {
        let text = "2: ownsp-x inet 10.81.3.1/24 brd 10.81.3.255 scope global\n\
                    10.81.4.0/24 dev tun0\ndefault via 10.8.1.1 dev eth0";
        assert_eq!(networks_in(text), [3, 3, 4]);
        let routes = "default via 192.0.2.1 dev eth0 proto dhcp\ndefault dev tun0 scope link\n";
        assert_eq!(links_in(routes), ["eth0", "tun0"]);
    }
}
