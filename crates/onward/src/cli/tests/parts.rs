//! What the parts below find wrong: the project file, the store, bundles, the agent.

use std::io;
use std::path::{Path, PathBuf};

use onward_core::document::InvalidDocument;
use onward_core::model::{Digest, Generation};
use onward_core::ports::StoreError;
use onward_server::client::ClientError;
use onward_server::protocol::Hello;
use onward_store::bundle::{self, BadEntry, Fault, TreeMismatch};

use super::{every, page};
use crate::cli::context::agent_complaint;
use crate::project::init::CannotTell;
use crate::project::{Findings, LoadError, UnknownEnvironment};
use crate::providers::local::AgentError;
use crate::providers::ssh::SshError;

fn path(text: &str) -> PathBuf {
    PathBuf::from(text)
}

fn denied() -> io::Error {
    io::Error::from_raw_os_error(13)
}

fn digest() -> Digest {
    Digest::of(b"shop")
}

#[test]
fn the_project_file_cannot_be_had() {
    let file = || path("/shop/onward.toml");
    let findings =
        Findings { file: "onward.toml".to_owned(), text: String::new(), diagnostics: Vec::new() };
    let all = every! { LoadError:
        LoadError::NoDirectory { .. } => LoadError::NoDirectory { dir: path("/shop") },
        LoadError::NotFound { .. } => LoadError::NotFound { dir: path("/shop"), parent: None },
        LoadError::NotAFile { .. } => LoadError::NotAFile { path: file() },
        LoadError::TooLarge { .. } => LoadError::TooLarge { path: file() },
        LoadError::NotUtf8 { .. } => LoadError::NotUtf8 { path: file(), line: 3, column: 9 },
        LoadError::Unreadable { .. } => LoadError::Unreadable { path: file(), source: denied() },
        LoadError::Invalid(_) => LoadError::Invalid(findings),
    };
    insta::assert_snapshot!(page(all));
}

#[test]
fn no_such_environment() {
    let error = |name: &str| UnknownEnvironment {
        name: name.parse().expect("a legal name"),
        known: vec!["local".to_owned(), "production".to_owned()],
    };
    insta::assert_snapshot!(page(vec![("near", error("prodction")), ("far", error("qa"))]));
}

#[test]
fn init_cannot_tell() {
    let dir = || path("/shop");
    let all = every! { CannotTell:
        CannotTell::AlreadyThere { .. } => CannotTell::AlreadyThere { path: path("onward.toml") },
        CannotTell::NoDirectory { .. } => CannotTell::NoDirectory { dir: dir() },
        CannotTell::Nothing { .. } =>
            CannotTell::Nothing { dir: dir(), seen: Some("Python"), example: "python3 app.py" },
        CannotTell::Unclear { .. } => CannotTell::Unclear {
            why: "package.json has no `start` script".to_owned(), help: "add one".to_owned(),
        },
        CannotTell::Malformed { .. } =>
            CannotTell::Malformed { path: path("package.json"), why: "it is not JSON".to_owned() },
        CannotTell::Unreadable { .. } =>
            CannotTell::Unreadable { path: path("Procfile"), source: denied() },
    };
    insta::assert_snapshot!(page(all));
}

#[test]
fn the_store_cannot_be_used() {
    let place = || "/shop/.onward/state/shop/local/state.json".to_owned();
    let reason = || InvalidDocument::Meaning("release 4 is above last_release".to_owned());
    let all = every! { StoreError:
        StoreError::Unavailable { .. } =>
            StoreError::Unavailable { place: place(), reason: denied().to_string() },
        StoreError::NoSpace { .. } => StoreError::NoSpace { place: place() },
        StoreError::Invalid { .. } => StoreError::Invalid { place: place(), reason: reason() },
        StoreError::Damaged { .. } => StoreError::Damaged {
            place: place(), reason: "the file is missing".to_owned(), last_good: Generation(7),
        },
        StoreError::Moved { .. } =>
            StoreError::Moved { place: place(), to: "s3://bucket/state".to_owned() },
        StoreError::Arriving { .. } =>
            StoreError::Arriving { place: place(), from: "s3://bucket/state".to_owned() },
        StoreError::Unfit { .. } => StoreError::Unfit {
            place: "s3://bucket/state".to_owned(),
            reason: "it ignores If-Match".to_owned(),
        },
    };
    insta::assert_snapshot!(page(all));
    let reasons = every! { InvalidDocument:
        InvalidDocument::TooLong { .. } => InvalidDocument::TooLong { bytes: 5_000_000 },
        InvalidDocument::Syntax { .. } => InvalidDocument::Syntax {
            line: 3, column: 12, reason: "expected value".to_owned(),
        },
        InvalidDocument::Meaning(_) => reason(),
    };
    let texts: Vec<_> = reasons.iter().map(|(_, reason)| reason.to_string()).collect();
    insta::assert_snapshot!("documents", texts.join("\n"));
}

