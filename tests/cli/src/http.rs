//! A client that never retries: what it does not get was lost.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// One answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// Asks once, on a connection of its own.
///
/// # Errors
/// Whatever goes wrong on the way, also an answer that is cut short.
pub fn get(url: &str, path: &str) -> io::Result<Answer> {
    let address = url.strip_prefix("http://").unwrap_or(url);
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the answer was cut"))
}

/// The status of an answer for another host, and where it leads to.
///
/// # Panics
/// When there is no answer.
pub fn redirect(address: impl ToSocketAddrs, host: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the proxy accepts");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
        .expect("it takes a request");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut headers = text.lines().filter_map(|line| line.split_once(": "));
    let place = headers.find(|(name, _)| name.eq_ignore_ascii_case("location"));
    (status, place.map(|(_, place)| place.to_owned()).unwrap_or_default())
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?.to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = &bytes[end + 4..];
    let of = |name: &str| {
        head.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    let body = match (of("content-length:"), of("transfer-encoding:")) {
        (Some(length), _) => {
            let length: usize = length.parse().ok()?;
            (body.len() == length).then(|| body.to_vec())?
        }
        (None, Some(coding)) if coding == "chunked" => unchunked(body)?,
        _ => body.to_vec(),
    };
    Some(Answer { status, body: String::from_utf8_lossy(&body).into_owned() })
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}
