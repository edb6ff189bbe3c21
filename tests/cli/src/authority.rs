//! A certificate authority of a test: `pebble`, which Let's Encrypt tests clients with, and the DNS
//! that it asks.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::project::has;
use crate::wait::eventually;

/// An authority that looks at one port of one address.
#[derive(Debug)]
pub struct Authority {
    directory: TempDir,
    address: Ipv4Addr,
    port: u16,
    management: u16,
    child: Option<Child>,
    dns: u16,
    looks_at: u16,
    seconds: Option<u64>,
}

impl Authority {
    /// Whether this machine has what it takes; says so when it has not.
    pub fn is_here() -> bool {
        let here = has("pebble") && has("curl");
        if !here {
            println!("LEFT OUT: certificates by ACME need the packages pebble and curl");
        }
        here
    }

    /// One that asks for answers on a port of this machine, and issues certificates of so many
    /// seconds. `elsewhere.example.com` leads to another address, any other name to this one.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(looks_at: u16, seconds: Option<u64>) -> Self {
        let here = Ipv4Addr::LOCALHOST;
        Self::of(here, (&[here], looks_at), seconds)
    }

    /// One that listens on an address of this machine, and asks for answers on the port of other
    /// addresses, where all names but `elsewhere.example.com` lead: of several, to each in turn.
    ///
    /// # Panics
    /// When it does not start.
    pub fn of(address: Ipv4Addr, looks_at: (&[Ipv4Addr], u16), seconds: Option<u64>) -> Self {
        let (lead_to, looks_at) = looks_at;
        let directory = tempfile::tempdir().expect("a directory");
        let (port, management) = (free_port(address), free_port(address));
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        let ca = ca.expect("a certificate");
        let key = KeyPair::generate().expect("a key");
        let own = CertificateParams::new(vec!["localhost".to_owned(), address.to_string()])
            .expect("names");
        let own = own.signed_by(&key, &ca).expect("a certificate");
        let write = |name: &str, text: String| {
            fs::write(directory.path().join(name), text).expect("write a file");
        };
        write("ca.pem", ca.pem());
        write("cert.pem", own.pem());
        write("key.pem", key.serialize_pem());
        let dns = answer_names(lead_to);
        let mut authority =
            Self { directory, address, port, management, child: None, dns, looks_at, seconds };
        authority.wake();
        authority
    }

    /// Starts it, again when it was stopped: it then knows nobody any more.
    ///
    /// # Panics
    /// When it does not start.
    pub fn wake(&mut self) {
        let mut config = json!({
            "listenAddress": format!("{}:{}", self.address, self.port),
            "managementListenAddress": format!("{}:{}", self.address, self.management),
            "certificate": "cert.pem", "privateKey": "key.pem",
            "httpPort": self.looks_at, "tlsPort": 1, "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        });
        if let Some(seconds) = self.seconds {
            config["certificateValidityPeriod"] = json!(seconds);
        }
        let config = json!({ "pebble": config }).to_string();
        fs::write(self.directory.path().join("pebble.json"), config).expect("write a file");
        let log = fs::File::create(self.directory.path().join("log")).expect("a log");
        let child = Command::new("pebble")
            .args(["-config", "pebble.json", "-dnsserver", &format!("127.0.0.1:{}", self.dns)])
            .current_dir(self.directory.path())
            // It otherwise waits some seconds before it looks.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("pebble starts"));
        eventually("the authority answers", || self.root());
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The lines of the project file that make an environment ask it.
    pub fn lines(&self) -> String {
        let ca = self.directory.path().join("ca.pem");
        let is_here = self.address == Ipv4Addr::LOCALHOST;
        let host = if is_here { "localhost".to_owned() } else { self.address.to_string() };
        format!(
            "tls = \"acme\"\nacme = {{ directory = \"https://{host}:{}/dir\", ca = \"{}\" }}\n",
            self.port,
            ca.display()
        )
    }

    /// A file with the root of what it issues; `None` while it does not answer.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn root(&self) -> Option<PathBuf> {
        let url = format!("https://{}:{}/roots/0", self.address, self.management);
        let output = Command::new("curl").args(["-sfk", &url]).output().ok()?;
        let path = self.directory.path().join("root.pem");
        output.status.success().then(|| fs::write(&path, output.stdout).expect("write a file"))?;
        Some(path)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port(address: Ipv4Addr) -> u16 {
    let socket = std::net::TcpListener::bind((address, 0)).expect("a port");
    socket.local_addr().expect("its address").port()
}

/// Answers questions about IPv4 addresses, while the test runs.
fn answer_names(lead_to: &[Ipv4Addr]) -> u16 {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("its address").port();
    let mut lead_to = lead_to.to_vec();
    thread::spawn(move || {
        let mut packet = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut packet) {
            let Some(answer) = dns_answer(&packet[..length], lead_to[0]) else { continue };
            // Questions about other kinds of addresses come in between.
            if answer[7] == 1 {
                lead_to.rotate_left(1);
            }
            let _ = socket.send_to(&answer, from);
        }
    });
    port
}

fn dns_answer(question: &[u8], lead_to: Ipv4Addr) -> Option<Vec<u8>> {
    let name = 12 + question.get(12..)?.iter().position(|byte| *byte == 0)?;
    let (asked, kind) = (question.get(12..name)?, question.get(name + 1..name + 5)?);
    let is_elsewhere = asked.windows(9).any(|own| own.eq_ignore_ascii_case(b"elsewhere"));
    let has_answer = kind == [0, 1, 0, 1];
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(has_answer), 0, 0, 0, 0]);
    answer.extend(&question[12..name + 5]);
    if has_answer {
        // The name again, an IPv4 address, good for a second.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
        let elsewhere = Ipv4Addr::new(127, 0, 0, 9);
        answer.extend(if is_elsewhere { elsewhere } else { lead_to }.octets());
    }
    Some(answer)
}

/// What one request with TLS brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The version of HTTP: `1.1` or `2`.
    pub version: String,
    /// The body.
    pub body: String,
}

/// What one request with TLS to this machine brought: the status, and the version of HTTP.
///
/// # Errors
/// What curl says of it.
pub fn ask(root: &Path, url: &str) -> Result<(u16, String), String> {
    ask_at(Ipv4Addr::LOCALHOST, root, url).map(|answer| (answer.status, answer.version))
}

/// The same of another address, whatever the name of the host leads to.
///
/// # Errors
/// What curl says of it.
///
/// # Panics
/// When there is no curl.
pub fn ask_at(address: Ipv4Addr, root: &Path, url: &str) -> Result<Answer, String> {
    let place = url.strip_prefix("https://").expect("an address with TLS");
    let place = place.split('/').next().expect("there is a first one");
    let (host, port) = place.rsplit_once(':').unwrap_or((place, "443"));
    let output = Command::new("curl")
        .args(["-s", "-S", "-m", "20", "-w", "\n%{http_code} %{http_version}", "--cacert"])
        .arg(root)
        .args(["--resolve", &format!("{host}:{port}:{address}"), url])
        .output()
        .expect("curl runs");
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let (body, last) = text.rsplit_once('\n').expect("it writes a line at the end");
    let (status, version) = last.split_once(' ').expect("two words");
    let status = status.parse().expect("a status");
    Ok(Answer { status, version: version.to_owned(), body: body.to_owned() })
}
