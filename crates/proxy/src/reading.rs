//! An answer of an instance as it comes: its head, and then its body, piece by piece.
//!
//! The framing is strict where it matters: an answer that says in two ways how long it is, or in a
//! way that isn't understood, is no answer.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use hyper::body::{Bytes, Frame};

use crate::chunks::{BadChunk, Chunks};

/// Largest head of an answer.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;
/// Most lines of it. The parser keeps this many on its stack.
const HEAD_LINES: usize = 100;

/// What came isn't HTTP, or can be read in two ways.
#[derive(Debug)]
pub(crate) struct NotHttp;

impl From<BadChunk> for NotHttp {
    fn from(_: BadChunk) -> Self {
        Self
    }
}

/// The head of an answer.
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
}

/// How much of an answer's body is still to come.
pub(crate) enum Rest {
    Bytes(u64),
    Chunked(Box<Unchunking>),
    UntilClose,
}

/// A chunked body, and the trailer so far.
pub(crate) struct Unchunking {
    chunks: Chunks,
    trailer: Vec<u8>,
}

/// A head with what it says about the rest.
pub(crate) struct Opening {
    pub(crate) head: Head,
    pub(crate) rest: Rest,
    /// The connection may carry another request after this answer.
    pub(crate) keeps: bool,
}

/// Takes the head of the final answer off `inbox`, and interim ones before it; `None` when more is
/// needed. `continues` tells that the instance asked for the body (100).
pub(crate) fn opening(
    inbox: &mut Bytes,
    method: &Method,
    continues: &mut bool,
) -> Result<Option<Opening>, NotHttp> {
    loop {
        let Some((length, version, head)) = parse(inbox)? else {
            return if inbox.len() < HEAD_BYTES { Ok(None) } else { Err(NotHttp) };
        };
        let _ = inbox.split_to(length);
        *continues |= head.status == StatusCode::CONTINUE;
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            continue;
        }
        return conclude(version, head, method).map(Some);
    }
}

fn parse(inbox: &Bytes) -> Result<Option<(usize, Version, Head)>, NotHttp> {
    let mut lines = [httparse::EMPTY_HEADER; HEAD_LINES];
    let mut answer = httparse::Response::new(&mut lines);
    let httparse::Status::Complete(length) = answer.parse(inbox).map_err(|_| NotHttp)? else {
        return Ok(None);
    };
    if length > HEAD_BYTES {
        return Err(NotHttp);
    }
    let version = match answer.version {
        Some(1) => Version::HTTP_11,
        _ => Version::HTTP_10,
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(NotHttp)?;
    let mut headers = HeaderMap::with_capacity(answer.headers.len());
    for line in answer.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| NotHttp)?;
        let value = HeaderValue::from_maybe_shared(inbox.slice_ref(line.value));
        headers.append(name, value.map_err(|_| NotHttp)?);
    }
    Ok(Some((length, version, Head { status, headers })))
}

fn conclude(version: Version, mut head: Head, method: &Method) -> Result<Opening, NotHttp> {
    let mut keeps = keeps_connection(version, &head.headers);
    let length = content_length(&mut head.headers)?;
    let chunked = is_chunked(version, &head.headers)?;
    if chunked {
        // RFC 9112, 6.3: the encoding wins, and nobody after us may see the length.
        head.headers.remove(header::CONTENT_LENGTH);
    }
    if head.status == StatusCode::NO_CONTENT {
        // RFC 9110, 8.6: it may not say a length, and over HTTP/2 that is a broken answer.
        head.headers.remove(header::CONTENT_LENGTH);
    }
    let bodiless = matches!(
        head.status,
        StatusCode::SWITCHING_PROTOCOLS | StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
    );
    let rest = match length {
        _ if bodiless || *method == Method::HEAD => Rest::Bytes(0),
        _ if chunked => {
            Rest::Chunked(Box::new(Unchunking { chunks: Chunks::of_answer(), trailer: Vec::new() }))
        }
        Some(length) => Rest::Bytes(length),
        None => Rest::UntilClose,
    };
    keeps &= !matches!(rest, Rest::UntilClose);
    keeps &= head.status != StatusCode::SWITCHING_PROTOCOLS;
    Ok(Opening { head, rest, keeps })
}

