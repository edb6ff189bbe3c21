//! Who answers a request: the proxy itself, a site's files, or an instance.
//!
//! What the proxy answers itself on purpose (another host's name, maintenance, a limit) is no request
//! of a release: it is counted apart and neither lost nor an error of the app.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::{Body, Bytes};

use crate::access::Access;
use crate::answer::{self, AnswerBody, Tally};
use crate::client_side::{ClientSide, Phase};
use crate::exchange::Exchange;
use crate::fleet::{self, Missed};
use crate::forward;
use crate::host::{name_of, port_of};
use crate::maintenance;
use crate::routing::Routed;
use crate::upload::Upload;
use crate::worker::Worker;

/// How long browsers remember a redirect to the canonical host: no longer than people who changed
/// their mind about it want to wait.
const REDIRECT_KEPT: HeaderValue = HeaderValue::from_static("max-age=3600");
/// Where certificate authorities look whether a name leads here (RFC 8555, 8.3): never with TLS, so
/// nobody is sent there from here.
const CHALLENGES: &str = "/.well-known/acme-challenge/";
/// When it is worth trying again after a limit.
const AGAIN_SOON: HeaderValue = HeaderValue::from_static("1");

/// The value of the Host header; empty when there is none.
pub(crate) fn host(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}

/// One of the requests that a route has at once.
pub(crate) struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(routed: &Routed) -> Result<Option<Self>, ()> {
        let Some(limit) = routed.route().limits.requests else { return Ok(None) };
        let all = routed.at_once();
        let before = all.fetch_add(1, Relaxed);
        let place = Self(all.clone());
        if before < limit as usize { Ok(Some(place)) } else { Err(()) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Answers a request that passed the gate.
pub(crate) async fn receive(
    worker: &Rc<Worker>,
    client: &Rc<ClientSide>,
    request: Request<Upload>,
) -> Response<AnswerBody> {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let nature = forward::request(&mut parts);
    let key = fleet::take_key(&mut parts.headers);
    if let Some(answer) = to_challenge(worker, client, &parts) {
        return answer;
    }
    if let Some(routed) = key.as_ref().and_then(|key| worker.route_of_fleet(key)) {
        client.is_of_fleet();
        // The peer has decided about everything but the instance.
        let tally = Tally::new(client, routed.counters(), started, true);
        return Exchange::new(worker, client, parts, body, nature, tally, key, started).run().await;
    }
    let Some((routed, alias)) = worker.route(host(&parts.headers), parts.uri.path()) else {
        let mut answer = unrouted(worker, client);
        if key.is_some() {
            Missed::Unsent.tell(answer.headers_mut());
        }
        return answer;
    };
    forward::say_who_asks(&mut parts.headers, client);
    let access = Access::of(worker, &routed, &parts, client);
    let own = |answer: Response<AnswerBody>, access: Option<Box<Access>>| {
        routed.counters().count_own();
        if let Some(access) = access {
            access.own(answer.status(), body_size(&answer), started.elapsed());
        }
        answer
    };
    if let Some(redirect) = elsewhere(worker, client, &routed, &parts, alias) {
        return own(redirect, access);
    }
    if let Some(maintenance) = &routed.route().maintenance {
        return own(maintenance::answer(worker, client, maintenance, &parts), access);
    }
    if is_too_long(&routed, &body) {
        let text = "the request's body is longer than this app takes";
        return own(answer::last(worker, client, StatusCode::PAYLOAD_TOO_LARGE, text), access);
    }
    let Ok(place) = Place::take(&routed) else {
        let text = "as many requests as this app takes at once are under way";
        let mut answer = answer::own(worker, client, StatusCode::SERVICE_UNAVAILABLE, text);
        answer.headers_mut().insert(header::RETRY_AFTER, AGAIN_SOON);
        return own(answer, access);
    };
    let mut tally = Tally::new(client, routed.counters(), started, false);
    tally.note(access, place);
    let mut answer = if routed.has_site() {
        from_files(worker, client, &routed, &parts, tally).await
    } else {
        Exchange::new(worker, client, parts, body, nature, tally, None, started).run().await
    };
    if let Some(hsts) = routed.hsts().filter(|_| client.secure) {
        answer.headers_mut().entry(header::STRICT_TRANSPORT_SECURITY).or_insert(hsts.clone());
    }
    answer
}

/// The answer for a certificate authority that looks whether a name leads here. What nobody has told
/// the proxy may be the app's own.
fn to_challenge(
    worker: &Rc<Worker>,
    client: &Rc<ClientSide>,
    parts: &Parts,
) -> Option<Response<AnswerBody>> {
    let answer = worker.challenge(parts.uri.path().strip_prefix(CHALLENGES)?)?;
    Some(page(worker, client, Bytes::from(answer), "application/octet-stream"))
}

fn body_size(answer: &Response<AnswerBody>) -> u64 {
    answer.body().size_hint().exact().unwrap_or(0)
}

fn unrouted(worker: &Rc<Worker>, client: &Rc<ClientSide>) -> Response<AnswerBody> {
    worker.shared.unrouted.fetch_add(1, Relaxed);
    if worker.has_routes() {
        let text = "no app on this server answers to this address; look for a mistake in it, or \
                    for a domain that is missing in the app's project file";
        return answer::own(worker, client, StatusCode::NOT_FOUND, text);
    }
    let text = "this proxy runs, but nothing is deployed under this host name yet";
    answer::own(worker, client, StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Sends a client to the canonical name, to TLS, or to both at once.
fn elsewhere(
    worker: &Rc<Worker>,
    client: &Rc<ClientSide>,
    routed: &Routed,
    parts: &Parts,
    alias: bool,
) -> Option<Response<AnswerBody>> {
    let asked = host(&parts.headers);
    let canonical = if alias { routed.route().canonical() } else { None };
    let name = canonical.unwrap_or_else(|| name_of(asked));
    let https = routed.route().https.filter(|own| own.redirect && !client.secure);
    let to_https = https.filter(|_| {
        !parts.uri.path().starts_with(CHALLENGES) && worker.shared.door.keyring().has(name)
    });
    let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let target = if target.starts_with('/') { target } else { "/" };
    let (place, text) = match (to_https, canonical) {
        (Some(https), _) => (https.address(name, target), "this is only offered with TLS".into()),
        // Without a scheme, so that it stays what it was for the client; with the port that it used.
        (None, Some(name)) => (
            format!("//{name}{}{target}", port_of(asked)),
            format!("this is {name} by another name"),
        ),
        (None, None) => return None,
    };
    let reads = matches!(parts.method, Method::GET | Method::HEAD);
    let status = if reads { StatusCode::MOVED_PERMANENTLY } else { StatusCode::PERMANENT_REDIRECT };
    let mut answer = answer::own(worker, client, status, &text);
    answer.headers_mut().insert(header::LOCATION, HeaderValue::from_str(&place).ok()?);
    answer.headers_mut().insert(header::CACHE_CONTROL, REDIRECT_KEPT);
    Some(answer)
}

/// Whether the body is known to be too long before it is there. One without a length is counted on
/// its way.
fn is_too_long(routed: &Routed, body: &Upload) -> bool {
    let limit = routed.route().limits.body_bytes;
    limit.is_some_and(|limit| body.least() > limit)
}

async fn from_files(
    worker: &Rc<Worker>,
    client: &Rc<ClientSide>,
    routed: &Routed,
    parts: &Parts,
    mut tally: Tally,
) -> Response<AnswerBody> {
    client.enter(Phase::Answering, worker.now());
    let path = &parts.uri.path()[routed.skip()..];
    let Some(answer) = routed.files(parts, path).await else {
        tally.lost();
        let text = "the files of this app cannot be read";
        return answer::own(worker, client, StatusCode::BAD_GATEWAY, text);
    };
    let (head, body) = answer.into_parts();
    tally.answered_with(head.status);
    let body = AnswerBody::file(worker, client, body, tally);
    Response::from_parts(head, body)
}

/// A text of the proxy's own.
pub(crate) fn page(
    worker: &Rc<Worker>,
    client: &Rc<ClientSide>,
    text: Bytes,
    kind: &'static str,
) -> Response<AnswerBody> {
    let mut answer = Response::new(AnswerBody::text(worker, client, text));
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
