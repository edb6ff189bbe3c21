//! A client that never retries: what it does not get was lost.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// One answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// When it was asked for.
    pub asked: Instant,
    /// When its connection was opened.
    pub opened: Instant,
    /// How long it took.
    pub took: Duration,
    /// The release in its text, 0 when it names none.
    pub release: u64,
}

/// One request that was not answered as it should.
#[derive(Debug, Clone)]
pub struct Loss {
    /// When its connection was opened.
    pub opened: Instant,
    /// Whether it could not even connect.
    pub refused: bool,
    /// What happened.
    pub why: String,
}

/// What a client saw.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// What was answered with 200.
    pub answers: Vec<Answer>,
    /// What was not.
    pub losses: Vec<Loss>,
}

impl Seen {
    /// The answers that were asked for in a span of time.
    pub fn between(&self, from: Instant, to: Instant) -> impl Iterator<Item = &Answer> {
        self.answers.iter().filter(move |answer| answer.asked >= from && answer.asked < to)
    }

    /// Why requests were lost, each reason with how many.
    pub fn reasons(&self) -> BTreeMap<&str, usize> {
        reasons(&self.losses)
    }
}

/// Why requests were lost, each reason with how many.
pub fn reasons(losses: &[Loss]) -> BTreeMap<&str, usize> {
    let mut reasons = BTreeMap::new();
    for loss in losses {
        *reasons.entry(&*loss.why).or_default() += 1;
    }
    reasons
}

/// One connection, opened when it is needed.
#[derive(Debug)]
pub struct Connection {
    address: String,
    open: Option<(TcpStream, Instant)>,
}

impl Connection {
    /// A connection to `HOST:PORT`.
    pub fn to(address: &str) -> Self {
        Self { address: address.to_owned(), open: None }
    }

    /// Asks once. After a loss the next request opens a new connection.
    pub fn get(&mut self, path: &str) -> Result<(Answer, String), Loss> {
        self.ask("GET", path)
    }

    /// Asks once with a method.
    pub fn ask(&mut self, method: &str, path: &str) -> Result<(Answer, String), Loss> {
        let asked = Instant::now();
        let lost = |opened, refused, why: String| Loss { opened, refused, why };
        let (mut stream, opened) = match self.open.take() {
            Some(open) => open,
            None => (
                TcpStream::connect(&self.address)
                    .map_err(|error| lost(asked, true, format!("connect: {error}")))?,
                asked,
            ),
        };
        match exchange(&mut stream, &self.address, method, path) {
            Ok((200, body, keep)) => {
                self.open = keep.then_some((stream, opened));
                let answer =
                    Answer { asked, opened, took: asked.elapsed(), release: release_in(&body) };
                Ok((answer, body))
            }
            Ok((status, body, _)) => {
                Err(lost(opened, false, format!("status {status}: {}", body.trim())))
            }
            Err(error) => Err(lost(opened, false, error.to_string())),
        }
    }

    /// Closes it; the next request opens another.
    pub fn close(&mut self) {
        self.open = None;
    }
}

fn exchange(
    stream: &mut TcpStream,
    host: &str,
    method: &str,
    path: &str,
) -> io::Result<(u16, String, bool)> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n");
    stream.write_all(head.as_bytes())?;
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = match stream.read(&mut piece) {
            // The read was interrupted, not the answer.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if count == 0 {
            let after = bytes.len();
            return Err(io::Error::other(format!("closed after {after} bytes of the answer")));
        }
        bytes.extend_from_slice(&piece[..count]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            let of =
                |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
            let status = head.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
            let length: usize =
                of("content-length:").and_then(|text| text.parse().ok()).unwrap_or(0);
            let keep = of("connection:") != Some("close");
            let mut body = bytes.split_off(end + 4);
            let missing = length.saturating_sub(body.len());
            let mut rest = vec![0; missing];
            stream.read_exact(&mut rest)?;
            body.extend_from_slice(&rest);
            return Ok((status, String::from_utf8_lossy(&body).into_owned(), keep));
        }
        if bytes.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("the head of the answer is too long"));
        }
    }
}

/// `Hello from release 7 (label)` names release 7.
fn release_in(body: &str) -> u64 {
    let after = body.split("release ").nth(1).unwrap_or_default();
    after.split(|letter: char| !letter.is_ascii_digit()).next().unwrap_or("").parse().unwrap_or(0)
}

/// Several connections that ask again and again until they are told to stop.
#[derive(Debug)]
pub struct Sampler {
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Sampler {
    /// `kept` connections are used for many requests, `fresh` threads open one for each; each asks
    /// `every` so often.
    pub fn start(address: &str, kept: usize, fresh: usize, every: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::new(Mutex::new(Seen::default()));
        let threads = (0..kept + fresh)
            .map(|number| {
                let (stop, seen) = (Arc::clone(&stop), Arc::clone(&seen));
                let connection = Connection::to(address);
                let is_fresh = number >= kept;
                thread::spawn(move || ask(connection, is_fresh, every, &stop, &seen))
            })
            .collect();
        Self { stop, seen, threads }
    }

    /// How much was lost until now.
    pub fn losses(&self) -> usize {
        self.seen.lock().map_or(0, |seen| seen.losses.len())
    }

    /// How many requests were answered until now.
    pub fn answered(&self) -> usize {
        self.seen.lock().map_or(0, |seen| seen.answers.len())
    }

    /// Stops and returns what was seen.
    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            let _ = thread.join();
        }
        self.seen.lock().map(|seen| seen.clone()).unwrap_or_default()
    }
}

fn ask(
    mut connection: Connection,
    fresh: bool,
    every: Duration,
    stop: &AtomicBool,
    seen: &Mutex<Seen>,
) {
    // Every other request is a POST, which no proxy may send twice: nothing is hidden by a retry.
    let mut methods = ["GET", "POST"].into_iter().cycle();
    while !stop.load(Ordering::Relaxed) {
        let answer = connection.ask(methods.next().unwrap_or("GET"), "/");
        if fresh {
            connection.close();
        }
        if let Ok(mut seen) = seen.lock() {
            match answer {
                Ok((answer, _)) => seen.answers.push(answer),
                Err(loss) => seen.losses.push(loss),
            }
        }
        thread::sleep(every);
    }
}
