//! Strict framing: where a request begins and ends, decided before any of it is believed.
//!
//! Two servers that disagree about that are how requests are smuggled. hyper is lenient in places
//! (it prefers `Transfer-Encoding` over `Content-Length`, merges equal lengths, takes a bare line
//! feed); here each of these is refused. Nothing is allocated.

use http::StatusCode;

/// Why a request is refused. The connection is closed after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    RequestLine,
    Version,
    Method,
    Target,
    Connect,
    BareLineBreak,
    Header,
    Folded,
    TooLarge,
    TooManyLines,
    HostMissing,
    HostTwice,
    Host,
    Length,
    LengthTwice,
    LengthAndEncoding,
    Encoding,
    EncodingInOld,
    Expectation,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge | Self::TooManyLines => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::RequestLine => "the request line is not METHOD TARGET HTTP/1.1",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are spoken here",
            Self::Method => "the method is not a token",
            Self::Target => "the request target is neither a path nor an http:// address",
            Self::Connect => "CONNECT is not offered here",
            Self::BareLineBreak => "a line ends without CR LF",
            Self::Header => "a header line is malformed",
            Self::Folded => "a header line is folded",
            Self::TooLarge => "the request header is too large",
            Self::TooManyLines => "the request has too many header lines",
            Self::HostMissing => "the Host header is missing",
            Self::HostTwice => "there is more than one Host header",
            Self::Host => "the Host header is malformed",
            Self::Length => "Content-Length is not a number",
            Self::LengthTwice => "there is more than one Content-Length header",
            Self::LengthAndEncoding => "both Content-Length and Transfer-Encoding are given",
            Self::Encoding => "the only Transfer-Encoding taken is chunked, once",
            Self::EncodingInOld => "HTTP/1.0 has no Transfer-Encoding",
            Self::Expectation => "the only expectation met is 100-continue",
        }
    }
}

/// How long the body after a head is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyLength {
    Exact(u64),
    Chunked,
}

/// What the gate must know about an accepted head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) body: BodyLength,
    pub(crate) upgrade: bool,
}

/// Where the head that starts `bytes` ends, if its end is there. Finds bare line feeds too, so that
/// [`judge`] can refuse them.
pub(crate) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(step) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        at += step + 1;
        match bytes[at..] {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// Judges a whole head, up to and including its empty line.
pub(crate) fn judge(head: &[u8], most_lines: usize) -> Result<Head, Refusal> {
    let mut lines = Lines { rest: head };
    let old = request_line(lines.next()?)?;
    let mut facts = Facts::default();
    let mut count = 0;
    loop {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        count += 1;
        if count > most_lines {
            return Err(Refusal::TooManyLines);
        }
        facts.header_line(line)?;
    }
    facts.conclude(old)
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Result<&'a [u8], Refusal> {
        let end = self.rest.iter().position(|byte| *byte == b'\n').ok_or(Refusal::RequestLine)?;
        let line = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        match line.split_last() {
            Some((b'\r', line)) => Ok(line),
            _ => Err(Refusal::BareLineBreak),
        }
    }
}

/// Checks the request line; true when it is HTTP/1.0.
fn request_line(line: &[u8]) -> Result<bool, Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Refusal::RequestLine);
    };
    let old = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ if version.starts_with(b"HTTP/") => return Err(Refusal::Version),
        _ => return Err(Refusal::RequestLine),
    };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Err(Refusal::Method);
    }
    if method == b"CONNECT" {
        return Err(Refusal::Connect);
    }
    check_target(method, target)?;
    Ok(old)
}

pub(crate) fn check_target(method: &[u8], target: &[u8]) -> Result<(), Refusal> {
    let starts = |scheme: &[u8]| {
        target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme)
    };
    let known = target.first() == Some(&b'/')
        || (target == b"*" && method == b"OPTIONS")
        || starts(b"http://")
        || starts(b"https://");
    if known && target.iter().all(|byte| *byte > b' ' && *byte != 0x7f && *byte != b'#') {
        Ok(())
    } else {
        Err(Refusal::Target)
    }
}

#[derive(Default)]
struct Facts {
    hosts: usize,
    length: Option<u64>,
    encoded: bool,
    upgrade: bool,
}

impl Facts {
    fn header_line(&mut self, line: &[u8]) -> Result<(), Refusal> {
        if matches!(line[0], b' ' | b'\t') {
            return Err(Refusal::Folded);
        }
        let colon = line.iter().position(|byte| !is_token(*byte)).ok_or(Refusal::Header)?;
        if colon == 0 || line[colon] != b':' {
            return Err(Refusal::Header);
        }
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
            return Err(Refusal::Header);
        }
        // Only names of these lengths matter here, so most lines cost one comparison.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value.trim_ascii()),
            6 if name.eq_ignore_ascii_case(b"expect") => expectation(value.trim_ascii()),
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.length(value.trim_ascii()),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.encoding(value.trim_ascii())
            }
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Refusal> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(Refusal::HostTwice);
        }
        if value.iter().all(|byte| is_host(*byte)) { Ok(()) } else { Err(Refusal::Host) }
    }

    fn length(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.length.is_some() {
            return Err(Refusal::LengthTwice);
        }
        self.length = Some(content_length(value)?);
        Ok(())
    }

    fn encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        if self.encoded || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Encoding);
        }
        self.encoded = true;
        Ok(())
    }

    fn conclude(&self, old: bool) -> Result<Head, Refusal> {
        if self.encoded && old {
            return Err(Refusal::EncodingInOld);
        }
        if self.encoded && self.length.is_some() {
            return Err(Refusal::LengthAndEncoding);
        }
        if self.hosts == 0 && !old {
            return Err(Refusal::HostMissing);
        }
        let body = match self.length {
            _ if self.encoded => BodyLength::Chunked,
            length => BodyLength::Exact(length.unwrap_or(0)),
        };
        Ok(Head { body, upgrade: self.upgrade && !old })
    }
}

fn expectation(value: &[u8]) -> Result<(), Refusal> {
    if is_met(value) { Ok(()) } else { Err(Refusal::Expectation) }
}

/// The one expectation that everybody meets.
pub(crate) fn is_met(expected: &[u8]) -> bool {
    expected.eq_ignore_ascii_case(b"100-continue")
}

pub(crate) fn content_length(value: &[u8]) -> Result<u64, Refusal> {
    // 18 digits: a body of an exabyte is nobody's, and more would not fit.
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Length);
    }
    let digits = value.iter().map(|digit| u64::from(digit - b'0'));
    Ok(digits.fold(0, |sum, digit| sum * 10 + digit))
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
};

fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

/// What a host name, an address or a port is made of (RFC 3986, `reg-name` and IP literals).
pub(crate) fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:%[]".contains(&byte)
}
