//! Rewrites a request for the instance and an answer for the client: what concerns only one
//! connection stays on it, what tells the app about the client is ours to say.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Uri, Version};

use crate::client_side::ClientSide;
use crate::fleet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// The headers that are about one connection, Connection itself the first.
static PER_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// What a proxy says about the client. A peer's are kept, anybody else's replaced.
static SAID_OF_CLIENT: [HeaderName; 3] = [X_FORWARDED_FOR, X_FORWARDED_PROTO, X_FORWARDED_HOST];

/// What the rest of the exchange must know about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nature {
    /// Doing it twice is the same as once (RFC 9110, 9.2.2), so far as the method says.
    pub(crate) idempotent: bool,
    /// It asks to leave HTTP.
    pub(crate) upgrade: bool,
}

/// Makes the client's request the one that the instance gets, but for what [`say_who_asks`] says.
pub(crate) fn request(parts: &mut Parts) -> Nature {
    let upgrade = wanted_upgrade(parts);
    origin_form(parts);
    strip_connection_headers(&mut parts.headers);
    parts.headers.remove(header::EXPECT);
    parts.headers.remove(header::FORWARDED);
    remove_impostors(&mut parts.headers);
    if let Some(protocol) = &upgrade {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, protocol.clone());
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    Nature { idempotent: is_idempotent(&parts.method), upgrade: upgrade.is_some() }
}

/// Tells the app the path that it is mounted below and doesn't see.
pub(crate) fn below(headers: &mut HeaderMap, path: &str) {
    if let Ok(path) = HeaderValue::from_str(path) {
        headers.insert(X_FORWARDED_PREFIX, path);
    }
}

/// Makes the instance's answer the one that the client gets.
pub(crate) fn answer(headers: &mut HeaderMap) {
    strip_connection_headers(headers);
}

/// Makes the instance's 101 the one that the client gets: it keeps what the upgrade is about.
pub(crate) fn switching(headers: &mut HeaderMap) {
    let protocol = headers.get(header::UPGRADE).cloned();
    strip_connection_headers(headers);
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
}

/// The protocol a request asks for, when it does so rightly. HTTP/2 over clear text is not passed
/// on, not even as one of several: behind such a tunnel anything could be asked, unseen.
fn wanted_upgrade(parts: &Parts) -> Option<HeaderValue> {
    let protocol = parts.headers.get(header::UPGRADE)?;
    let has_option = |name, is_it: fn(&[u8]) -> bool| {
        let values = parts.headers.get_all(name).iter();
        let mut options = values.flat_map(|own| own.as_bytes().split(|byte| *byte == b','));
        options.any(|option| is_it(option.trim_ascii()))
    };
    let nominated =
        has_option(header::CONNECTION, |option| option.eq_ignore_ascii_case(b"upgrade"));
    let tunnels_http = has_option(header::UPGRADE, |option| {
        option.first_chunk().is_some_and(|start: &[u8; 2]| start.eq_ignore_ascii_case(b"h2"))
    });
    (nominated && !tunnels_http && parts.version == Version::HTTP_11).then(|| protocol.clone())
}

/// `GET http://host/path` is the same as `GET /path` with that Host (RFC 9112, 3.2.2).
fn origin_form(parts: &mut Parts) {
    let Some(authority) = parts.uri.authority() else { return };
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    if let Ok(host) = HeaderValue::from_str(host) {
        parts.headers.insert(header::HOST, host);
    }
    let path = parts.uri.path_and_query().cloned();
    parts.uri = path.map(Uri::from).unwrap_or_default();
}

/// Removes the headers that are about one connection, and those that Connection names. Looks first:
/// most messages have few of them, and looking is cheaper than a search for each.
fn strip_connection_headers(headers: &mut HeaderMap) {
    let mut found = [false; PER_CONNECTION.len()];
    for name in headers.keys() {
        for (found, own) in found.iter_mut().zip(&PER_CONNECTION) {
            *found |= name == own;
        }
    }
    if found[0] {
        strip_nominated(headers);
    }
    for (found, name) in found.into_iter().zip(&PER_CONNECTION) {
        if found {
            headers.remove(name);
        }
    }
}

fn strip_nominated(headers: &mut HeaderMap) {
    let only = |headers: &HeaderMap| {
        let mut all = headers.get_all(header::CONNECTION).iter();
        all.next().is_some_and(|value| is_option_of_ours(value.as_bytes())) && all.next().is_none()
    };
    if only(headers) {
        return;
    }
    let options: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    for option in options.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        remove_nominated(headers, option.trim_ascii());
    }
}

fn is_option_of_ours(option: &[u8]) -> bool {
    [&b"close"[..], b"keep-alive", b"upgrade"].iter().any(|own| option.eq_ignore_ascii_case(own))
}

/// Removes a header that Connection nominates, except those that every hop needs.
fn remove_nominated(headers: &mut HeaderMap, option: &[u8]) {
    if is_option_of_ours(option) {
        return;
    }
    if let Ok(name) = HeaderName::from_bytes(option)
        && name != header::HOST
        && name != header::CONTENT_LENGTH
    {
        headers.remove(name);
    }
}

/// What a client says in the proxy's place goes: frameworks believe `X-Forwarded-Ssl` and others of
/// that family, which no proxy but this one decides about.
fn remove_impostors(headers: &mut HeaderMap) {
    if !headers.keys().any(is_impostor) {
        return;
    }
    let found: Vec<HeaderName> = headers.keys().filter(|name| is_impostor(name)).cloned().collect();
    for name in found {
        headers.remove(name);
    }
}

/// Many apps get headers as variables, where `X_Forwarded_For` and `X-Forwarded-For` are the same: a
/// name with an underscore must not pass for one that is decided here.
fn is_impostor(name: &HeaderName) -> bool {
    if !name.as_str().contains('_') {
        return name.as_str().starts_with("x-forwarded-") && !SAID_OF_CLIENT.contains(name);
    }
    is_ours(name)
}

/// Whether only the proxy may say this, in whatever spelling.
fn is_ours(name: &HeaderName) -> bool {
    let real = name.as_str().replace('_', "-");
    real.starts_with("x-forwarded-")
        || ["content-length", "transfer-encoding", "forwarded", fleet::HOP.as_str()]
            .contains(&real.as_str())
}

/// Whether a field may come after a request's body: none that says how long the body is, for whom it
/// is, or what the proxy alone says.
pub(crate) fn may_follow(name: &HeaderName) -> bool {
    let others = [header::HOST, header::CONNECTION, header::TRAILER, header::UPGRADE, header::TE];
    !is_ours(name) && !others.contains(name)
}

/// What the client said about itself is replaced: the app may believe these headers.
pub(crate) fn say_who_asks(headers: &mut HeaderMap, client: &ClientSide) {
    headers.insert(X_FORWARDED_FOR, client.forwarded_for.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(client.scheme()));
    match headers.get(header::HOST).cloned() {
        Some(host) => headers.insert(X_FORWARDED_HOST, host),
        None => {
            // HTTP/1.0 may come without; the instance is asked in HTTP/1.1, which may not.
            headers.insert(header::HOST, HeaderValue::from_static(""));
            headers.remove(X_FORWARDED_HOST)
        }
    };
}

fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}
