//! `wrk`: load over keep-alive connections that counts what it does not get.

use std::process::{Child, Command, Stdio};

use super::Outcome;
use super::place::signal;

/// Longer than any run; it is told when to stop.
const LONGEST: &str = "1h";

/// What wrk counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counted {
    /// Answers.
    pub requests: u64,
    /// Connections that could not be opened, reads and writes that failed, answers that took more
    /// than two seconds.
    pub socket_errors: u64,
    /// Answers that are neither 2xx nor 3xx.
    pub bad_status: u64,
}

/// A `wrk` that runs. It is killed when it is dropped.
#[derive(Debug)]
pub struct Wrk(Option<Child>);

impl Wrk {
    /// One thread, so many connections.
    pub fn start(address: &str, connections: usize) -> Outcome<Self> {
        let child = Command::new("wrk")
            .args(["-t1", "-c", &connections.to_string(), "-d", LONGEST])
            .arg(format!("http://{address}/"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("wrk does not start ({error}): apt-get install wrk"))?;
        Ok(Self(Some(child)))
    }

    /// Ends it and reads what it counted.
    pub fn end(mut self) -> Outcome<Counted> {
        let child = self.0.take().ok_or("wrk has ended")?;
        signal(child.id(), "INT");
        let output = child.wait_with_output()?;
        parse(&String::from_utf8_lossy(&output.stdout))
    }
}

impl Drop for Wrk {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// ```text
///   484031 requests in 30.00s, 70.62MB read
///   Socket errors: connect 0, read 1, write 0, timeout 0
///   Non-2xx or 3xx responses: 12
/// ```
fn parse(text: &str) -> Outcome<Counted> {
    let mut counted = Counted::default();
    let mut has_total = false;
    for line in text.lines().map(str::trim) {
        if let Some((count, _)) = line.split_once(" requests in ") {
            (counted.requests, has_total) = (count.parse()?, true);
        } else if let Some(rest) = line.strip_prefix("Socket errors:") {
            let numbers = rest.split([' ', ',']).filter_map(|word| word.parse::<u64>().ok());
            counted.socket_errors = numbers.sum();
        } else if let Some(count) = line.strip_prefix("Non-2xx or 3xx responses:") {
            counted.bad_status = count.trim().parse()?;
        }
    }
    if has_total { Ok(counted) } else { Err(format!("wrk said: {text}").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_counted() {
        let text = "  484031 requests in 30.00s, 70.62MB read\n  Socket errors: connect 1, read 2, \
                    write 3, timeout 4\n  Non-2xx or 3xx responses: 12\n";
        let counted = parse(text).expect("a summary");
        assert_eq!(
            (counted.requests, counted.socket_errors, counted.bad_status),
            (484_031, 10, 12)
        );
        assert!(parse("unable to connect").is_err());
    }
}
