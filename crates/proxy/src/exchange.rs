//! One request and its answer: find an instance, send, retry what may be retried, pass the answer.

use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::{Body, Incoming};

use crate::answer::{self, AnswerBody, InFlight, Tally};
use crate::client_side::{ClientSide, Phase, Stop};
use crate::fleet::{self, Missed};
use crate::forward::{self, Nature};
use crate::hold::Hold;
use crate::pool::{NoConnection, Pool};
use crate::reading::Head;
use crate::reception::{self, host};
use crate::routing::Routed;
use crate::slim::slim;
use crate::tunnel::{FarEnd, OpenTunnel};
use crate::upload::Upload;
use crate::upstream::{Broken, Upstream};
use crate::worker::Worker;

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
        None => reception::receive(&worker, &client, request.map(Upload::Http1)).await,
    };
    if worker.shared.stage().is_closing() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

/// How one attempt ended.
enum Attempt {
    /// The head of an answer is there.
    Answered(Head),
    /// Nothing was sent: any other connection will do.
    Unsent,
    /// It was sent, at least in part, and there is no answer.
    Broken(Broken),
    /// The connection was stopped from outside.
    Stopped(Stop),
}

/// Why there is no answer of an instance: what the proxy says instead.
type Failure = (StatusCode, &'static str);

pub(crate) struct Exchange<'a> {
    worker: &'a Rc<Worker>,
    client: &'a Rc<ClientSide>,
    /// Closed by whoever ends the exchange; moves into the answer's body when there is one.
    tally: Option<Tally>,
    request: Parts,
    /// Gone once an instance has got it; only a request without one can be sent twice.
    body: Option<Upload>,
    empty: bool,
    nature: Nature,
    /// Bytes of the path that the route keeps from the app.
    skip: usize,
    /// Longest body that the route takes.
    most: Option<u64>,
    hold: Hold,
    /// Of which fleet the proxy of another server passed it on: an instance of this one answers.
    of_fleet: Option<HeaderValue>,
    /// An instance may have seen some of it.
    sent: bool,
    retried: bool,
    /// The last attempt was on a new connection that ended at once.
    spurned: bool,
}

