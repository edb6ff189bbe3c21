//! A server tree with a real agent, proxy and apps, which all end with the test.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use onward_core::model::{
    BundleRef, Config, Digest, Generation, OperationNumber, Process, ReleaseNumber,
};
use onward_core::order::{CommandKind, CommandOrder, Level, Order, ReleaseOrder, WatchOrder};
use onward_core::report::{InstanceState, Report};
use onward_core::secrets::OrderSecrets;
use onward_server::client::Client;
use onward_server::layout::{AppTree, Tree, agent_socket, proxy_socket};
use onward_server::process;
use onward_store::bundle::{AddOptions, Source, Store, TreeSource};
use onward_testkit::release::probed;
pub use onward_testkit::release::{command, config, instance};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An app in Python: `/` says who it is, `/up` answers as the file `up` says, `/slow` takes its
/// time.
pub const SERVER: &str = r#"
import http.server, os, signal, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        status = 200
        if self.path == "/slow":
            time.sleep(1)
        if self.path == "/fail":
            status = 500
        if self.path == "/exit":
            print("told to exit", flush=True)
            os._exit(3)
        text = "release %s pid %d" % (os.environ["ONWARD_RELEASE"], os.getpid())
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
port = int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ["PORT"])
print("listening", flush=True)
Server(("127.0.0.1", port), Handler).serve_forever()
"#;

/// A server tree.
pub struct World {
    directory: TempDir,
    agent: Option<Child>,
    pub generation: u64,
    pub releases: BTreeMap<ReleaseNumber, ReleaseOrder>,
    pub secrets: Option<OrderSecrets>,
}

/// The web process of [`SERVER`].
pub fn web() -> Process {
    probed("python3 -u server.py")
}

impl World {
    /// An empty tree with a running agent.
    pub fn new() -> Self {
        let mut world = Self::without_agent();
        world.start_agent();
        world
    }

