//! What must be right about a request's head before it is believed.
//!
//! HTTP/2 says where a request ends, but what it says is written down as HTTP/1.1 for the instance:
//! whatever the gate refuses there is refused here.

use http::Method;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;

use crate::framing::{Refusal, check_target, content_length, is_host, is_met};

/// Checks a head and brings it into the form that HTTP/1.1 has. Returns the length of the body, when
/// it is announced.
pub(super) fn judge(parts: &mut Parts, most_lines: usize) -> Result<Option<u64>, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    if parts.headers.len() > most_lines {
        return Err(Refusal::TooManyLines);
    }
    let target = parts.uri.path_and_query().ok_or(Refusal::Target)?;
    check_target(parts.method.as_str().as_bytes(), target.as_str().as_bytes())?;
    if !target.as_str().starts_with(['/', '*']) {
        return Err(Refusal::Target);
    }
    check_host(parts)?;
    if parts.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refusal::Encoding);
    }
    if let Some(expected) = parts.headers.get(header::EXPECT)
        && !is_met(expected.as_bytes())
    {
        return Err(Refusal::Expectation);
    }
    join_cookies(&mut parts.headers);
    length(&parts.headers)
}

/// One host, said once or twice the same.
fn check_host(parts: &Parts) -> Result<(), Refusal> {
    let mut all = parts.headers.get_all(header::HOST).iter();
    let named = all.next();
    if all.next().is_some() {
        return Err(Refusal::HostTwice);
    }
    let authority = parts.uri.authority().map(|own| own.as_str().as_bytes());
    let named = named.map(HeaderValue::as_bytes);
    if let (Some(one), Some(other)) = (authority, named)
        && !one.eq_ignore_ascii_case(other)
    {
        return Err(Refusal::HostTwice);
    }
    let host = authority.or(named).ok_or(Refusal::HostMissing)?;
    if host.iter().all(|byte| is_host(*byte)) { Ok(()) } else { Err(Refusal::Host) }
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut all = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(length) = all.next() else { return Ok(None) };
    if all.next().is_some() {
        return Err(Refusal::LengthTwice);
    }
    content_length(length.as_bytes()).map(Some)
}

/// Cookies may come one by one (RFC 9113, 8.2.3); apps get them in one line.
fn join_cookies(headers: &mut HeaderMap) {
    let mut all = headers.get_all(header::COOKIE).iter();
    if all.next().is_none() || all.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn judged(request: http::request::Builder) -> Result<(Option<u64>, Parts), Refusal> {
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        judge(&mut parts, 10).map(|length| (length, parts))
    }

    fn get(uri: &str) -> http::request::Builder {
        Request::builder().uri(uri)
    }

    #[test]
    fn what_is_refused_in_http1_is_refused() {
        let shop = || get("https://shop.example.com/a");
        let many = (0..11).fold(shop(), |all, at| all.header(format!("x-{at}"), "1"));
        for (request, refusal) in [
            (shop().method("CONNECT"), Refusal::Connect),
            (get("/a"), Refusal::HostMissing),
            (shop().header("host", "other.example.com"), Refusal::HostTwice),
            (get("/a").header("host", "a").header("host", "a"), Refusal::HostTwice),
            (get("https://user@shop.example.com/a"), Refusal::Host),
            (get("/a").header("host", "a b"), Refusal::Host),
            (get("*").header("host", "a"), Refusal::Target),
            (shop().header("transfer-encoding", "chunked"), Refusal::Encoding),
            (shop().header("expect", "200-ok"), Refusal::Expectation),
            (shop().header("content-length", "+5"), Refusal::Length),
            (shop().header("content-length", "5, 5"), Refusal::Length),
            (
                shop().header("content-length", "5").header("content-length", "5"),
                Refusal::LengthTwice,
            ),
            (many, Refusal::TooManyLines),
        ] {
            assert_eq!(judged(request).unwrap_err(), refusal);
        }
    }

    #[test]
    fn what_is_right_passes() {
        let (length, parts) = judged(
            get("https://shop.example.com/a?b")
                .header("host", "SHOP.example.com")
                .header("content-length", "12")
                .header("cookie", "a=1")
                .header("cookie", "b=2"),
        )
        .unwrap();
        assert_eq!(length, Some(12));
        assert_eq!(parts.headers["cookie"], "a=1; b=2");
        assert_eq!(parts.headers.get_all("cookie").iter().count(), 1);
        assert!(judged(get("*").method("OPTIONS").header("host", "a")).is_ok());
    }
}
