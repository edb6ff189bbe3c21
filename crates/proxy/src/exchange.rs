//! One request and its answer: find an instance, send, retry what may be retried, pass the answer.

use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::{Body, Incoming};

use crate::answer::{self, AnswerBody, InFlight, Tally};
use crate::client_side::{ClientSide, Phase, Stop};
use crate::forward::{self, Nature};
use crate::hold::Hold;
use crate::tunnel::{FarEnd, OpenTunnel};
use crate::upstream::{NoConnection, Pool, RequestBody, Upstream};
use crate::worker::{Routed, Worker};

/// Answers one request. Never fails: what goes wrong is an answer too.
pub(crate) async fn answer(
    worker: Rc<Worker>,
    client: Rc<ClientSide>,
    request: Request<Incoming>,
) -> Result<Response<AnswerBody>, Infallible> {
    let mut answer = match client.refusal.take() {
        Some(refusal) => {
            worker.shared.refused.fetch_add(1, Relaxed);
            answer::last(&worker, &client, refusal.status(), refusal.text())
        }
        None => routed(&worker, &client, request).await,
    };
    if worker.shared.is_draining() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

async fn routed(
    worker: &Rc<Worker>,
    client: &Rc<ClientSide>,
    request: Request<Incoming>,
) -> Response<AnswerBody> {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let nature = forward::request(&mut parts, client);
    let Some(routed) = worker.route(host(&parts.headers)) else {
        worker.shared.unrouted.fetch_add(1, Relaxed);
        let text = "this proxy runs, but nothing is deployed under this host name yet";
        return answer::own(worker, client, StatusCode::SERVICE_UNAVAILABLE, text);
    };
    let body = if body.is_end_stream() { RequestBody::Empty } else { RequestBody::Client(body) };
    let tally = Tally::new(client, routed.counters(), started);
    let exchange = Exchange {
        worker,
        client,
        tally,
        nature,
        hold: Hold::new(started),
        retried: false,
        spurned: false,
    };
    exchange.run(Request::from_parts(parts, body)).await
}

fn host(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}

/// How one attempt ended.
enum Attempt {
    /// The head of an answer is there.
    Answered(Response<Incoming>, Box<Upstream>),
    /// Nothing was sent, the request is whole: any other connection will do.
    Unsent(Request<RequestBody>),
    /// It was sent, and the connection ended without an answer.
    Broken(hyper::Error),
    /// The connection was stopped from outside.
    Stopped(Stop),
}

/// A request without a body, kept to be sent a second time.
struct Copy {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Copy {
    fn of(request: &Request<RequestBody>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        }
    }

    fn into_request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
}

struct Exchange<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Rc<ClientSide>,
    tally: Tally,
    nature: Nature,
    hold: Hold,
    retried: bool,
    /// The last attempt was on a new connection that ended at once.
    spurned: bool,
}

