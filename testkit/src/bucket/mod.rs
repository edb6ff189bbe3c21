//! A bucket that really speaks the protocol: an HTTP server on this machine with objects in
//! memory, in the dialects of S3, Google Cloud Storage and Azure, as far as state stores use them.
//!
//! It is strict: conditions are checked and carried out in one step, and what it does not know it
//! refuses. [`Habit`] makes it one of the stores that are not, and [`Trouble`] loses answers.
//!
//! ```no_run
//! use onward_testkit::bucket::{Bucket, Dialect};
//! let bucket = Bucket::start(Dialect::S3);
//! println!("{}", bucket.url("state"));
//! ```

mod dialect;
mod http;
mod objects;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use dialect::Action;
use http::Request;
use objects::Objects;

pub use dialect::Dialect;

/// What a store does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// Nothing.
    Strict,
    /// Answers 501 to writes that have a condition.
    RefusesConditions,
    /// Takes `If-None-Match: *` for an object that is there.
    IgnoresCreate,
    /// Takes `If-Match` with any version.
    IgnoresMatch,
    /// Checks, waits, writes.
    TwoSteps,
    /// Every second read has the content before the last.
    StaleReads,
    /// Acknowledges replacing an object and keeps the old content.
    Drops,
    /// Keeps half of what it acknowledges.
    Truncates,
    /// Gives no ETag.
    NoEtag,
    /// Gives weak ETags.
    WeakEtag,
    /// Gives one ETag for every content.
    SameEtag,
    /// Lists leave out what was created last.
    LateLists,
}

/// What happens to one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    None,
    /// It is carried out, and the connection breaks before the answer.
    AnswerLost,
    /// The connection breaks before it is carried out.
    NeverArrives,
    /// The connection breaks, and it is carried out before the next request is.
    ArrivesLater,
    /// It is carried out, and the answer is this status.
    DoneAndAnswered(u16),
    /// It is not carried out, and the answer is this status.
    OnlyAnswered(u16),
}

/// A request, as trouble is made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// How many came before it.
    pub number: u64,
    /// `GET`, `PUT` …
    pub method: String,
    /// The object's name, or the prefix of a list.
    pub key: String,
}

type Plan = Box<dyn FnMut(&Asked) -> Trouble + Send>;

struct Inside {
    objects: Objects,
    plan: Plan,
    late: Vec<Action>,
    log: Vec<Asked>,
}

struct Shared {
    dialect: Dialect,
    habit: Habit,
    inside: Mutex<Inside>,
    over: AtomicBool,
}

/// A running bucket; it ends when it is dropped.
pub struct Bucket {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Bucket {
    /// A strict bucket.
    pub fn start(dialect: Dialect) -> Self {
        Self::with_habit(dialect, Habit::Strict)
    }

    /// A bucket with a weakness.
    ///
    /// # Panics
    /// When this machine has no free port.
    pub fn with_habit(dialect: Dialect, habit: Habit) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let inside = Mutex::new(Inside {
            objects: Objects::new(habit),
            plan: Box::new(|_| Trouble::None),
            late: Vec::new(),
            log: Vec::new(),
        });
        let shared = Arc::new(Shared { dialect, habit, inside, over: AtomicBool::new(false) });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.over.load(Ordering::Relaxed) {
                    return;
                }
                let serving = Arc::clone(&accepting);
                thread::spawn(move || serving.serve(&stream));
            }
        });
        Self { address, shared }
    }

    /// The URL of a store with this prefix.
    pub fn url(&self, prefix: &str) -> String {
        let endpoint = format!("http://{}", self.address);
        match self.shared.dialect {
            Dialect::S3 => format!("s3://bucket/{prefix}?region=eu-west-1&endpoint={endpoint}"),
            Dialect::Google => format!("gs://bucket/{prefix}?endpoint={endpoint}"),
            Dialect::Azure => format!("az://account/bucket/{prefix}?endpoint={endpoint}"),
        }
    }

    /// The variables that a client of this bucket has in its environment.
    pub fn variable(name: &str) -> Option<String> {
        let value = match name {
            "AWS_ACCESS_KEY_ID" => "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY" => "canary-of-a-secret",
            "AZURE_STORAGE_ACCOUNT_KEY" => "Y2FuYXJ5LW9mLWEtc2VjcmV0",
            _ => return None,
        };
        Some(value.to_owned())
    }

    /// Decides what happens to each request from now on.
    pub fn plan(&self, plan: impl FnMut(&Asked) -> Trouble + Send + 'static) {
        self.inside().plan = Box::new(plan);
    }

    /// The requests so far.
    pub fn log(&self) -> Vec<Asked> {
        self.inside().log.clone()
    }

    /// The names of all objects.
    pub fn keys(&self) -> Vec<String> {
        self.inside().objects.keys()
    }

    /// The content of an object.
    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.inside().objects.content(key)
    }

    /// Puts an object there past everybody, as a person with the cloud's own tools does.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        self.inside().objects.put_by_hand(key, bytes);
    }

    /// Removes an object past everybody.
    pub fn remove(&self, key: &str) {
        self.inside().objects.remove(key);
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.shared.inside()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves one connection until it breaks.
    fn serve(&self, stream: &TcpStream) {
        let _ = stream.set_nodelay(true);
        let Ok(mut reader) = http::Reader::new(stream) else { return };
        while let Some(request) = reader.next() {
            let Some(answer) = self.answer(&request) else { return };
            if http::write(stream, &request, &answer).is_err() {
                return;
            }
        }
    }

    /// The answer; `None` breaks the connection.
    fn answer(&self, request: &Request) -> Option<http::Answer> {
        let action = match self.dialect.read(request) {
            Ok(action) => action,
            Err(refused) => return Some(refused),
        };
        let trouble = {
            let mut inside = self.inside();
            let asked = Asked {
                number: inside.log.len() as u64,
                method: request.method.clone(),
                key: action.key().to_owned(),
            };
            for late in std::mem::take(&mut inside.late) {
                let _ = inside.objects.carry_out(&late);
            }
            inside.log.push(asked.clone());
            (inside.plan)(&asked)
        };
        match trouble {
            Trouble::None => Some(self.dialect.answer(&self.carry_out(&action))),
            Trouble::AnswerLost => {
                self.carry_out(&action);
                None
            }
            Trouble::NeverArrives => None,
            Trouble::ArrivesLater => {
                self.inside().late.push(action);
                None
            }
            Trouble::DoneAndAnswered(status) => {
                self.carry_out(&action);
                Some(http::Answer::error(status, "InternalError"))
            }
            Trouble::OnlyAnswered(status) => Some(http::Answer::error(status, "SlowDown")),
        }
    }

    fn carry_out(&self, action: &Action) -> objects::Result {
        if self.habit == Habit::TwoSteps && matches!(action, Action::Put { .. }) {
            return self.in_two_steps(action);
        }
        self.inside().objects.carry_out(action)
    }

    /// The condition is checked, and the write happens a moment later without it.
    fn in_two_steps(&self, action: &Action) -> objects::Result {
        let holds = self.inside().objects.condition_holds(action);
        if let Err(refused) = holds {
            return refused;
        }
        thread::sleep(objects::BETWEEN_STEPS);
        self.inside().objects.carry_out(&action.without_condition())
    }
}
