//! One request at a time, with an answer that says what is known afterwards.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::client::{
    ClientOptions, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse,
    HttpService, ReqwestConnector,
};
use object_store::path::Path;
use object_store::{
    GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig,
    UpdateVersion,
};
use tokio::runtime::Runtime;

/// How long one request may take, its body included: a document of the largest size over a slow
/// line.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that were idle for longer are not used again: many stores close them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How often something is tried that may be repeated.
pub(super) const TRIES: u32 = 6;
/// After this time nothing is tried again.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// The first pause between two tries; each is twice the one before, give or take a half.
const PAUSE: Duration = Duration::from_millis(40);
/// Why a write without any other writer was not taken.
pub(super) const BUSY: &str = "somebody else writes it at the same time";
/// How much of an answer that is an error is shown.
const REASON_BYTES_MAX: usize = 300;

/// What tells one content of an object from every other.
#[derive(Debug, Clone)]
pub(super) struct Version(UpdateVersion);

impl Version {
    /// The ETag, when the store gave one.
    pub(super) fn etag(&self) -> Option<&str> {
        self.0.e_tag.as_deref()
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        let numbers = a.version.is_none() || b.version.is_none() || a.version == b.version;
        a.e_tag == b.e_tag && numbers
    }
}

/// An object as it was read.
#[derive(Debug, Clone)]
pub(super) struct Object {
    /// Its content.
    pub(super) bytes: Vec<u8>,
    /// Its version.
    pub(super) version: Version,
}

/// When an object may be written.
#[derive(Debug, Clone)]
pub(super) enum When {
    /// When there is none.
    Absent,
    /// When it still has this version.
    Is(Version),
    /// Always.
    Always,
}

/// What one attempt to write came to.
#[derive(Debug)]
pub(super) enum Put {
    /// It happened.
    Done(Version),
    /// The condition does not hold, or somebody else is writing just now.
    Unmet,
    /// It did not happen: the request never left, or was refused as a whole.
    Refused(Reason),
    /// It may have happened, or may happen later.
    Unknown(Reason),
}

/// Why a request failed.
#[derive(Debug, Clone)]
pub(super) struct Reason {
    /// What the store or the system said.
    pub(super) text: String,
    /// Whether it makes sense to try again.
    pub(super) passing: bool,
    /// The store says that it happened, and not what every success says: the version.
    pub(super) answered_with_success: bool,
}

impl Reason {
    /// A reason that passes.
    pub(super) fn passing(text: &str) -> Self {
        Self { text: text.to_owned(), passing: true, answered_with_success: false }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The way to a bucket.
///
/// It has a runtime of its own, on the thread of whoever asks. So it must not be used inside of
/// another one.
#[derive(Debug)]
pub(super) struct Wire {
    runtime: Runtime,
    store: Box<dyn ObjectStore>,
    requests: Arc<AtomicU64>,
}

impl Wire {
    /// The way through a store that was built with [`Watched::new`], [`options`] and
    /// [`no_retries`].
    pub(super) fn new(store: Box<dyn ObjectStore>, watched: &Watched) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime, store, requests: Arc::clone(&watched.requests) })
    }

    /// How many requests were made.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Reads an object; tries again while that makes sense.
    pub(super) fn get(&self, path: &str) -> Result<Option<Object>, Reason> {
        patiently(|| self.run(get(&*self.store, path)))
    }

    /// Reads two objects at once; tries again while that makes sense.
    pub(super) fn get_two(
        &self,
        one: &str,
        two: &str,
    ) -> Result<(Option<Object>, Option<Object>), Reason> {
        patiently(|| {
            self.run(async {
                let (one, two) =
                    tokio::join!(get(&*self.store, one), scoped(get(&*self.store, two)));
                Ok((one?, two?))
            })
        })
    }

    /// Tries once to write an object.
    pub(super) fn put_once(&self, path: &str, bytes: &[u8], when: &When) -> Put {
        let mode = match when {
            When::Absent => PutMode::Create,
            When::Is(version) => PutMode::Update(version.0.clone()),
            When::Always => PutMode::Overwrite,
        };
        let payload = PutPayload::from(bytes.to_vec());
        self.run(async {
            let path = Path::from(path);
            let put = self.store.put_opts(&path, payload, PutOptions::from(mode)).await;
            match put {
                Ok(done) => {
                    Put::Done(Version(UpdateVersion { e_tag: done.e_tag, version: done.version }))
                }
                Err(error) => not_put(&error),
            }
        })
    }

    /// The names of the objects directly or further below `prefix`, without it.
    pub(super) fn list(&self, prefix: &str) -> Result<Vec<String>, Reason> {
        patiently(|| {
            self.run(async {
                let path = Path::from(prefix);
                let mut names = Vec::new();
                // One request for each thousand; nothing more is asked of a list than its names.
                let found = self.store.list_with_delimiter(Some(&path)).await;
                let found = found.map_err(|error| reason(&error))?;
                names.extend(
                    found
                        .objects
                        .into_iter()
                        .filter_map(|object| object.location.filename().map(ToOwned::to_owned)),
                );
                Ok(names)
            })
        })
    }

    /// Removes an object, when that is allowed.
    pub(super) fn delete(&self, path: &str) -> Result<(), Reason> {
        self.run(async {
            let deleted = self.store.delete(&Path::from(path)).await;
            deleted.map_err(|error| reason(&error))
        })
    }

    fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(scoped(what))
    }
}

