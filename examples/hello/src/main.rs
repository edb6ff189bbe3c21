//! A greeting over HTTP/1.1, from the standard library alone.
//!
//! One thread per connection, keep-alive, pipelining. Enough for an example and for load tests on
//! one machine; not meant to face the internet without a proxy in front.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A connection that says nothing for this long is closed. Longer than a proxy keeps idle
/// connections, so that the proxy is the one who closes them.
const IDLE: Duration = Duration::from_secs(75);
/// The longest request head.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// The largest request body that is read and thrown away; above it the connection is closed.
const BODY_BYTES_MAX: u64 = 1024 * 1024;
/// Small stacks: a connection needs little, and there may be a thousand.
const STACK_BYTES: usize = 64 * 1024;

fn main() -> io::Result<()> {
    let port: u16 = match env::var("PORT") {
        Ok(text) => text.parse().map_err(io::Error::other)?,
        Err(_) => 3000,
    };
    let body: &'static str = Box::leak(greeting(|name| env::var(name).ok()).into_boxed_str());
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    for stream in listener.incoming() {
        let Ok(stream) = stream else {
            // Out of file descriptors, for example: let the others finish.
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        // When no thread can be had the connection is dropped, and the others go on.
        let _ = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
            let _ = serve(&stream, body);
        });
    }
    Ok(())
}

fn greeting(variable: impl Fn(&str) -> Option<String>) -> String {
    let get = |name, otherwise: &str| variable(name).unwrap_or_else(|| otherwise.to_owned());
    format!(
        "{} from release {} ({})\n",
        get("GREETING", "Hello"),
        get("ONWARD_RELEASE", "none"),
        get("ONWARD_LABEL", "not deployed"),
    )
}

/// Answers requests until the client closes, asks to close, or sends what is not a request.
fn serve(stream: &TcpStream, body: &str) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(IDLE))?;
    stream.set_write_timeout(Some(IDLE))?;
    let mut reader = BufReader::new(stream);
    loop {
        let request = match read_request(&mut reader)? {
            Incoming::Request(request) => request,
            Incoming::Closed => return Ok(()),
            Incoming::Bad => {
                return answer(stream, "400 Bad Request", "bad request\n", &Request::CLOSING)
            }
        };
        answer(stream, "200 OK", body, &request)?;
        if request.close {
            return Ok(());
        }
    }
}

/// What one read from a connection gave.
enum Incoming {
    Request(Request),
    Closed,
    Bad,
}

/// What has to be known about a request to answer it.
struct Request {
    head_only: bool,
    close: bool,
}

impl Request {
    const CLOSING: Self = Self { head_only: false, close: true };
}

fn read_request(reader: &mut impl BufRead) -> io::Result<Incoming> {
    let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
    let mut line = String::new();
    if head.read_line(&mut line)? == 0 {
        return Ok(Incoming::Closed);
    }
    let mut words = line.split_whitespace();
    let (method, version) = match (words.next(), words.next(), words.next(), words.next()) {
        (Some(method), Some(_), Some(version), None) => (method.to_owned(), version.to_owned()),
        _ => return Ok(Incoming::Bad),
    };
    let mut close = match version.as_str() {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return Ok(Incoming::Bad),
    };
    let mut body_bytes = 0;
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 || !line.ends_with('\n') {
            return Ok(Incoming::Bad);
        }
        let field = line.trim_end();
        if field.is_empty() {
            break;
        }
        let Some((name, value)) = field.split_once(':') else { return Ok(Incoming::Bad) };
        let value = value.trim();
        if name.eq_ignore_ascii_case("connection") {
            let has = |token: &str| value.split(',').any(|t| t.trim().eq_ignore_ascii_case(token));
            close = has("close") || (close && !has("keep-alive"));
        } else if name.eq_ignore_ascii_case("content-length") {
            match value.parse::<u64>() {
                Ok(bytes) if bytes <= BODY_BYTES_MAX => body_bytes = bytes,
                _ => return Ok(Incoming::Bad),
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Incoming::Bad);
        }
    }
    io::copy(&mut reader.take(body_bytes), &mut io::sink())?;
    Ok(Incoming::Request(Request { head_only: method == "HEAD", close }))
}

fn answer(mut stream: impl Write, status: &str, body: &str, request: &Request) -> io::Result<()> {
    let connection = if request.close { "close" } else { "keep-alive" };
    let shown = if request.head_only { "" } else { body };
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: {connection}\r\n\r\n{shown}",
        body.len()
    );
    stream.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_names_the_release() {
        let deployed = |name: &str| match name {
            "ONWARD_RELEASE" => Some("7".to_owned()),
            "ONWARD_LABEL" => Some("3f2a91c".to_owned()),
            _ => None,
        };
        assert_eq!(greeting(deployed), "Hello from release 7 (3f2a91c)\n");
        assert_eq!(greeting(|_| None), "Hello from release none (not deployed)\n");
    }

    #[test]
    fn requests_in_one_connection_are_read_one_by_one() {
        let mut text: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc\
                                HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n";
        let Ok(Incoming::Request(first)) = read_request(&mut text) else { panic!("first") };
        assert!(!first.head_only && !first.close);
        let Ok(Incoming::Request(second)) = read_request(&mut text) else { panic!("second") };
        assert!(second.head_only && second.close);
        assert!(matches!(read_request(&mut text), Ok(Incoming::Closed)));
    }

    #[test]
    fn other_texts_are_bad_requests() {
        for text in ["x\r\n\r\n", "GET / HTTP/2\r\n\r\n", "GET / HTTP/1.1\r\nx\r\n\r\n"] {
            assert!(matches!(read_request(&mut text.as_bytes()), Ok(Incoming::Bad)), "{text}");
        }
    }
}
