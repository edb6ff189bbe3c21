//! Lets go of the buffer that a request was read into, before the request waits.
//!
//! Target and header values are slices of that buffer, so a few hundred bytes would keep eight
//! kilobytes alive, for every request in a queue.

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Uri};

/// Copies what `parts` (in origin form) refers to into memory of just that size.
pub(crate) fn slim(parts: &mut Parts) {
    if let Some(target) = parts.uri.path_and_query() {
        let own = Bytes::copy_from_slice(target.as_str().as_bytes());
        if let Ok(own) = PathAndQuery::from_maybe_shared(own) {
            parts.uri = Uri::from(own);
        }
    }
    let size = parts.headers.values().map(HeaderValue::len).sum();
    let mut all = BytesMut::with_capacity(size);
    for value in parts.headers.values() {
        all.extend_from_slice(value.as_bytes());
    }
    let mut all = all.freeze();
    for value in parts.headers.values_mut() {
        let own = all.split_to(value.len());
        if let Ok(own) = HeaderValue::from_maybe_shared(own) {
            *value = own;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn nothing_of_it_changes() {
        let request = Request::builder()
            .uri("/a/b?c=%20|")
            .header("host", "shop.example.com")
            .header("x-two", "one")
            .header("x-two", HeaderValue::from_bytes(b"\xe9 other").unwrap())
            .header("x-none", "");
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let mut slimmed = parts.clone();
        slim(&mut slimmed);
        assert_eq!((&slimmed.uri, &slimmed.headers), (&parts.uri, &parts.headers));
        let (mut star, ()) = Request::options("*").body(()).unwrap().into_parts();
        slim(&mut star);
        assert_eq!(star.uri, "*");
    }
}