impl<'a> Exchange<'a> {
    #[expect(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(crate) fn new(
        worker: &'a Rc<Worker>,
        client: &'a Rc<ClientSide>,
        request: Parts,
        body: Upload,
        nature: Nature,
        tally: Tally,
        of_fleet: Option<HeaderValue>,
        started: Instant,
    ) -> Self {
        let empty = body.is_over();
        Self {
            worker,
            client,
            tally: Some(tally),
            request,
            body: (!empty).then_some(body),
            empty,
            nature,
            skip: 0,
            most: None,
            hold: Hold::new(started),
            of_fleet,
            sent: false,
            retried: false,
            spurned: false,
        }
    }

    pub(crate) async fn run(&mut self) -> Response<AnswerBody> {
        loop {
            let mut upstream = match self.connect().await {
                Ok(upstream) => upstream,
                Err((status, text)) => return self.lost(status, text),
            };
            match self.attempt(&mut upstream).await {
                Attempt::Answered(head) if upstream.is_peer() && missed(&head).is_some() => {
                    self.body = upstream.take_body_back();
                    if missed(&head) == Some(Missed::Lost) || !self.has_whole_body() {
                        return self.lost(head.status, "no server has an answer of the app");
                    }
                    upstream.pass_over();
                    self.spurned = true;
                }
                Attempt::Answered(head) if head.status == StatusCode::SWITCHING_PROTOCOLS => {
                    return self.switch_protocols(head, *upstream);
                }
                Attempt::Answered(head) => return self.pass(head, upstream),
                Attempt::Unsent => {}
                Attempt::Broken(broken) => {
                    self.body = upstream.take_body_back();
                    let again = self.nature.idempotent && !self.retried && self.has_whole_body();
                    if broken != Broken::Closed || !again {
                        return self.broken(broken);
                    }
                    self.retried = true;
                }
                Attempt::Stopped(stop) => {
                    let (status, text) = stopped(stop);
                    return self.lost(status, text);
                }
            }
        }
    }

    /// Whether the request may be sent a second time if no answer comes.
    fn is_repeatable(&self) -> bool {
        self.nature.idempotent && !self.retried && self.empty
    }

    /// Whether nothing of the body has been given away.
    fn has_whole_body(&self) -> bool {
        self.empty || self.body.is_some()
    }

    fn is_of_peer(&self) -> bool {
        self.of_fleet.is_some()
    }

    fn route(&self) -> Option<Routed> {
        if let Some(key) = &self.of_fleet {
            return self.worker.route_of_fleet(key);
        }
        let (host, path) = (host(&self.request.headers), self.request.uri.path());
        self.worker.route(host, path).map(|(routed, _)| routed)
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
                    None => {
                        slim(&mut self.request);
                        Box::pin(self.new_connection(&pool, within)).await
                    }
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
        let pool = routed.least_busy(self.is_of_peer());
        if let Some(key) = routed.key() {
            let to_peer = pool.as_ref().is_some_and(|pool| pool.instance.peer);
            fleet::address(&mut self.request.headers, to_peer.then_some(key), !self.empty);
        }
        if let Some(tally) = &mut self.tally {
            tally.move_to(routed.counters());
            tally.give(pool.as_ref().map(|pool| InFlight::new(&pool.instance)));
        }
        // A peer chooses its route by the whole path, as this proxy did.
        let to_peer = pool.as_ref().is_some_and(|pool| pool.instance.peer);
        self.skip = if to_peer { 0 } else { routed.skip() };
        self.most = routed.route().limits.body_bytes;
        if self.skip > 0 {
            forward::below(&mut self.request.headers, &routed.route().path);
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
        if routed.has_another(self.is_of_peer()) {
            return Ok(());
        }
        // What a peer passed on is better off on another server.
        if !self.is_of_peer() && Box::pin(self.hold.wait(self.worker, routed, generation)).await {
            return Ok(());
        }
        Err(if routed.is_empty(self.is_of_peer()) {
            (StatusCode::SERVICE_UNAVAILABLE, "the app runs nowhere at the moment")
        } else {
            (StatusCode::BAD_GATEWAY, "the app takes no connections")
        })
    }

    async fn attempt(&mut self, upstream: &mut Upstream) -> Attempt {
        self.client.enter(Phase::Waiting, self.worker.now());
        let Self { request, body, spurned, client, sent, skip, most, .. } = self;
        let mut asked = false;
        poll_fn(|cx| {
            if !asked && !upstream.ask(cx, request, *skip, body, *most) {
                *spurned = upstream.ended_unused();
                return Poll::Ready(Attempt::Unsent);
            }
            (asked, *sent) = (true, true);
            let result = upstream.poll_answer(cx, &request.method);
            match client.take_answerable_stop() {
                Some(stop) if result.is_pending() => Poll::Ready(Attempt::Stopped(stop)),
                _ => result.map(|result| result.map_or_else(Attempt::Broken, Attempt::Answered)),
            }
        })
        .await
    }

    fn pass(&mut self, head: Head, upstream: Box<Upstream>) -> Response<AnswerBody> {
        let mut tally = self.tally.take().expect("an exchange is answered once");
        tally.answered_with(head.status);
        self.client.enter(Phase::Answering, self.worker.now());
        let body = AnswerBody::passing(self.worker, self.client, upstream, tally);
        let mut answer = Response::new(body);
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        forward::answer(answer.headers_mut());
        if self.is_of_peer() {
            // Only this proxy may say that no instance answered.
            answer.headers_mut().remove(fleet::HOP);
        }
        answer
    }

    /// Leaves the instance's socket with the client's connection, which takes it over once the 101
    /// has gone out.
    fn switch_protocols(&mut self, mut head: Head, upstream: Upstream) -> Response<AnswerBody> {
        if !self.nature.upgrade {
            return self.lost(StatusCode::BAD_GATEWAY, "the app changed the protocol unasked");
        }
        if !upstream.has_asked() {
            let text = "the app changed the protocol in the middle of a request";
            return self.lost(StatusCode::BAD_GATEWAY, text);
        }
        let Some(instance) = self.tally.as_ref().and_then(Tally::instance) else {
            return self.lost(StatusCode::BAD_GATEWAY, "the app is gone");
        };
        let open = OpenTunnel::new(&instance);
        let (stream, early) = upstream.into_parts();
        *self.client.far_end.borrow_mut() = Some(FarEnd { stream, early, open });
        forward::switching(&mut head.headers);
        if let Some(tally) = &mut self.tally {
            tally.answered_with(head.status);
            tally.finish(Instant::now());
        }
        let mut answer = Response::new(AnswerBody::empty(self.worker, self.client));
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        answer
    }

    fn broken(&mut self, broken: Broken) -> Response<AnswerBody> {
        match broken {
            Broken::Client => {
                // Nobody is there to read this.
                if let Some(tally) = &mut self.tally {
                    tally.aborted();
                }
                let text = "the request's body broke off";
                answer::last(self.worker, self.client, StatusCode::BAD_REQUEST, text)
            }
            Broken::TooLong => {
                if let Some(tally) = &mut self.tally {
                    tally.aborted();
                }
                let text = "the request's body is longer than this app takes";
                answer::last(self.worker, self.client, StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            Broken::NotHttp => self.lost(StatusCode::BAD_GATEWAY, "the app's answer is not HTTP"),
            Broken::Closed => {
                let text = "the app closed the connection without an answer";
                self.lost(StatusCode::BAD_GATEWAY, text)
            }
        }
    }

    /// An answer that the proxy had to make because no instance did.
    fn lost(&mut self, status: StatusCode, text: &str) -> Response<AnswerBody> {
        let mut own = answer::own(self.worker, self.client, status, text);
        if let Some(tally) = &mut self.tally {
            tally.lost_with(status, own.body().size_hint().exact().unwrap_or(0));
        }
        if self.is_of_peer() {
            let missed = if self.sent { Missed::Lost } else { Missed::Unsent };
            missed.tell(own.headers_mut());
        }
        own
    }
}

fn missed(head: &Head) -> Option<Missed> {
    Missed::told(&head.headers)
}

fn stopped(stop: Stop) -> Failure {
    let text = match stop {
        Stop::Cut => "the app was stopped before it answered",
        Stop::AnswerOverdue | Stop::Close => "the app didn't answer in time",
    };
    (StatusCode::GATEWAY_TIMEOUT, text)
}