/// Tries again while the reason passes.
pub(super) fn patiently<T>(mut what: impl FnMut() -> Result<T, Reason>) -> Result<T, Reason> {
    let began = Instant::now();
    for n in 1..TRIES {
        match what() {
            Err(reason) if reason.passing && began.elapsed() < PATIENCE => pause(n),
            other => return other,
        }
    }
    what()
}

/// The pause after the `n`-th try.
pub(super) fn pause(n: u32) {
    let longest = PAUSE * 2u32.saturating_pow(n.min(TRIES));
    let share = u32::try_from(RandomState::new().hash_one(n) % 1000).unwrap_or(500);
    std::thread::sleep(longest / 2 + longest / 2 * share / 1000);
}

async fn get(store: &dyn ObjectStore, path: &str) -> Result<Option<Object>, Reason> {
    let found = match store.get_opts(&Path::from(path), GetOptions::default()).await {
        Ok(found) => found,
        Err(object_store::Error::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(reason(&error)),
    };
    let version =
        UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
    let bytes = found.bytes().await.map_err(|error| reason(&error))?;
    Ok(Some(Object { bytes: bytes.to_vec(), version: Version(version) }))
}

fn not_put(error: &object_store::Error) -> Put {
    use object_store::Error;
    match error {
        Error::AlreadyExists { .. } | Error::Precondition { .. } | Error::NotModified { .. } => {
            Put::Unmet
        }
        _ => match (reason(error), happened()) {
            (reason, Happened::No) => Put::Refused(reason),
            (reason, Happened::Perhaps) => Put::Unknown(reason),
        },
    }
}

/// Whether a request that failed may have changed something.
enum Happened {
    No,
    Perhaps,
}

fn happened() -> Happened {
    match last_answer() {
        Answer::None | Answer::NoConnection => Happened::No,
        Answer::Status(status) if is_refusal(status) => Happened::No,
        Answer::Status(_) | Answer::Broken => Happened::Perhaps,
    }
}

/// Whether the status says that the request as a whole is refused, before anything was done.
/// Overload and time-outs say nothing: stores have answered so after they had written.
fn is_refusal(status: u16) -> bool {
    ((300..500).contains(&status) && !matches!(status, 408 | 429)) || status == 501
}

fn reason(error: &object_store::Error) -> Reason {
    let passing = match last_answer() {
        Answer::None => false,
        Answer::NoConnection | Answer::Broken => true,
        Answer::Status(status) => !is_refusal(status),
    };
    let answered_with_success =
        matches!(last_answer(), Answer::Status(status) if (200..300).contains(&status));
    Reason { text: explained(&error.to_string()), passing, answered_with_success }
}

/// The error in one short line: of an XML answer its code and message.
fn explained(text: &str) -> String {
    let inside = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0.trim().to_owned())
    };
    let text = match (last_answer(), inside("Code"), inside("Message")) {
        (Answer::Status(status), Some(code), message) => {
            let message = message.map_or_else(String::new, |message| format!(": {message}"));
            format!("the store answered {status} {code}{message}")
        }
        (Answer::NoConnection, ..) => format!("no connection: {text}"),
        _ => text.to_owned(),
    };
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    line.truncate(line.floor_char_boundary(REASON_BYTES_MAX));
    line
}

/// The last thing that came back in this task.
#[derive(Debug, Clone, Copy)]
enum Answer {
    /// Nothing was sent.
    None,
    /// There was nobody to send it to.
    NoConnection,
    /// The connection broke, or the time was over.
    Broken,
    /// The store's status.
    Status(u16),
}

tokio::task_local! {
    static ANSWER: Cell<Answer>;
}

fn last_answer() -> Answer {
    ANSWER.try_with(Cell::get).unwrap_or(Answer::None)
}

async fn scoped<T>(what: impl Future<Output = T>) -> T {
    ANSWER.scope(Cell::new(Answer::None), what).await
}

/// Makes connections whose answers are remembered and counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Watched {
    requests: Arc<AtomicU64>,
}

impl HttpConnector for Watched {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(WatchedService { inner, requests: Arc::clone(&self.requests) }))
    }
}

#[derive(Debug)]
struct WatchedService {
    inner: HttpClient,
    requests: Arc<AtomicU64>,
}

#[async_trait]
impl HttpService for WatchedService {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let result = self.inner.execute(request).await;
        let answer = match &result {
            Ok(response) => Answer::Status(response.status().as_u16()),
            Err(error) if error.kind() == HttpErrorKind::Connect => Answer::NoConnection,
            Err(_) => Answer::Broken,
        };
        let _ = ANSWER.try_with(|last| last.set(answer));
        result
    }
}

/// How requests are made.
pub(super) fn options(plain: bool) -> ClientOptions {
    ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_pool_idle_timeout(IDLE_TIMEOUT)
        .with_allow_http(plain)
}

/// The library repeats nothing by itself.
pub(super) fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, ..RetryConfig::default() }
}
