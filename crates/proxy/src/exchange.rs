//! One request and its answer: find an instance, send, retry what may be retried, pass the answer.

use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::{Duration, Instant};

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
    match Exchange::new(worker, client, request) {
        Ok(mut exchange) => exchange.run().await,
        Err(unrouted) => unrouted,
    }
}

fn host(headers: &HeaderMap) -> &str {
    headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("")
}

/// How one attempt ended.
enum Attempt {
    /// The head of an answer is there.
    Answered(Response<Incoming>),
    /// Nothing was sent, the request is whole: any other connection will do.
    Unsent(Request<RequestBody>),
    /// It was sent, and the connection ended without an answer.
    Broken(hyper::Error),
    /// The connection was stopped from outside.
    Stopped(Stop),
}

/// Why there is no answer of an instance: what the proxy says instead.
type Failure = (StatusCode, &'static str);

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
    /// Closed by whoever ends the exchange; moves into the answer's body when there is one.
    tally: Option<Tally>,
    /// Present except while an instance has it.
    request: Option<Request<RequestBody>>,
    copy: Option<Copy>,
    nature: Nature,
    hold: Hold,
    retried: bool,
    /// The last attempt was on a new connection that ended at once.
    spurned: bool,
}

impl<'a> Exchange<'a> {
    fn new(
        worker: &'a Rc<Worker>,
        client: &'a Rc<ClientSide>,
        request: Request<Incoming>,
    ) -> Result<Self, Response<AnswerBody>> {
        let started = Instant::now();
        let (mut parts, body) = request.into_parts();
        let nature = forward::request(&mut parts, client);
        let Some(routed) = worker.route(host(&parts.headers)) else {
            worker.shared.unrouted.fetch_add(1, Relaxed);
            let text = "this proxy runs, but nothing is deployed under this host name yet";
            return Err(answer::own(worker, client, StatusCode::SERVICE_UNAVAILABLE, text));
        };
        let empty = body.is_end_stream();
        let body = if empty { RequestBody::Empty } else { RequestBody::Client(body) };
        Ok(Self {
            worker,
            client,
            tally: Some(Tally::new(client, routed.counters(), started)),
            request: Some(Request::from_parts(parts, body)),
            copy: None,
            nature,
            hold: Hold::new(started),
            retried: false,
            spurned: false,
        })
    }

