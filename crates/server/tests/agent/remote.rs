//! An agent that is spoken to over pipes, as through SSH.

use std::io::{self, BufRead, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use onward_server::client::{Client, ClientError, Dial};
use onward_server::remote_state;
use onward_server::session::{HELLO, Session};
use onward_testkit::contract::state_store;

use crate::world::{World, host};

/// A session with `agent stdio` as a child process.
#[derive(Debug)]
struct Pipes {
    session: Session,
    child: Child,
}

impl Pipes {
    fn to(world: &World) -> Arc<Self> {
        let mut child = Command::new(host())
            .args(["agent", "stdio", "--runtime"])
            .arg(world.runtime())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line.trim_end(), HELLO);
        let session = Session::opener(out, child.stdin.take().unwrap());
        Arc::new(Self { session, child })
    }
}

impl Dial for Pipes {
    fn dial(&self) -> io::Result<UnixStream> {
        self.session.open()
    }

    fn place(&self) -> &Path {
        Path::new("pipes")
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn many_speak_to_the_agent_over_one_pair_of_pipes() {
    let world = World::new();
    let way: Arc<dyn Dial> = Pipes::to(&world);
    let mut clients: Vec<Client> = (0..10).map(|_| Client::over(&way).unwrap()).collect();
    for client in &mut clients {
        assert_eq!(client.hello().unwrap().pid, world.agent_pid());
    }
}

#[test]
fn an_agent_that_is_gone_is_missed_and_found_again() {
    let mut world = World::new();
    let way: Arc<dyn Dial> = Pipes::to(&world);
    world.kill_agent();
    let gone = Client::over(&way).and_then(|mut client| client.hello());
    assert!(matches!(gone, Err(ClientError::Lost(_))), "{gone:?}");
    world.start_agent();
    Client::over(&way).unwrap().hello().unwrap();
}

#[test]
fn documents_kept_by_an_agent_keep_the_contract() {
    let world = World::new();
    let way: Arc<dyn Dial> = Pipes::to(&world);
    let next = AtomicU32::new(0);
    state_store::all(|| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let environment = format!("e{number}").parse().unwrap();
        let app = "shop".parse().unwrap();
        let way = Arc::clone(&way);
        Box::new(remote_state::documents(way, &app, &environment, "the manager".to_owned()))
    });
}
