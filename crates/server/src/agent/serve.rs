//! The agent's socket: lines in, events to the agent, answers out.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::access;
use super::admission;
use super::arrivals::Arrivals;
use super::attend::attend;
use super::carrying::{Connection, Word, Words};
use super::checkup::{self, Installed};
use super::control::Control;
use super::copies;
use super::documents;
use super::event::{Event, Events, Reply};
use super::follow;
use super::gather::traffic_of;
use super::machine;
use super::one_off::Launch;
use super::vault::Maskers;
use crate::build::VERSION;
use crate::layout::Tree;
use crate::process::Supervisor;
use crate::protocol::{Answer, LINE_BYTES_MAX, Request};

/// How many connections are served at once: a few commands and what they left open.
const CONNECTIONS_MAX: usize = 64;
/// The time that a client has for one line, and an answer to be taken.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// Pause after a connection could not be accepted, for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The time that counters have to be added to a report. A machine under full load needs more than
/// half a second, and a deploy that printed older counts would not tell the truth.
const COUNTERS_WITHIN: Duration = Duration::from_secs(5);

/// What a connection needs.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) events: Events,
    pub(super) tree: Tree,
    pub(super) control: Control,
    pub(super) maskers: Maskers,
    /// Who keeps what apps run.
    pub(super) supervisor: Supervisor,
    /// The directory of the documents that are kept here.
    pub(super) store: Option<PathBuf>,
    /// The bundles that releases are staged from.
    pub(super) bundles: PathBuf,
    /// Set where systemd looks after agent and proxy.
    pub(super) installed: Option<Installed>,
    /// The directory of sockets, for those who come over SSH.
    pub(super) runtime: PathBuf,
    /// Who sees to it that documents are carried on, on a server.
    pub(super) carrying: Option<Words>,
}

/// Whose connections are taken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trust {
    /// Those of this user, and of root.
    OwnUser,
    /// Those of everybody whom the system lets come to the socket. A confined agent does not see
    /// which user that is.
    WhoeverMay,
}

/// Serves clients; never ends by itself.
pub(super) async fn serve(listener: UnixListener, trust: Trust, desk: Desk) {
    let places = std::sync::Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let own = rustix::process::geteuid().as_raw();
        let is_own = |uid| uid == own || uid == 0;
        let is_trusted = match trust {
            Trust::OwnUser => stream.peer_cred().is_ok_and(|peer| is_own(peer.uid())),
            Trust::WhoeverMay => true,
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        if is_trusted {
            let desk = desk.clone();
            let connection = Connection::next();
            tokio::spawn(async move {
                // A client that breaks off is its own problem.
                let _ = converse(stream, connection, &desk).await;
                drop(place);
                if let Some(carrying) = &desk.carrying {
                    let _ = carrying.send(Word::Left(connection)).await;
                }
            });
        }
    }
}

async fn converse(stream: UnixStream, connection: Connection, desk: &Desk) -> std::io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut arrivals = Arrivals::into_store(&desk.bundles);
    while let Some(line) = read_line(&mut reader).await? {
        match serde_json::from_slice(&line) {
            Ok(Request::Logs(request)) => {
                let (tree, keeper, maskers) = (&desk.tree, &desk.supervisor, &desk.maskers);
                follow::answer(tree, keeper, maskers, request, &mut reader, &mut writer).await?;
            }
            Ok(Request::Access(request)) => {
                access::answer(&desk.tree, request, &mut reader, &mut writer).await?;
            }
            Ok(request @ (Request::Proxy | Request::Checkup { .. })) => {
                write_line(&mut writer, &look(request, desk).await).await?;
            }
            Ok(Request::KeepCopy { document }) => {
                write_line(&mut writer, &copies::keep(&desk.tree, *document).await).await?;
            }
            Ok(Request::State { app, environment, ask }) => {
                let answer = documents::answer(desk, connection, app, environment, *ask).await;
                write_line(&mut writer, &answer).await?;
            }
            Ok(Request::HoldsBundle { bundle, base }) => {
                write_line(&mut writer, &arrivals.holds(bundle, base).await).await?;
            }
            Ok(Request::TakeBundle { bundle, base, bytes }) => {
                let answer = arrivals.begin(bundle, base, bytes, &mut reader).await?;
                write_line(&mut writer, &answer).await?;
            }
            Ok(Request::TakePack { bytes }) => arrivals.take(bytes, &mut reader).await?,
            Ok(Request::CompleteBundle) => {
                write_line(&mut writer, &arrivals.complete().await).await?;
            }
            Ok(Request::Copy { app, environment }) => {
                let answer = copies::read(&desk.tree, &app, &environment).await;
                write_line(&mut writer, &answer).await?;
            }
            Ok(
                request @ (Request::Machine | Request::SetUp { .. } | Request::ConfirmSetUp { .. }),
            ) => {
                machine::answer(request, &mut writer).await?;
            }
            Ok(request @ (Request::ManagerKey | Request::Admit { .. })) => {
                write_line(&mut writer, &admission::answer(desk, request).await).await?;
            }
            Ok(request @ Request::Run(_)) => {
                if let Some(launch) = launch(request, desk, &mut writer).await? {
                    return attend(launch, &mut reader, &mut writer).await;
                }
            }
            Ok(request) => {
                let answer = match unknown(&line, &request) {
                    Some(text) => Answer::Refused { text },
                    None => ask_agent(request, desk).await,
                };
                write_line(&mut writer, &answer).await?;
            }
            Err(error) => {
                let text = misunderstood(&line, &error);
                write_line(&mut writer, &Answer::Refused { text }).await?;
            }
        }
    }
    Ok(())
}

