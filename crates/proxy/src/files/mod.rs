//! A static site: the files of one directory over HTTP/1.1, for `[process.web] static = "public"`.
//!
//! The proxy answers such requests itself, from memory. The server here offers the same files in the
//! same way on a port of its own: for the probe and the check of a release that has no traffic yet,
//! and for a proxy that is elsewhere.

mod body;
mod entry;
mod negotiate;
mod path;
mod site;
mod types;

use std::convert::Infallible;
use std::io;
use std::net::TcpListener as StdListener;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use crate::policy::SiteRules;
use crate::scratch::Socket;

pub(crate) use body::FileBody;
pub(crate) use site::{Root, Site};

/// Connections at once: the proxy opens 128 at most to one instance.
const MAX_CONNECTIONS: usize = 1_024;
/// After SIGTERM: how long answers that have begun may take.
const FINISH_WITHIN: Duration = Duration::from_secs(10);
/// Threads that may wait for the disk.
pub(crate) const READERS: usize = 4;
/// Pause after an accept that failed for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves the files of `dir` on one thread until SIGTERM; then finishes the answers that have begun
/// and returns. Files are read when they are asked for: a changed file is served changed.
///
/// # Errors
/// When `dir` can't be opened as a directory, or the listener or the runtime can't be used.
pub fn serve(dir: &Path, rules: SiteRules, listener: StdListener) -> io::Result<()> {
    let site = Rc::new(Site::new(Arc::new(Root::changing(dir, rules)?)));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(READERS)
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
    let service = service_fn(move |request: Request<Incoming>| {
        let site = site.clone();
        async move {
            let (parts, _) = request.into_parts();
            Ok::<_, Infallible>(site.answer(&parts, parts.uri.path()).await)
        }
    });
    let http = Builder::new().serve_connection(Socket(stream), service);
    let mut http = std::pin::pin!(http);
    tokio::select! {
        _ = &mut http => return,
        _ = end.wait_for(|end| *end) => http.as_mut().graceful_shutdown(),
    }
    let _ = http.await;
}
