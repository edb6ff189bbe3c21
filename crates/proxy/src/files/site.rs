//! The answers of a static site.
//!
//! `GET`, `HEAD` and `OPTIONS`; `index.html` for a directory, `404.html` for what isn't there. No
//! path leads out of the directory, not even through a link, because the kernel itself resolves it
//! beneath (`openat2`). Names that start with a dot are not served, except `.well-known`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, header};
use hyper::body::Bytes;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::body::FileBody;
use super::entry::{Content, Entry, Reading};
use super::negotiate::{self, Condition, Part};
use super::path;
use crate::policy::SiteRules;

/// Bytes of files that all sites of a process keep in memory.
const MEMORY: usize = 64 * 1024 * 1024;
/// Files that one site keeps known, and open when they are large, on one thread.
const KNOWN: usize = 4_096;
const OPEN: usize = 128;

const NO_SNIFFING: HeaderValue = HeaderValue::from_static("nosniff");
const OFFERED: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// Bytes that the sites of this process keep.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// The directory that is served.
#[derive(Debug)]
pub(crate) struct Root {
    directory: File,
    identity: String,
    rules: SiteRules,
    keeps: bool,
}

impl Root {
    /// A directory whose files never change: what was read once is kept.
    pub(crate) fn of_release(site: &crate::policy::Site) -> io::Result<Self> {
        let directory = open_directory(&site.root)?;
        let (identity, rules) = (site.identity.clone(), site.rules.clone());
        Ok(Self { directory, identity, rules, keeps: true })
    }

    /// A directory that may change at any time.
    pub(crate) fn changing(directory: &Path, rules: SiteRules) -> io::Result<Self> {
        let directory = open_directory(directory)?;
        Ok(Self { directory, identity: String::new(), rules, keeps: false })
    }

    /// Opens what lies beneath the root, whatever links are on the way. Doesn't wait for the other
    /// end of a named pipe.
    fn open(&self, path: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&self.directory, path, flags, Mode::empty(), resolve)?;
        Ok(File::from(opened))
    }

    /// What is at a path. May wait for the disk.
    fn find(&self, wanted: &str) -> Found {
        let index = format!("{wanted}index.html");
        let path = if wanted.is_empty() || wanted.ends_with('/') { &index } else { wanted };
        let Ok(file) = self.open(path) else { return Found::Nothing };
        match file.metadata() {
            Ok(meta) if meta.is_file() => {
                let below = |directory: &String| {
                    path.strip_prefix(directory.as_str()).is_some_and(|rest| rest.starts_with('/'))
                };
                let reading = Reading {
                    identity: &self.identity,
                    path,
                    immutable: self.rules.immutable.iter().any(below),
                    compress: self.keeps,
                };
                let read = reading.entry(file, |sibling| self.open(sibling));
                read.map_or(Found::Nothing, |entry| Found::Entry(Box::new(entry)))
            }
            Ok(meta) if meta.is_dir() => Found::DirectoryWithoutSlash,
            _ => Found::Nothing,
        }
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::open(path, flags, Mode::empty())?))
}

enum Found {
    Entry(Box<Entry>),
    DirectoryWithoutSlash,
    Nothing,
}

/// A site as one thread answers for it.
pub(crate) struct Site {
    pub(crate) root: Arc<Root>,
    known: RefCell<HashMap<Box<str>, Rc<Entry>>>,
    kept: std::cell::Cell<usize>,
    open: std::cell::Cell<usize>,
}

impl Site {
    pub(crate) fn new(root: Arc<Root>) -> Self {
        Self {
            root,
            known: RefCell::default(),
            kept: std::cell::Cell::default(),
            open: std::cell::Cell::default(),
        }
    }