/// How the proxy is, or the server.
async fn look(request: Request, desk: &Desk) -> Answer {
    let Request::Checkup { app, environment } = request else {
        return match desk.control.status().await {
            Ok(status) => Answer::Proxy { status: Box::new(status) },
            Err(text) => Answer::Refused { text },
        };
    };
    let desk = desk.clone();
    let looked = tokio::task::spawn_blocking(move || {
        let Desk { tree, bundles, installed, .. } = &desk;
        checkup::look(tree, bundles, installed.as_ref(), &app, &environment)
    });
    match looked.await {
        Ok(checkup) => Answer::Checkup(Box::new(checkup)),
        Err(error) => Answer::Refused { text: error.to_string() },
    }
}

/// What the agent lets a client run; none when it said something else, which was passed on.
async fn launch(
    request: Request,
    desk: &Desk,
    writer: &mut OwnedWriteHalf,
) -> std::io::Result<Option<Launch>> {
    let (reply, replied) = oneshot::channel();
    let sent = desk.events.send(Event::Asked { request, reply }).await;
    let answer = match replied.await {
        Ok(Reply::Launch(launch)) if sent.is_ok() => return Ok(Some(*launch)),
        Ok(Reply::Answer(answer)) => answer,
        _ => Answer::Refused { text: "the agent is ending".to_owned() },
    };
    write_line(writer, &answer).await?;
    Ok(None)
}

/// One line; none at the end of the conversation, or when a line is too long to be one.
async fn read_line(
    reader: &mut BufReader<OwnedReadHalf>,
) -> std::io::Result<Option<Zeroizing<Vec<u8>>>> {
    // It may hold a key.
    let mut line = Zeroizing::new(Vec::new());
    let mut limited = reader.take(LINE_BYTES_MAX);
    timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await??;
    Ok(line.ends_with(b"\n").then_some(line))
}

pub(super) async fn write_line(
    writer: &mut OwnedWriteHalf,
    answer: &Answer,
) -> std::io::Result<()> {
    let mut bytes = serde_json::to_vec(answer)?;
    bytes.push(b'\n');
    timeout(PATIENCE, writer.write_all(&bytes)).await?
}

/// Why an order is not followed that asks for what this agent does not know.
fn unknown(line: &[u8], request: &Request) -> Option<String> {
    if !matches!(request, Request::Deliver { .. }) {
        return None;
    }
    let given: Value = serde_json::from_slice(line).ok()?;
    let field = onward_core::unknown::field(&given, request)?;
    let field = field.trim_start_matches("deliver.");
    Some(format!(
        "the agent is of onward {VERSION}, which does not know `{field}`: the command is newer. \
         `onward agent upgrade` replaces the agent"
    ))
}

/// Says which request is not known here.
fn misunderstood(line: &[u8], error: &serde_json::Error) -> String {
    let given: Option<Value> = serde_json::from_slice(line).ok();
    let name = given.as_ref().and_then(|given| match given {
        Value::String(name) => Some(name.clone()),
        Value::Object(object) => object.keys().next().cloned(),
        _ => None,
    });
    match name {
        Some(name) => format!(
            "the agent is of onward {VERSION} and does not understand the request `{name}` \
             ({error}); `onward agent upgrade` replaces it by the command's own version"
        ),
        None => format!("the agent does not understand the request: {error}"),
    }
}

async fn ask_agent(request: Request, desk: &Desk) -> Answer {
    let route = match &request {
        Request::Deliver { order, .. } => Some(format!("{}/{}", order.app, order.environment)),
        Request::Report { app, environment, .. } => Some(format!("{app}/{environment}")),
        _ => None,
    };
    let (reply, replied) = oneshot::channel();
    let ending = || Answer::Refused { text: "the agent is ending".to_owned() };
    if desk.events.send(Event::Asked { request, reply }).await.is_err() {
        return ending();
    }
    match replied.await {
        Err(_) | Ok(Reply::Launch(_)) => ending(),
        Ok(Reply::Answer(answer)) => answer,
        Ok(Reply::Report { revision, mut report }) => {
            let asked = timeout(COUNTERS_WITHIN, desk.control.status()).await;
            // Without an answer the counters stay those that were last heard.
            if let (Ok(Ok(status)), Some(route)) = (asked, route) {
                report.traffic = Some(traffic_of(&status, &route));
            }
            Answer::Report { revision, report }
        }
    }
}