fn keeps_connection(version: Version, headers: &HeaderMap) -> bool {
    let named = |option: &[u8]| {
        let mut values = headers.get_all(header::CONNECTION).iter();
        values.any(|value| {
            let mut options = value.as_bytes().split(|byte| *byte == b',');
            options.any(|own| own.trim_ascii().eq_ignore_ascii_case(option))
        })
    };
    if version == Version::HTTP_11 { !named(b"close") } else { named(b"keep-alive") }
}

/// The one length that the header gives; the same several times is put together.
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, NotHttp> {
    let Some(first) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    if let Some(length) = number(first.as_bytes())
        && headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_none()
    {
        return Ok(Some(length));
    }
    let mut found = None;
    for value in headers.get_all(header::CONTENT_LENGTH) {
        for text in value.as_bytes().split(|byte| *byte == b',') {
            let length = number(text.trim_ascii()).ok_or(NotHttp)?;
            if found.is_some_and(|other| other != length) {
                return Err(NotHttp);
            }
            found = Some(length);
        }
    }
    if let Some(length) = found {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(found)
}

/// Decimal digits only, at most 18: more would not fit, and no body is that long.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 18 || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(text.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Nobody asked the instance for another encoding than `chunked`.
fn is_chunked(version: Version, headers: &HeaderMap) -> Result<bool, NotHttp> {
    let mut all = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(encoding) = all.next() else { return Ok(false) };
    let known = encoding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if known && all.next().is_none() && version == Version::HTTP_11 {
        Ok(true)
    } else {
        Err(NotHttp)
    }
}

impl Rest {
    /// Whether all of the body was taken.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Bytes(left) => *left == 0,
            Self::Chunked(body) => body.chunks.is_over(),
            Self::UntilClose => false,
        }
    }

    /// Takes the next piece of the body off `inbox`, if one is there.
    pub(crate) fn take(&mut self, inbox: &mut Bytes) -> Result<Option<Frame<Bytes>>, NotHttp> {
        if inbox.is_empty() {
            return Ok(None);
        }
        match self {
            Self::UntilClose => Ok(Some(Frame::data(std::mem::take(inbox)))),
            Self::Bytes(left) => {
                let step = usize::try_from(*left).unwrap_or(usize::MAX).min(inbox.len());
                *left -= step as u64;
                let all = step == inbox.len();
                let data = if all { std::mem::take(inbox) } else { inbox.split_to(step) };
                Ok((step > 0).then(|| Frame::data(data)))
            }
            Self::Chunked(body) => body.take(inbox),
        }
    }
}

impl Unchunking {
    fn take(&mut self, inbox: &mut Bytes) -> Result<Option<Frame<Bytes>>, NotHttp> {
        if self.chunks.is_over() {
            return Ok(None);
        }
        let (between, data) = self.chunks.next_data(inbox, &mut self.trailer)?;
        let _ = inbox.split_to(between);
        if data > 0 {
            return Ok(Some(Frame::data(inbox.split_to(data))));
        }
        if !self.chunks.is_over() || self.trailer.is_empty() {
            return Ok(None);
        }
        trailers(&self.trailer).map(|fields| Some(Frame::trailers(fields)))
    }
}