    /// Answers a request for `path`, which is the target's path without what the site is mounted
    /// under. Nearly always at once: only what wasn't asked for before waits for another thread.
    pub(crate) async fn answer(&self, request: &Parts, path: &str) -> Response<FileBody> {
        match request.method {
            Method::GET | Method::HEAD => {}
            Method::OPTIONS => return options(),
            _ => return not_allowed(),
        }
        if path.is_empty() {
            return with_slash(&request.uri);
        }
        let Some(wanted) = path::wanted(path) else { return self.not_found(request).await };
        if let Some(entry) = self.known(&wanted) {
            return of_entry(StatusCode::OK, &entry, &request.method, &request.headers);
        }
        match self.look(&wanted).await {
            Looked::Entry(entry) => {
                of_entry(StatusCode::OK, &entry, &request.method, &request.headers)
            }
            Looked::DirectoryWithoutSlash => with_slash(&request.uri),
            Looked::Nothing if self.root.rules.spa && is_page(&wanted, &request.headers) => {
                self.page("", StatusCode::OK, request).await
            }
            Looked::Nothing => self.not_found(request).await,
        }
    }

    async fn not_found(&self, request: &Parts) -> Response<FileBody> {
        self.page("404.html", StatusCode::NOT_FOUND, request).await
    }

    /// A page that stands for others.
    async fn page(&self, path: &str, status: StatusCode, request: &Parts) -> Response<FileBody> {
        let entry = match self.known(path) {
            Some(entry) => Some(entry),
            None => match self.look(path).await {
                Looked::Entry(entry) => Some(entry),
                Looked::DirectoryWithoutSlash | Looked::Nothing => None,
            },
        };
        match entry {
            Some(entry) => of_entry(status, &entry, &request.method, &request.headers),
            None => text(StatusCode::NOT_FOUND, "there is no such page", &request.method),
        }
    }

    fn known(&self, path: &str) -> Option<Rc<Entry>> {
        self.known.borrow().get(path).cloned()
    }

    async fn look(&self, path: &str) -> Looked {
        let (root, own) = (self.root.clone(), path.to_owned());
        let found = tokio::task::spawn_blocking(move || root.find(&own)).await;
        match found {
            Ok(Found::Entry(entry)) => {
                let entry = Rc::new(*entry);
                self.keep(path, &entry);
                Looked::Entry(entry)
            }
            Ok(Found::DirectoryWithoutSlash) => Looked::DirectoryWithoutSlash,
            Ok(Found::Nothing) | Err(_) => Looked::Nothing,
        }
    }

    /// Keeps a file, unless too much is kept; a site that knows too many starts anew.
    fn keep(&self, path: &str, entry: &Rc<Entry>) {
        if !self.root.keeps {
            return;
        }
        let mut known = self.known.borrow_mut();
        if known.len() >= KNOWN || (entry.holds_files() && self.open.get() >= OPEN) {
            known.clear();
            KEPT.fetch_sub(self.kept.take(), Relaxed);
            self.open.set(0);
        }
        let weight = entry.weight();
        if KEPT.fetch_add(weight, Relaxed) + weight > MEMORY {
            KEPT.fetch_sub(weight, Relaxed);
            return;
        }
        self.kept.set(self.kept.get() + weight);
        self.open.set(self.open.get() + usize::from(entry.holds_files()));
        if let Some(twice) = known.insert(path.into(), entry.clone()) {
            // Two requests looked at the same time.
            let twice = twice.weight();
            self.kept.set(self.kept.get() - twice);
            KEPT.fetch_sub(twice, Relaxed);
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.kept.get(), Relaxed);
    }
}

enum Looked {
    Entry(Rc<Entry>),
    DirectoryWithoutSlash,
    Nothing,
}

/// Whether a person may have asked for it by its address: no ending, and a page is taken.
fn is_page(wanted: &str, headers: &HeaderMap) -> bool {
    let name = wanted.rsplit('/').next().unwrap_or(wanted);
    let mut accepts = headers.get_all(header::ACCEPT).iter().peekable();
    let takes_pages = accepts.peek().is_none()
        || accepts.filter_map(|value| value.to_str().ok()).any(|value| {
            value.split(',').any(|one| {
                let kind = one.split(';').next().unwrap_or_default().trim();
                ["text/html", "text/*", "*/*"].contains(&kind)
            })
        });
    !name.contains('.') && takes_pages
}

