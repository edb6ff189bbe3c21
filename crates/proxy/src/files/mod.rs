//! A static site: the files of one directory over HTTP/1.1, for `[process.web] static = "public"`.
//!
//! It stands behind the proxy like any other instance. `GET` and `HEAD` only; `index.html` for a
//! directory, `404.html` for what isn't there. No path leads out of the directory, not even through
//! a link, because the kernel itself resolves it beneath (`openat2`). Names that start with a dot
//! are not served, except `.well-known`. No ranges, no compression, no validators.

mod body;
mod path;
mod types;

use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::TcpListener as StdListener;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use crate::scratch::Socket;
use body::FileBody;

/// Connections at once: the proxy opens 128 at most to one instance.
const MAX_CONNECTIONS: usize = 1_024;
/// After SIGTERM: how long answers that have begun may take.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// Pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// The directory that is served.
struct Site {
    root: File,
}

/// Serves the files of `dir` on one thread until SIGTERM; then finishes the answers that have begun
/// and returns. Files are read when they are asked for: a changed file is served changed.
///
/// # Errors
/// When `dir` can't be opened as a directory, or the listener or the runtime can't be used.
pub fn serve(dir: &Path, listener: StdListener) -> io::Result<()> {
    let root =
        rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let site = Rc::new(Site { root: File::from(root) });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async move {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let mut terminate = signal(SignalKind::terminate())?;
        let places = Rc::new(Semaphore::new(MAX_CONNECTIONS));
        let (ending, end) = watch::channel(false);
        tokio::select! {
            () = accept(&listener, &site, &places, &end) => {}
            _ = terminate.recv() => {}
        }
        drop(listener);
        let _ = ending.send(true);
        let all = places.acquire_many(u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX));
        let _ = tokio::time::timeout(FINISH_WITHIN, all).await;
        Ok(())
    })
}

async fn accept(
    listener: &TcpListener,
    site: &Rc<Site>,
    places: &Rc<Semaphore>,
    end: &watch::Receiver<bool>,
) {
    loop {
        let free = places.acquire().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                drop(free);
                let (site, places, end) = (site.clone(), places.clone(), end.clone());
                tokio::task::spawn_local(async move {
                    let _place = places.acquire().await;
                    connection(site, stream, end).await;
                });
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(site: Rc<Site>, stream: TcpStream, mut end: watch::Receiver<bool>) {
    crate::sockets::prepare(&stream);
    let service = service_fn(move |request| {
        let answer = site.answer(&request);
        std::future::ready(Ok::<_, Infallible>(answer))
    });
    let http = Builder::new().serve_connection(Socket(stream), service);
    let mut http = std::pin::pin!(http);
    tokio::select! {
        _ = &mut http => return,
        _ = end.wait_for(|end| *end) => http.as_mut().graceful_shutdown(),
    }
    let _ = http.await;
}

impl Site {
    fn answer(&self, request: &Request<Incoming>) -> Response<FileBody> {
        let method = request.method();
        if method != Method::GET && method != Method::HEAD {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are offered");
            answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        let wanted = path::wanted(request.uri().path());
        match wanted.map_or(Found::Nothing, |path| self.find(&path)) {
            Found::File(file, size, kind) => file_answer(StatusCode::OK, file, size, kind),
            Found::DirectoryWithoutSlash => with_slash(request),
            Found::Nothing => self.not_found(),
        }
    }

    fn find(&self, path: &str) -> Found {
        let index = format!("{path}index.html");
        let path = if path.is_empty() || path.ends_with('/') { &index } else { path };
        let Ok(file) = self.open(path) else { return Found::Nothing };
        match file.metadata() {
            Ok(meta) if meta.is_file() => Found::File(file, meta.len(), types::content_type(path)),
            Ok(meta) if meta.is_dir() => Found::DirectoryWithoutSlash,
            _ => Found::Nothing,
        }
    }

    /// Opens what lies beneath the root, whatever links are on the way. Doesn't wait for the other
    /// end of a named pipe.
    fn open(&self, path: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let opened = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve)?;
        Ok(File::from(opened))
    }

    fn not_found(&self) -> Response<FileBody> {
        match self.find("404.html") {
            Found::File(file, size, kind) => file_answer(StatusCode::NOT_FOUND, file, size, kind),
            Found::DirectoryWithoutSlash | Found::Nothing => {
                text(StatusCode::NOT_FOUND, "there is no such page")
            }
        }
    }
}

enum Found {
    File(File, u64, &'static str),
    DirectoryWithoutSlash,
    Nothing,
}

fn file_answer(
    status: StatusCode,
    file: File,
    size: u64,
    kind: &'static str,
) -> Response<FileBody> {
    let mut answer = Response::new(FileBody::file(file, size));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    answer
}

/// Relative links on an index page need the slash. Only the path as it was asked goes into the
/// answer; one that starts with two slashes would name another host.
fn with_slash(request: &Request<Incoming>) -> Response<FileBody> {
    let path = format!("/{}/", request.uri().path().trim_start_matches('/'));
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    let mut answer =
        text(StatusCode::MOVED_PERMANENTLY, "the page is at the same path with a slash");
    if let Ok(target) = HeaderValue::from_str(&target) {
        answer.headers_mut().insert(header::LOCATION, target);
    }
    answer
}

fn text(status: StatusCode, text: &str) -> Response<FileBody> {
    let mut answer = Response::new(FileBody::text(format!("{}: {text}.\n", status.as_u16())));
    *answer.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(header::CONTENT_TYPE, plain);
    answer
}