    /// An empty tree.
    pub fn without_agent() -> Self {
        let directory = tempfile::Builder::new().prefix("onward-").tempdir_in("/tmp").unwrap();
        Self { directory, agent: None, generation: 0, releases: BTreeMap::new(), secrets: None }
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    pub fn runtime(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    pub fn tree(&self) -> AppTree {
        Tree::new(self.root()).app(&"shop".parse().unwrap(), &"local".parse().unwrap())
    }

    /// The command line of an agent of this tree.
    pub fn agent_command(&self) -> Command {
        self.agent_command_of(&host())
    }

    /// The same for another build.
    pub fn agent_command_of(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .args(["agent", "run", "--root"])
            .arg(self.root())
            .arg("--runtime")
            .arg(self.runtime())
            .arg("--store")
            .arg(self.root().join("state"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    /// Starts an agent and waits until it answers.
    pub fn start_agent(&mut self) {
        self.start_agent_of(&host());
    }

    /// The same for another build.
    pub fn start_agent_of(&mut self, program: &Path) {
        let child = self.agent.insert(self.agent_command_of(program).spawn().unwrap());
        let mut text = String::new();
        // The end of its output says that it prints to its log from now on.
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "", "the agent did not start");
        self.client().hello().unwrap();
    }

    /// Kills the agent, and only it.
    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub fn agent_pid(&self) -> u32 {
        self.agent.as_ref().unwrap().id()
    }

    /// A build of its own: the same program with other bytes behind it, kept under its name.
    pub fn build(&self, version: &str) -> PathBuf {
        let digest: u64 = version.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte));
        let bin = self.root().join("bin");
        fs::create_dir_all(&bin).unwrap();
        let path = bin.join(format!("onward-{version}-{digest:016x}"));
        let mut bytes = fs::read(host()).unwrap();
        bytes.extend(version.bytes());
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Puts an agent of another build in the place of the one that runs.
    pub fn exchange_agent(&mut self, program: &Path) {
        self.client().quit().unwrap();
        self.agent_ended();
        self.start_agent_of(program);
    }

    /// Waits until the agent has ended by itself.
    pub fn agent_ended(&mut self) {
        let mut agent = self.agent.take().unwrap();
        assert!(agent.wait().unwrap().success());
    }

    pub fn client(&self) -> Client {
        Client::connect(&agent_socket(&self.runtime())).unwrap()
    }

    pub fn proxy_client(&self) -> onward_proxy::Client {
        onward_proxy::Client::connect(&proxy_socket(&self.runtime())).unwrap()
    }

    /// How the proxy is, when there is one.
    pub fn try_proxy(&self) -> Option<onward_proxy::Status> {
        onward_proxy::Client::connect(&proxy_socket(&self.runtime())).ok()?.status().ok()
    }

    /// Makes a bundle of files and names the release of it, at the level `staged`.
    pub fn release(&mut self, number: u64, files: &[(&str, &str)], config: Config) {
        let source = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = source.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let store = Store::open(self.root().join("bundles")).unwrap();
        let tree = TreeSource { root: source.path().into(), include: vec![] };
        let options = AddOptions { now: SystemTime::now(), progress: None };
        let added = store.add(&Source::Tree(tree), options).unwrap();
        self.name(number, added.digest, config);
    }

    /// Names a release of a bundle, at the level `staged`.
    pub fn name(&mut self, number: u64, digest: Digest, config: Config) {
        let order = ReleaseOrder {
            level: Level::Staged,
            background: false,
            warm_ms: None,
            bundle: BundleRef { digest, label: format!("v{number}") },
            config: Arc::new(config),
        };
        self.releases.insert(ReleaseNumber(number), order);
    }

    /// A release of [`SERVER`] with a web process.
    pub fn web_release(&mut self, number: u64) {
        self.release(number, &[("server.py", SERVER)], config(&[("web", web())]));
    }

    /// Sets the level of a release and whether its processes without traffic run.
    pub fn level(&mut self, number: u64, level: Level, background: bool) {
        let own = self.releases.get_mut(&ReleaseNumber(number)).unwrap();
        (own.level, own.background, own.warm_ms) = (level, background, None);
    }

    /// The next order.
    pub fn order(&mut self) -> Order {
        self.generation += 1;
        Order {
            app: "shop".parse().unwrap(),
            environment: "local".parse().unwrap(),
            server: "local".parse().unwrap(),
            generation: Generation(self.generation),
            operation: OperationNumber(self.generation),
            releases: self.releases.clone(),
            command: None,
            watch: None,
            secrets: self.secrets.clone(),
            fleet_key: None,
            https: None,
            balance: None,
            maintenance: None,
        }
    }

    /// The next order, with a command in it.
    pub fn order_command(&mut self, kind: CommandKind, release: u64) -> Order {
        let mut order = self.order();
        let (operation, release) = (order.operation, ReleaseNumber(release));
        order.command = Some(CommandOrder { operation, kind, release });
        order
    }

    /// The next order, with a watch in it.
    pub fn order_watch(&mut self, release: u64, previous: Option<u64>, for_ms: u64) -> Order {
        let mut order = self.order();
        let (operation, release) = (order.operation, ReleaseNumber(release));
        let previous = previous.map(ReleaseNumber);
        order.watch = Some(WatchOrder { operation, release, previous, for_ms });
        order
    }

    /// Brings an order until the report is as wanted.
    pub fn until(&self, order: &Order, wanted: impl Fn(&Report) -> bool) -> Report {
        let mut client = self.client();
        let began = Instant::now();
        let mut known = None;
        loop {
            let seen = client.deliver(order, known, 1_000).unwrap();
            if wanted(&seen.report) {
                return seen.report;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the report is not as wanted: {:#?}\n{}",
                seen.report,
                self.agent_log()
            );
            known = Some(seen.revision);
        }
    }

    /// Brings the next order until it is wholly true.
    pub fn converge(&mut self) -> Report {
        let order = self.order();
        self.until(&order, |report| report.converged)
    }

    /// A server on which release 1 has traffic: a process for it, and a worker beside it.
    pub fn with_web_and_worker() -> (Self, Report) {
        let mut world = Self::new();
        let processes = [("web", web()), ("worker", command("sleep 1000"))];
        world.release(1, &[("server.py", SERVER)], config(&processes));
        let report = world.serve(1);
        (world, report)
    }

    /// Routes traffic to a release of [`SERVER`], and to no other.
    pub fn serve(&mut self, number: u64) -> Report {
        let others: Vec<u64> =
            self.releases.keys().map(|other| other.0).filter(|other| *other != number).collect();
        for other in others {
            self.level(other, Level::Staged, false);
        }
        self.level(number, Level::Routed, true);
        self.converge()
    }

    /// The process of the one web instance of the release that serves, once it is ready.
    pub fn last_pid(&self) -> u32 {
        let order = self.last_order();
        let number = order.routed().unwrap();
        let report = self.until(&order, |report| {
            report.releases[&number].instances.iter().any(|own| own.state == InstanceState::Ready)
        });
        instance(&report, number.0, "web").pid.unwrap()
    }

    /// The order that was accepted last.
    pub fn last_order(&self) -> Order {
        let bytes = fs::read(self.tree().kept_file()).unwrap();
        let kept: onward_core::reconcile::Kept = serde_json::from_slice(&bytes).unwrap();
        kept.order.unwrap()
    }

    pub fn agent_log(&self) -> String {
        fs::read_to_string(self.root().join("agent.log")).unwrap_or_default()
    }

    /// Asks the app through the proxy: the status and the body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = self.client().hello().unwrap().address;
        get(address.strip_prefix("http://").unwrap(), path).unwrap()
    }
}

/// Asks for a path: the status and the body.
pub fn get(address: &str, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    status
        .map(|status| (status, body.to_owned()))
        .ok_or_else(|| std::io::Error::other(format!("no answer: {answer:?}")))
}

/// Waits until something is so.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

pub fn is_alive(pid: u32) -> bool {
    process::Identity::of(pid).is_some()
}

/// The agent and its proxy as one program.
pub fn host() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let target = test.parent().and_then(Path::parent).unwrap();
    target.join("examples").join("agent_host")
}

impl Drop for World {
    /// Ends everything that belongs to the tree, by its id.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("agent.log:\n{}", self.agent_log());
            let proxy = fs::read_to_string(self.root().join("proxy.log")).unwrap_or_default();
            eprintln!("proxy.log:\n{proxy}");
        }
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        let root = self.root().display().to_string();
        for group in process::own_groups() {
            let environment = process::environment(group.pid);
            let shared = environment.get("ONWARD_SHARED");
            let line = fs::read(format!("/proc/{}/cmdline", group.pid)).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            let is_ours = shared.is_some_and(|shared| shared.starts_with(&root));
            if is_ours || line.contains(&root) {
                let pid = i32::try_from(group.pid).ok().and_then(Pid::from_raw);
                let _ = pid.map(|pid| rustix::process::kill_process_group(pid, Signal::KILL));
            }
        }
    }
}