    async fn run(&mut self) -> Response<AnswerBody> {
        loop {
            let mut upstream = match self.connect().await {
                Ok(upstream) => upstream,
                Err((status, text)) => return self.lost(status, text),
            };
            match self.attempt(&mut upstream).await {
                Attempt::Answered(answer) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    return Box::pin(self.switch_protocols(answer, upstream)).await;
                }
                Attempt::Answered(answer) => return self.pass(answer, upstream),
                Attempt::Unsent(whole) => self.request = Some(whole),
                Attempt::Broken(error) => match self.copy.take().filter(|_| !error.is_parse()) {
                    Some(copy) => {
                        self.retried = true;
                        self.request = Some(copy.into_request());
                    }
                    None => return self.broken(&error),
                },
                Attempt::Stopped(stop) => {
                    let (status, text) = stopped(stop);
                    return self.lost(status, text);
                }
            }
        }
    }

    /// Whether the request may be sent a second time if no answer comes.
    fn is_repeatable(&self) -> bool {
        let empty = self
            .request
            .as_ref()
            .is_some_and(|request| matches!(request.body(), RequestBody::Empty));
        self.nature.idempotent && !self.retried && empty
    }

    fn route(&self) -> Option<Routed> {
        self.worker.route(self.request.as_ref().map_or("", |request| host(request.headers())))
    }

    /// A connection to an instance of the table in force, however long the route allows to wait.
    async fn connect(&mut self) -> Result<Box<Upstream>, Failure> {
        let limits = &self.worker.shared.limits;
        let within = if self.is_repeatable() {
            limits.upstream_idle_within
        } else {
            limits.unrepeatable_idle_within
        };
        self.client.enter(Phase::Seeking, self.worker.now());
        loop {
            let generation = self.worker.shared.generation();
            let Some(routed) = self.route() else {
                return Err((StatusCode::SERVICE_UNAVAILABLE, "its route was taken away"));
            };
            let pool = self.pick(&routed);
            let found = match pool {
                _ if std::mem::take(&mut self.spurned) => Err(NoConnection::Unreachable),
                None => Err(NoConnection::Unreachable),
                Some(_) if self.worker.is_stale() => Err(NoConnection::TableChanged),
                Some(pool) => match pool.take_idle(within) {
                    Some(upstream) => return Ok(upstream),
                    None => Box::pin(self.new_connection(&pool, within)).await,
                },
            };
            match found {
                Ok(upstream) => return Ok(upstream),
                Err(NoConnection::TableChanged) => {}
                Err(NoConnection::Unreachable) => self.wait(&routed, generation).await?,
                Err(NoConnection::QueueFull | NoConnection::QueueTimeout) => {
                    let text = "all connections to the app are busy";
                    return Err((StatusCode::SERVICE_UNAVAILABLE, text));
                }
            }
            if let Some(stop) = self.client.take_answerable_stop() {
                return Err(stopped(stop));
            }
        }
    }

    /// Chooses an instance and counts into it. Whoever stops instances reads that number after a
    /// switch; so it is raised first and the table compared again afterwards.
    fn pick(&mut self, routed: &Routed) -> Option<Rc<Pool>> {
        let pool = routed.least_busy();
        if let Some(tally) = &mut self.tally {
            tally.move_to(routed.counters());
            tally.give(pool.as_ref().map(|pool| InFlight::new(&pool.instance)));
        }
        pool
    }

    async fn new_connection(
        &self,
        pool: &Rc<Pool>,
        within: Duration,
    ) -> Result<Box<Upstream>, NoConnection> {
        let shared = &self.worker.shared;
        let changed = self.worker.table_change();
        if self.worker.is_stale() {
            return Err(NoConnection::TableChanged);
        }
        pool.connection(&shared.limits, shared.workers.len(), within, changed).await
    }

    /// Nobody answered the door: tries another, or holds the request for a moment.
    async fn wait(&mut self, routed: &Routed, generation: u64) -> Result<(), Failure> {
        if routed.has_another() {
            return Ok(());
        }
        if Box::pin(self.hold.wait(self.worker, routed, generation)).await {
            return Ok(());
        }
        Err(if routed.is_empty() {
            (StatusCode::SERVICE_UNAVAILABLE, "the app runs nowhere at the moment")
        } else {
            (StatusCode::BAD_GATEWAY, "the app takes no connections")
        })
    }

    async fn attempt(&mut self, upstream: &mut Upstream) -> Attempt {
        self.copy = match &self.request {
            Some(request) if self.is_repeatable() => Some(Copy::of(request)),
            _ => None,
        };
        let request = self.request.take().expect("every way back to here puts it back");
        self.client.enter(Phase::Waiting, self.worker.now());
        let mut sent = std::pin::pin!(upstream.sender.try_send_request(request));
        let result = poll_fn(|cx| {
            let result = self.client.muffler.run(cx, |cx| {
                upstream.drive(cx);
                sent.as_mut().poll(cx)
            });
            match self.client.take_answerable_stop() {
                Some(stop) if result.is_pending() => Poll::Ready(Err(stop)),
                _ => result.map(Ok),
            }
        });
        match result.await {
            Ok(Ok(answer)) => Attempt::Answered(answer),
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

    fn pass(
        &mut self,
        answer: Response<Incoming>,
        upstream: Box<Upstream>,
    ) -> Response<AnswerBody> {
        let (mut parts, body) = answer.into_parts();
        let mut tally = self.tally.take().expect("an exchange is answered once");
        tally.answered_with(parts.status);
        self.client.enter(Phase::Answering, self.worker.now());
        forward::answer(&mut parts.headers);
        parts.version = http::Version::HTTP_11;
        let body = AnswerBody::passing(self.worker, self.client, body, upstream, tally);
        Response::from_parts(parts, body)
    }

    /// Takes the instance's socket out of hyper and leaves it with the client's connection, which
    /// takes it over once the 101 has gone out.
    async fn switch_protocols(
        &mut self,
        answer: Response<Incoming>,
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
        let instance = self.tally.as_ref().and_then(Tally::instance);
        let (Some(instance), Some(rest)) = (instance, upstream.into_rest()) else {
            return self.lost(StatusCode::BAD_GATEWAY, "the app is gone");
        };
        let (mut parts, _) = answer.into_parts();
        let open = OpenTunnel::new(&instance);
        let far = FarEnd { stream: rest.io.0, early: rest.read_buf, open };
        *self.client.far_end.borrow_mut() = Some(far);
        forward::switching(&mut parts.headers);
        parts.extensions.clear();
        if let Some(tally) = &mut self.tally {
            tally.finish(Instant::now());
        }
        Response::from_parts(parts, AnswerBody::empty(self.worker, self.client))
    }

    fn broken(&mut self, error: &hyper::Error) -> Response<AnswerBody> {
        if self.client.body_is_open() && error.is_user() {
            // The client's own body broke off; nobody is there to read this.
            if let Some(tally) = &mut self.tally {
                tally.aborted();
            }
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

    /// An answer that the proxy had to make because no instance did.
    fn lost(&mut self, status: StatusCode, text: &str) -> Response<AnswerBody> {
        if let Some(tally) = &mut self.tally {
            tally.lost();
        }
        answer::own(self.worker, self.client, status, text)
    }
}

fn stopped(stop: Stop) -> Failure {
    let text = match stop {
        Stop::Cut => "the app was stopped before it answered",
        Stop::AnswerOverdue | Stop::Close => "the app didn't answer in time",
    };
    (StatusCode::GATEWAY_TIMEOUT, text)
}