impl Exchange<'_> {
    async fn run(mut self, mut request: Request<RequestBody>) -> Response<AnswerBody> {
        let repeatable = self.nature.idempotent && matches!(request.body(), RequestBody::Empty);
        loop {
            let upstream = match self.connect(&request, repeatable && !self.retried).await {
                Ok(upstream) => upstream,
                Err(answer) => return answer,
            };
            let copy = (repeatable && !self.retried).then(|| Copy::of(&request));
            match self.attempt(request, upstream).await {
                Attempt::Answered(answer, upstream) => return self.pass(answer, upstream).await,
                Attempt::Unsent(whole) => request = whole,
                Attempt::Broken(error) => match copy {
                    Some(copy) if !error.is_parse() => {
                        self.retried = true;
                        request = copy.into_request();
                    }
                    _ => return self.broken(&error),
                },
                Attempt::Stopped(stop) => return self.stopped(stop),
            }
        }
    }

    /// A connection to an instance of the table in force, however long the route allows to wait.
    async fn connect(
        &mut self,
        request: &Request<RequestBody>,
        repeatable: bool,
    ) -> Result<Box<Upstream>, Response<AnswerBody>> {
        self.client.enter(Phase::Seeking, self.worker.now());
        loop {
            self.tally.give(None);
            let generation = self.worker.shared.generation();
            let Some(routed) = self.worker.route(host(request.headers())) else {
                return Err(self.lost(StatusCode::SERVICE_UNAVAILABLE, "its route was taken away"));
            };
            self.tally.move_to(routed.counters());
            let found = match self.pick(&routed) {
                _ if std::mem::take(&mut self.spurned) => Err(NoConnection::Unreachable),
                None => Err(NoConnection::Unreachable),
                Some(pool) => self.connection_of(&pool, repeatable).await,
            };
            match found {
                Ok(upstream) => return Ok(upstream),
                Err(NoConnection::TableChanged) => {}
                Err(NoConnection::Unreachable) => {
                    if !routed.has_another()
                        && !self.hold.wait(self.worker, &routed, generation).await
                    {
                        return Err(self.unreachable(&routed));
                    }
                }
                Err(NoConnection::QueueFull | NoConnection::QueueTimeout) => {
                    let text = "all connections to the app are busy";
                    return Err(self.lost(StatusCode::SERVICE_UNAVAILABLE, text));
                }
            }
            if let Some(stop) = self.client.take_answerable_stop() {
                return Err(self.stopped(stop));
            }
        }
    }

    /// Chooses an instance and counts into it. Whoever stops instances reads that number after a
    /// switch; so it is raised first and the table compared again afterwards.
    fn pick(&mut self, routed: &Routed) -> Option<Rc<Pool>> {
        let pool = routed.least_busy()?;
        self.tally.give(Some(InFlight::new(&pool.instance)));
        Some(pool)
    }

    async fn connection_of(
        &mut self,
        pool: &Rc<Pool>,
        repeatable: bool,
    ) -> Result<Box<Upstream>, NoConnection> {
        if self.worker.is_stale() {
            return Err(NoConnection::TableChanged);
        }
        let shared = &self.worker.shared;
        let changed = self.worker.table_change();
        pool.connection(&shared.limits, shared.workers.len(), repeatable, changed).await
    }

    async fn attempt(
        &mut self,
        request: Request<RequestBody>,
        mut upstream: Box<Upstream>,
    ) -> Attempt {
        self.client.enter(Phase::Waiting, self.worker.now());
        let sent = upstream.sender.try_send_request(request);
        let mut sent = std::pin::pin!(sent);
        let ended = poll_fn(|cx| {
            upstream.drive(cx);
            if let Poll::Ready(result) = sent.as_mut().poll(cx) {
                return Poll::Ready(Ok(result));
            }
            match self.client.take_answerable_stop() {
                Some(stop) => Poll::Ready(Err(stop)),
                None => Poll::Pending,
            }
        });
        match ended.await {
            Ok(Ok(answer)) => Attempt::Answered(answer, upstream),
            Ok(Err(mut error)) => match error.take_message() {
                Some(request) => {
                    self.spurned = upstream.ended_unused();
                    Attempt::Unsent(request)
                }
                None => Attempt::Broken(error.into_error()),
            },
            Err(stop) => Attempt::Stopped(stop),
        }
    }

    async fn pass(
        mut self,
        answer: Response<Incoming>,
        upstream: Box<Upstream>,
    ) -> Response<AnswerBody> {
        let (mut parts, body) = answer.into_parts();
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch_protocols(parts, upstream).await;
        }
        self.tally.answered_with(parts.status);
        self.client.enter(Phase::Answering, self.worker.now());
        forward::answer(&mut parts.headers);
        parts.version = http::Version::HTTP_11;
        let Self { worker, client, tally, .. } = self;
        let mut passed = Some((body, upstream, tally));
        let body = poll_fn(|cx: &mut Context<'_>| {
            let (body, upstream, tally) = passed.take().expect("polled once, it is ready at once");
            Poll::Ready(AnswerBody::passing(worker, client, body, upstream, tally, cx))
        });
        Response::from_parts(parts, body.await)
    }

    /// Takes the instance's socket out of hyper and leaves it with the client's connection, which
    /// takes it over once the 101 has gone out.
    async fn switch_protocols(
        mut self,
        mut parts: http::response::Parts,
        mut upstream: Box<Upstream>,
    ) -> Response<AnswerBody> {
        if !self.nature.upgrade {
            return self.lost(StatusCode::BAD_GATEWAY, "the app changed the protocol unasked");
        }
        poll_fn(|cx| {
            upstream.drive(cx);
            if upstream.is_over() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let (Some(instance), Some(rest)) = (self.tally.instance(), upstream.into_rest()) else {
            return self.lost(StatusCode::BAD_GATEWAY, "the app is gone");
        };
        let open = OpenTunnel::new(&instance);
        let far = FarEnd { stream: rest.io.0, early: rest.read_buf, open };
        *self.client.far_end.borrow_mut() = Some(far);
        forward::switching(&mut parts.headers);
        parts.extensions.clear();
        self.tally.finish(Instant::now());
        Response::from_parts(parts, AnswerBody::empty(self.worker, self.client))
    }

    fn broken(mut self, error: &hyper::Error) -> Response<AnswerBody> {
        if self.client.body_is_open() && error.is_user() {
            // The client's own body broke off; nobody is there to read this.
            self.tally.aborted();
            let text = "the request's body broke off";
            return answer::last(self.worker, self.client, StatusCode::BAD_REQUEST, text);
        }
        let text = if error.is_parse() {
            "the app's answer is not HTTP"
        } else {
            "the app closed the connection without an answer"
        };
        self.lost(StatusCode::BAD_GATEWAY, text)
    }

    fn unreachable(&mut self, routed: &Routed) -> Response<AnswerBody> {
        if routed.is_empty() {
            self.lost(StatusCode::SERVICE_UNAVAILABLE, "the app runs nowhere at the moment")
        } else {
            self.lost(StatusCode::BAD_GATEWAY, "the app takes no connections")
        }
    }

    fn stopped(&mut self, stop: Stop) -> Response<AnswerBody> {
        match stop {
            Stop::Cut => {
                self.lost(StatusCode::GATEWAY_TIMEOUT, "the app was stopped before it answered")
            }
            Stop::AnswerOverdue | Stop::Close => {
                self.lost(StatusCode::GATEWAY_TIMEOUT, "the app didn't answer in time")
            }
        }
    }

    /// An answer that the proxy had to make because no instance did.
    fn lost(&mut self, status: StatusCode, text: &str) -> Response<AnswerBody> {
        self.tally.lost();
        answer::own(self.worker, self.client, status, text)
    }
}