#[test]
fn bundles_cannot_be_made_or_read() {
    use bundle::Error;
    let mismatch =
        || TreeMismatch { path: path("bin/server"), why: "its content differs".to_owned() };
    let (reference, message) = ("v9".to_owned(), "fatal: not a git repository".to_owned());
    let all = every! { Error:
        Error::Io { .. } =>
            Error::Io { action: "read", path: path("/shop/secret"), source: denied() },
        Error::NoSpace { .. } =>
            Error::NoSpace { path: path("/shop/.onward"), needed: 2_000_000, free: 4_096 },
        Error::NoBundle(_) => Error::NoBundle(digest()),
        Error::NoSuchName(_) => Error::NoSuchName("1.4.2".to_owned()),
        Error::AmbiguousName(_) => Error::AmbiguousName("3f".to_owned()),
        Error::Damaged { .. } => Error::Damaged {
            path: path("packs/1"), why: "its checksum is another".to_owned(),
        },
        Error::Incomplete { .. } =>
            Error::Incomplete { bundle: digest(), path: "bin/server".to_owned() },
        Error::Unfit { .. } => Error::Unfit {
            root: path("/shop"),
            source: BadEntry { path: "a\\u{7}b".to_owned(), fault: Fault::Control },
        },
        Error::Changed(_) => Error::Changed(path("/shop/log.txt")),
        Error::NoInclude { .. } =>
            Error::NoInclude { root: path("/shop"), include: "dist".to_owned() },
        Error::Refused { .. } => Error::Refused {
            archive: path("shop.tar"), entry: Some("../etc/passwd".to_owned()),
            fault: Fault::Parent,
        },
        Error::NotAnArchive { .. } => Error::NotAnArchive {
            path: path("shop.pdf"), why: "it begins with `%PDF`".to_owned(),
        },
        Error::Git { .. } => Error::Git { root: path("/shop"), command: "rev-parse", message },
        Error::NoSuchCommit { .. } => Error::NoSuchCommit { root: path("/shop"), reference },
        Error::LabelTaken { .. } =>
            Error::LabelTaken { label: "1.4.2".to_owned(), owner: digest() },
        Error::BadLabel(_) => Error::BadLabel("a b".to_owned()),
        Error::DestinationDiffers { .. } =>
            Error::DestinationDiffers { dest: path("releases/3"), source: mismatch() },
        Error::Mismatch(_) => Error::Mismatch(mismatch()),
        Error::Exists(_) => Error::Exists(path("shop.tar")),
    };
    insta::assert_snapshot!(page(all));
}

#[test]
fn the_agent_does_not_start() {
    let all = every! { AgentError:
        AgentError::Start(_) => AgentError::Start(denied()),
        AgentError::Ended { .. } =>
            AgentError::Ended { lines: vec!["cannot write server.json".to_owned()] },
        AgentError::Version(_) => AgentError::Version(
            "the agent is of onward 9.0.0, which speaks version 2 of the protocol; this onward \
             speaks versions 1 to 1".to_owned()
        ),
        AgentError::Upgrade(_) => AgentError::Upgrade("app.json says `gpu`".to_owned()),
        AgentError::Silent { .. } => AgentError::Silent { pid: Some(4711) },
        AgentError::Ssh(_) => AgentError::Ssh(SshError::Silent { seconds: 20 }),
    };
    let log = Path::new("/shop/.onward/agent.log");
    let told = AgentError::Ended {
        lines: vec!["onward: port 27393, the address of this project, is used".to_owned()],
    };
    let all = all.into_iter().chain([("with a reason", told)]);
    let complaints =
        all.map(|(name, error)| (name, agent_complaint("this machine", Some(log), &error)));
    insta::assert_snapshot!(page(complaints.collect::<Vec<_>>()));
}

#[test]
fn the_agent_does_not_answer() {
    let lost = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let all = every! { ClientError:
        ClientError::NoAgent { .. } =>
            ClientError::NoAgent { path: path("/run/onward/agent.sock"), source: denied() },
        ClientError::Lost(_) => ClientError::Lost(lost()),
        ClientError::Refused(_) => ClientError::Refused("nothing is here yet".to_owned()),
        ClientError::Nonsense(_) => ClientError::Nonsense("{}".to_owned()),
        ClientError::Version(_) => ClientError::Version(Box::new(Hello {
            version: 2,
            oldest: Some(2),
            onward: "9.0.0".into(),
            build: onward_server::build::Build::default(),
            pid: 1,
            root: "/srv".into(),
            https_port: None,
            address: "http://127.0.0.1:21000".into(),
            proxy_problem: None,
            proxy: None,
            clock: None,
            unnamed: None,
        })),
        ClientError::NoKey => ClientError::NoKey,
    };
    insta::assert_snapshot!(page(all));
}
