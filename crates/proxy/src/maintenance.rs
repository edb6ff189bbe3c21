//! The page that people see while somebody works behind it.

use std::rc::Rc;

use http::request::Parts;
use http::{HeaderValue, Response, StatusCode, header};
use hyper::body::Bytes;

use crate::answer::AnswerBody;
use crate::client_side::ClientSide;
use crate::policy::Maintenance;
use crate::reception;
use crate::worker::Worker;

/// Plain, readable by screen readers, in the colours that the person prefers, without anything that
/// has to be loaded.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="robots" content="noindex">
<title>Down for maintenance</title>
<style>
body { font: 1.125rem/1.6 system-ui, sans-serif; max-width: 36rem; margin: 20vh auto 0; padding: 0 1.5rem; }
h1 { font-size: 1.75rem; line-height: 1.2; }
</style>
</head>
<body>
<main>
<h1>Down for maintenance</h1>
<p>We are working on this site. Please try again in a few minutes.</p>
</main>
</body>
</html>
"#;

/// 503 with the page, or a line of JSON or text for programs that ask for no page.
pub(crate) fn answer(
    worker: &Rc<Worker>,
    client: &Rc<ClientSide>,
    maintenance: &Maintenance,
    parts: &Parts,
) -> Response<AnswerBody> {
    let (text, kind) = if wants_json(parts) {
        (Bytes::from_static(b"{\"error\":\"maintenance\"}\n"), "application/json")
    } else {
        let own = || maintenance.page.clone().map(Bytes::from);
        let page = own().unwrap_or(Bytes::from_static(PAGE.as_bytes()));
        (page, "text/html; charset=utf-8")
    };
    let mut answer = reception::page(worker, client, text, kind);
    *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let headers = answer.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from(maintenance.retry_after_s));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

/// Whether the client asks for JSON and for no page.
fn wants_json(parts: &Parts) -> bool {
    let mut accepts = parts.headers.get_all(header::ACCEPT).iter();
    let named = |value: &HeaderValue, kind: &str| {
        value.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains(kind))
    };
    accepts.any(|value| named(value, "application/json") && !named(value, "text/html"))
}