/// The fields of a trailer, without the empty line.
fn trailers(text: &[u8]) -> Result<HeaderMap, NotHttp> {
    let mut fields = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|byte| *byte == b':').ok_or(NotHttp)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| NotHttp)?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| NotHttp)?;
        fields.append(name, value);
    }
    Ok(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(text: &str, method: &Method) -> Result<Option<Opening>, NotHttp> {
        opening(&mut Bytes::copy_from_slice(text.as_bytes()), method, &mut false)
    }

    /// The body of an answer that comes in pieces of this size, its trailer, and what is left over.
    fn body(text: &str, piece: usize) -> Result<(Vec<u8>, HeaderMap, bool, Bytes), NotHttp> {
        let mut opening = open(text, &Method::GET)?.expect("a whole head");
        let start = text.find("\r\n\r\n").unwrap() + 4;
        let (mut data, mut fields, mut inbox) = (vec![], HeaderMap::new(), Bytes::new());
        for part in text.as_bytes()[start..].chunks(piece) {
            inbox = [&inbox[..], part].concat().into();
            while let Some(frame) = opening.rest.take(&mut inbox)? {
                match frame.into_data() {
                    Ok(more) => data.extend_from_slice(&more),
                    Err(frame) => fields = frame.into_trailers().unwrap(),
                }
            }
        }
        Ok((data, fields, opening.rest.is_over(), inbox))
    }

    #[test]
    fn bodies_in_pieces_of_any_size() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                       5\r\nhello\r\n6 ;x=\"y\"\r\n world\r\n0\r\nX-Sum: 1 \r\nX-Two:2\r\n\r\nrest";
        for piece in 1..80 {
            let (data, fields, over, left) = body(chunked, piece).unwrap();
            assert_eq!(data, b"hello world");
            assert_eq!(
                (fields["x-sum"].as_bytes(), fields["x-two"].as_bytes()),
                (&b"1"[..], &b"2"[..])
            );
            assert!(over && left == "rest", "in pieces of {piece}");
            let exact = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcrest";
            let (data, _, over, left) = body(exact, piece).unwrap();
            assert!(data == b"abc" && over && left == "rest", "in pieces of {piece}");
        }
        let (data, _, over, _) = body("HTTP/1.0 200 OK\r\n\r\nto the end", 4).unwrap();
        assert!(data == b"to the end" && !over);
    }

    #[test]
    fn heads_come_in_any_number_of_pieces_after_interim_ones() {
        let text = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 Fine\r\nContent-Length: 0\r\n\r\n";
        for end in 1..text.len() {
            assert!(open(&text[..end], &Method::GET).unwrap().is_none(), "at {end}");
        }
        let opening = open(text, &Method::GET).unwrap().unwrap();
        assert!(opening.head.status == 200 && !opening.head.headers.contains_key("link"));
        assert!(opening.keeps && opening.rest.is_over());
    }

    #[test]
    fn lengths_and_kept_connections() {
        let cases = [
            ("200 OK\r\nContent-Length: 5", "GET", Some(5), true),
            ("200 OK\r\nContent-Length: 5\r\nContent-Length: 5", "GET", Some(5), true),
            ("200 OK\r\nContent-Length: 5, 5", "GET", Some(5), true),
            ("200 OK\r\nContent-Length: 5", "HEAD", Some(0), true),
            ("200 OK\r\nTransfer-Encoding: chunked", "HEAD", Some(0), true),
            ("204 No Content", "GET", Some(0), true),
            ("304 Not Modified\r\nContent-Length: 5", "GET", Some(0), true),
            ("101 Switching Protocols", "GET", Some(0), false),
            ("200 OK\r\nContent-Length: 5\r\nConnection: x, Close", "GET", Some(5), false),
            ("200 OK", "GET", None, false),
        ];
        for (head, method, length, keeps) in cases {
            let text = format!("HTTP/1.1 {head}\r\n\r\n");
            let opening = open(&text, &method.parse().unwrap()).unwrap().unwrap();
            let found = match opening.rest {
                Rest::Bytes(length) => Some(length),
                Rest::Chunked(_) | Rest::UntilClose => None,
            };
            assert_eq!((found, opening.keeps), (length, keeps), "{head}");
        }
        let old = "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n";
        assert!(!open(&format!("{old}\r\n"), &Method::GET).unwrap().unwrap().keeps);
        let kept = format!("{old}Connection: keep-alive\r\n\r\n");
        assert!(open(&kept, &Method::GET).unwrap().unwrap().keeps);
    }

    #[test]
    fn the_encoding_wins_over_the_length() {
        let both = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        let opening = open(both, &Method::GET).unwrap().unwrap();
        assert!(matches!(opening.rest, Rest::Chunked(_)));
        assert!(!opening.head.headers.contains_key(header::CONTENT_LENGTH));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_no_answer() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX-A : 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX-A: 1\r\n folded\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "hello\r\n\r\n",
        ] {
            assert!(open(head, &Method::GET).is_err(), "{head}");
        }
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "a".repeat(HEAD_BYTES));
        assert!(open(&endless, &Method::GET).is_err());
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for bad in ["x\r\n", "5\nhello", "5\r\nhelloX", "-1\r\n"] {
            assert!(body(&format!("{chunked}{bad}"), 99).is_err(), "{bad}");
        }
    }
}
