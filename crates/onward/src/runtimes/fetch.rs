//! Downloads, by `curl`, which knows the proxies and the certificates of the machine.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::Onlooker;
use super::npm::NpmError;

/// How long one download may take, in seconds.
const SECONDS_MAX: &str = "600";
/// How long a connection may take, in seconds: a registry that is not there is told soon.
const CONNECT_SECONDS_MAX: &str = "20";
/// A download that brings less than this many bytes a second …
const BYTES_PER_SECOND_MIN: &str = "1000";
/// … for this many seconds stands still.
const STILL_SECONDS_MAX: &str = "30";
/// The largest package that is taken, in bytes: Node has 50 MB.
const PACKAGE_BYTES_MAX: u64 = 512 << 20;
/// How soon Ctrl-C is noticed.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The bytes at an address.
///
/// # Errors
/// [`NpmError::NoCurl`], [`NpmError::Fetch`], and [`NpmError::Stopped`] when somebody wants that.
pub(super) fn fetch(address: &str, onlooker: &dyn Onlooker) -> Result<Vec<u8>, NpmError> {
    let failed = |why: String| NpmError::Fetch { address: without_password(address), why };
    let mut child = curl(address).spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => NpmError::NoCurl,
        _ => failed(error.to_string()),
    })?;
    let body = collected(child.stdout.take());
    let said = collected(child.stderr.take());
    let body = loop {
        match body.recv_timeout(LOOK_EVERY) {
            Ok(body) => break body,
            Err(_) if onlooker.wants_stop() => {
                end(child);
                return Err(NpmError::Stopped);
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break Vec::new(),
        }
    };
    let status = child.wait().map_err(|error| failed(error.to_string()))?;
    if status.success() {
        return Ok(body);
    }
    // Ctrl-C may have reached curl before it had a group of its own.
    if onlooker.wants_stop() || status.signal() == Some(Signal::INT.as_raw()) {
        return Err(NpmError::Stopped);
    }
    let said = said.recv().unwrap_or_default();
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    Err(failed(if said.is_empty() { format!("curl ended with {status}") } else { said }))
}

fn curl(address: &str) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--show-error", "--location", "--max-time", SECONDS_MAX])
        .args(["--connect-timeout", CONNECT_SECONDS_MAX])
        .args(["--speed-limit", BYTES_PER_SECOND_MIN, "--speed-time", STILL_SECONDS_MAX])
        .args(["--max-filesize", &PACKAGE_BYTES_MAX.to_string()])
        .args(["--proto", "=http,https", "--header"])
        .arg("Accept: application/vnd.npm.install-v1+json, application/octet-stream, */*")
        .arg("--")
        .arg(address)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C on a terminal goes to the command alone, which then says what happened.
        .process_group(0);
    curl
}

/// Everything that comes out of a pipe, as soon as it is closed.
fn collected(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let pipe = pipe.map(|pipe| pipe.take(PACKAGE_BYTES_MAX));
        // What is cut short does not have its digest.
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        let _ = sender.send(bytes);
    });
    receiver
}

fn end(mut child: Child) {
    // It may have ended by itself.
    let _ = child.kill();
    let _ = child.wait();
}

/// An address as it may be shown: the part before `@` may hold a password.
fn without_password(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{scheme}://{host}/{path}")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    /// Wants a stop from the second look on.
    struct Impatient(Cell<u32>);

    impl Onlooker for Impatient {
        fn fetching(&self, _: &str) {}

        fn wants_stop(&self) -> bool {
            self.0.set(self.0.get() + 1);
            self.0.get() > 1
        }
    }

    #[test]
    fn a_registry_that_never_answers_can_be_left() {
        // Accepts connections by its backlog, and says nothing.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/node", listener.local_addr().unwrap());
        let began = Instant::now();
        let error = fetch(&address, &Impatient(Cell::new(0))).unwrap_err();
        assert!(matches!(error, NpmError::Stopped), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }

    #[test]
    fn passwords_are_not_shown() {
        for (address, shown) in [
            ("https://me:secret@npm.example.com/node", "https://npm.example.com/node"),
            ("https://npm.example.com/node@1", "https://npm.example.com/node@1"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(without_password(address), shown);
        }
    }
}
