//! Whether a server takes a connection at all, for commands that look and do not wait.
//!
//! `ssh` gives a server ten seconds, its whole handshake included, because a busy one may need them. The
//! system of a server that is there answers a connection at once, however busy its processes are: who
//! does not do that within [`WITHIN`] is not reached now.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use super::error::SshError;

/// The time that a server has to take a connection.
const WITHIN: Duration = Duration::from_secs(3);
/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;

/// Knocks where `ssh` would go, as `ask`, which is `ssh -G`, says. When it would go another way, through
/// a jump host or a program, or does not say, nothing is known.
///
/// # Errors
/// [`SshError`], when nobody answers.
pub(super) fn knock(ask: &mut Command) -> Result<(), SshError> {
    let Some((host, port)) = ask.output().ok().and_then(|said| direct(&said.stdout)) else {
        return Ok(());
    };
    let (sender, answered) = channel();
    // Nobody waits for one that hangs: it ends with the command.
    thread::spawn(move || {
        let found = (host.as_str(), port).to_socket_addrs();
        // What is wrong with the name, `ssh` tells.
        let addresses: Vec<_> = found.into_iter().flatten().take(ADDRESSES_MAX).collect();
        if addresses.is_empty() {
            let _ = sender.send(Ok(()));
        }
        for address in addresses {
            let sender = sender.clone();
            thread::spawn(move || sender.send(at(&address)));
        }
    });
    let until = Instant::now() + WITHIN;
    let mut refused = None;
    loop {
        match answered.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => refused = Some(error),
            Err(_) => return Err(refused.unwrap_or_else(silent)),
        }
    }
}

fn at(address: &SocketAddr) -> Result<(), SshError> {
    match TcpStream::connect_timeout(address, WITHIN) {
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(silent()),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            ) =>
        {
            Err(SshError::Refused { said: vec![format!("{address}: {error}")] })
        }
        // Somebody is there; what is in the way, `ssh` tells.
        _ => Ok(()),
    }
}

fn silent() -> SshError {
    SshError::Silent { seconds: WITHIN.as_secs() }
}

/// The host and the port to which `ssh` connects itself.
fn direct(said: &[u8]) -> Option<(String, u16)> {
    let said = String::from_utf8_lossy(said);
    let value = |keyword: &str| {
        let mut lines = said.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(own, _)| *own == keyword).map(|(_, value)| value.trim())
    };
    let goes_around = |keyword| value(keyword).is_some_and(|own| own != "none");
    if goes_around("proxyjump") || goes_around("proxycommand") {
        return None;
    }
    Some((value("hostname")?.to_owned(), value("port")?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What `ssh -G` would print, as a program.
    fn says(text: &str) -> Command {
        let mut command = Command::new("printf");
        command.arg(text);
        command
    }

    fn at_port(port: u16) -> Command {
        says(&format!("user root\nhostname 127.0.0.1\nport {port}\nproxycommand none\n"))
    }

    #[test]
    fn whoever_is_there_answers_also_with_a_no() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        knock(&mut at_port(port)).unwrap();
        drop(listener);
        knock(&mut at_port(port)).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn whoever_drops_packets_does_not_and_is_not_waited_for() {
        use rustix::net::{
            AddressFamily, SocketAddrV4, SocketType, bind, getsockname, listen, socket,
        };
        let full = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        bind(&full, &SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
        listen(&full, 0).unwrap();
        let address: SocketAddr = getsockname(&full).unwrap().try_into().unwrap();
        // With its queue full, the system drops whoever else comes.
        let quick = Duration::from_millis(200);
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, quick) {
            queue.push(stream);
        }
        let error = knock(&mut at_port(address.port())).unwrap_err();
        assert_eq!(error.to_string(), "does not answer within 3 s");
        // The way through another host is not this one.
        let port = address.port();
        let jump = format!("hostname 127.0.0.1\nport {port}\nproxyjump bastion\n");
        knock(&mut says(&jump)).unwrap();
    }

    #[test]
    fn what_ssh_does_not_say_is_not_guessed() {
        assert_eq!(
            direct(b"hostname a.example\nport 2222\n"),
            Some(("a.example".to_owned(), 2222))
        );
        assert_eq!(direct(b"hostname a.example\n"), None);
        assert_eq!(direct(b"hostname a.example\nport 22\nproxycommand nc %h %p\n"), None);
        assert_eq!(direct(b"usage: ssh"), None);
    }
}
