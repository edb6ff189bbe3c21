//! The log as a list in Redis, which several servers share.
//!
//! Events are the elements of the list `visits:log`; a position is how many of them were read. Redis
//! does one command after the other, so elements are whole and everybody sees the same order.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::history::{Event, History};
use crate::log::{Log, Position, Snapshot};

const EVENTS: &str = "visits:log";
const SNAPSHOT: &str = "visits:snapshot";
/// How many events come at once.
const EVENTS_AT_ONCE: u64 = 1000;
/// How long Redis may take for anything.
const PATIENCE: Duration = Duration::from_secs(3);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Keeps a snapshot, unless the one that is there reaches as far: one command, so that of two
/// instances the one that has read more wins.
const OFFER: &str = "\
local known = redis.call('GET', KEYS[1]) \
if known and tonumber(string.match(known, '^%d+')) >= tonumber(ARGV[1]) then return 0 end \
redis.call('SET', KEYS[1], ARGV[2]) return 1";

/// A log in a Redis.
///
/// When the answer to an `append` is lost on its way, the event may be in the log although the
/// append failed: Redis cannot tell afterwards.
pub struct RedisLog {
    place: Place,
    connection: Mutex<Option<BufReader<TcpStream>>>,
}

/// What `REDIS_URL` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    address: String,
    user: Option<String>,
    password: Option<String>,
    database: Option<u32>,
}

impl Place {
    /// Understands `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`.
    fn of(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("redis://")?;
        let (place, database) = match rest.split_once('/') {
            Some((place, "")) => (place, None),
            Some((place, number)) => (place, Some(number.parse().ok()?)),
            None => (rest, None),
        };
        let (login, host) = match place.rsplit_once('@') {
            Some((login, host)) => (Some(login.split_once(':')?), host),
            None => (None, place),
        };
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { host.to_owned() } else { format!("{host}:6379") };
        let user = login.map(|(user, _)| user.to_owned()).filter(|user| !user.is_empty());
        let password = login.map(|(_, password)| password.to_owned());
        (!host.is_empty()).then_some(Self { address, user, password, database })
    }
}

/// What Redis answers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Nothing,
    Number(i64),
    Text(Vec<u8>),
    List(Vec<Value>),
}

impl RedisLog {
    /// The log at a URL. Connects, so that a wrong one is noticed at once.
    pub fn open(url: &str) -> io::Result<Self> {
        let place = Place::of(url).ok_or_else(|| {
            // It may hold a password.
            io::Error::other("REDIS_URL is not redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]")
        })?;
        let log = Self { place, connection: Mutex::new(None) };
        log.ask(&[b"PING"])?;
        Ok(log)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in self.place.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return self.greet(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn greet(&self, stream: TcpStream) -> io::Result<BufReader<TcpStream>> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut connection = BufReader::new(stream);
        if let Some(password) = &self.place.password {
            let mut words: Vec<&[u8]> = vec![b"AUTH"];
            words.extend(self.place.user.as_deref().map(str::as_bytes));
            words.push(password.as_bytes());
            converse(&mut connection, &words)?;
        }
        if let Some(number) = self.place.database {
            converse(&mut connection, &[b"SELECT", number.to_string().as_bytes()])?;
        }
        Ok(connection)
    }

    fn ask(&self, words: &[&[u8]]) -> io::Result<Value> {
        let mut kept = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        // One on which something failed is not used again.
        let value = converse(&mut connection, words)?;
        *kept = Some(connection);
        Ok(value)
    }

    /// Asks again over a new connection when Redis was started anew since the last question.
    fn read_only(&self, words: &[&[u8]]) -> io::Result<Value> {
        self.ask(words).or_else(|_| self.ask(words))
    }
}

impl Log for RedisLog {
    fn append(&self, event: &Event) -> io::Result<()> {
        let line = event.to_line();
        self.ask(&[b"RPUSH", EVENTS.as_bytes(), line.as_bytes()]).map(drop)
    }

    fn read(&self, from: Position) -> io::Result<(Vec<Event>, Position)> {
        let (first, last) = (from.0.to_string(), (from.0 + EVENTS_AT_ONCE - 1).to_string());
        let words = [b"LRANGE", EVENTS.as_bytes(), first.as_bytes(), last.as_bytes()];
        let Value::List(elements) = self.read_only(&words)? else { return Err(nonsense()) };
        let position = Position(from.0 + elements.len() as u64);
        let event = |element: Value| match element {
            Value::Text(bytes) => Event::from_line(std::str::from_utf8(&bytes).ok()?),
            _ => None,
        };
        Ok((elements.into_iter().filter_map(event).collect(), position))
    }

    fn snapshot(&self) -> io::Result<Option<Snapshot>> {
        let Value::Text(bytes) = self.read_only(&[b"GET", SNAPSHOT.as_bytes()])? else {
            return Ok(None);
        };
        let text = String::from_utf8(bytes).unwrap_or_default();
        let parsed = text.split_once('\n').and_then(|(position, history)| {
            let position = Position(position.parse().ok()?);
            Some(Snapshot { position, history: History::from_text(history)? })
        });
        // One that reaches further than the log belongs to another log.
        let Value::Number(length) = self.read_only(&[b"LLEN", EVENTS.as_bytes()])? else {
            return Err(nonsense());
        };
        let length = u64::try_from(length).unwrap_or(0);
        Ok(parsed.filter(|snapshot| snapshot.position.0 <= length))
    }

    fn offer(&self, snapshot: &Snapshot) -> io::Result<()> {
        let position = snapshot.position.0.to_string();
        let text = format!("{position}\n{}", snapshot.history.to_text());
        let (key, script) = (SNAPSHOT.as_bytes(), OFFER.as_bytes());
        let words = [b"EVAL", script, b"1", key, position.as_bytes(), text.as_bytes()];
        self.ask(&words).map(drop)
    }
}

/// Sends a command and reads the answer.
fn converse(connection: &mut BufReader<TcpStream>, words: &[&[u8]]) -> io::Result<Value> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    connection.get_mut().write_all(&bytes)?;
    answer(connection)
}

fn answer(from: &mut impl BufRead) -> io::Result<Value> {
    let mut line = String::new();
    from.take(ANSWER_BYTES_MAX as u64).read_line(&mut line)?;
    let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let rest = line.get(1..).unwrap_or_default();
    let count = || rest.parse::<i64>().map_err(|_| nonsense());
    match line.as_bytes().first() {
        Some(b'+') => Ok(Value::Text(rest.as_bytes().to_vec())),
        Some(b'-') => Err(io::Error::other(format!("Redis refused: {rest}"))),
        Some(b':') => Ok(Value::Number(count()?)),
        Some(b'$') => match usize::try_from(count()?) {
            Err(_) => Ok(Value::Nothing),
            Ok(length) if length > ANSWER_BYTES_MAX => Err(nonsense()),
            Ok(length) => {
                let mut text = vec![0; length + 2];
                from.read_exact(&mut text)?;
                text.truncate(length);
                Ok(Value::Text(text))
            }
        },
        Some(b'*') => {
            let length = u64::try_from(count()?).unwrap_or(0);
            if length > EVENTS_AT_ONCE {
                return Err(nonsense());
            }
            (0..length).map(|_| answer(from)).collect::<io::Result<_>>().map(Value::List)
        }
        _ => Err(nonsense()),
    }
}

fn nonsense() -> io::Error {
    io::Error::other("what answers at REDIS_URL is no Redis")
}

#[cfg(test)]
#[path = "redis_log_tests.rs"]
mod tests;