fn of_entry(
    status: StatusCode,
    entry: &Entry,
    method: &Method,
    asked: &HeaderMap,
) -> Response<FileBody> {
    // A part is always of the file as it is: what clients put together must fit.
    let is_ok = status == StatusCode::OK;
    let wants_part = is_ok && negotiate::wants_part(asked) && *method == Method::GET;
    let coding = if wants_part || !entry.varies() {
        None
    } else {
        negotiate::coding(asked, |coding| entry.offers(coding))
    };
    let variant = entry.variant(coding);
    let condition = if is_ok { negotiate::condition(asked, &variant.etag) } else { Condition::Go };
    let mut answer = Response::new(FileBody::empty());
    let headers = answer.headers_mut();
    headers.reserve(8);
    headers.insert(header::ETAG, variant.etag.clone());
    headers.insert(header::CACHE_CONTROL, entry.caching.clone());
    if entry.varies() {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    match condition {
        Condition::Go => {}
        Condition::NotModified => {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
            return answer;
        }
        Condition::Failed => {
            return text(StatusCode::PRECONDITION_FAILED, "the file is another one now", method);
        }
    }
    headers.insert(header::CONTENT_TYPE, entry.kind.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFFING);
    if is_ok {
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    }
    if let Some(coding) = coding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
    }
    *answer.status_mut() = status;
    let size = variant.content.size();
    let part = if wants_part { negotiate::part(asked, &variant.etag, size) } else { Part::Whole };
    fill(answer, &variant.content, part, method)
}

/// Puts the wanted part of a content into an answer.
fn fill(
    mut answer: Response<FileBody>,
    content: &Content,
    part: Part,
    method: &Method,
) -> Response<FileBody> {
    let size = content.size();
    let (first, length) = match part {
        Part::Whole => (0, size),
        Part::Range(first, last) => {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            content_range(&mut answer, &format!("bytes {first}-{last}/{size}"));
            (first, last - first + 1)
        }
        Part::Nothing => {
            let what = "the file has no such part";
            let mut answer = text(StatusCode::RANGE_NOT_SATISFIABLE, what, method);
            content_range(&mut answer, &format!("bytes */{size}"));
            return answer;
        }
    };
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if *method == Method::HEAD {
        return answer;
    }
    *answer.body_mut() = match content {
        Content::Memory(bytes) => {
            // Both are within the content, which is in memory.
            let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
            FileBody::memory(bytes.slice(at(first)..at(first + length)))
        }
        Content::File(file, _) => FileBody::stream(file, first, length),
    };
    answer
}

fn content_range(answer: &mut Response<FileBody>, text: &str) {
    if let Ok(value) = HeaderValue::from_str(text) {
        answer.headers_mut().insert(header::CONTENT_RANGE, value);
    }
}

fn options() -> Response<FileBody> {
    let mut answer = Response::new(FileBody::empty());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer.headers_mut().insert(header::ALLOW, OFFERED);
    answer
}

fn not_allowed() -> Response<FileBody> {
    let what = "only GET, HEAD and OPTIONS are offered";
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, what, &Method::GET);
    answer.headers_mut().insert(header::ALLOW, OFFERED);
    answer
}

/// Relative links on an index page need the slash. Only the path as it was asked goes into the
/// answer; one that starts with two slashes would name another host.
fn with_slash(uri: &Uri) -> Response<FileBody> {
    let path = format!("/{}/", uri.path().trim_start_matches('/'));
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let what = "the page is at the same path with a slash";
    let mut answer = text(StatusCode::MOVED_PERMANENTLY, what, &Method::GET);
    if let Ok(target) = HeaderValue::from_str(&target) {
        answer.headers_mut().insert(header::LOCATION, target);
    }
    answer
}

fn text(status: StatusCode, text: &str, method: &Method) -> Response<FileBody> {
    let text = Bytes::from(format!("{}: {text}.\n", status.as_u16()));
    let length = HeaderValue::from(text.len());
    let body = if *method == Method::HEAD { FileBody::empty() } else { FileBody::memory(text) };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer.headers_mut().insert(header::CONTENT_LENGTH, length);
    answer
}
