//! A real server with onward installed on it, and orders for its agent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use onward_cli_tests::http::{self, Answer};
use onward_core::model::{BundleRef, Config, Generation, OperationNumber, Process, ReleaseNumber};
use onward_core::order::{Level, Order, ReleaseOrder};
use onward_core::report::Report;
use onward_core::secrets::OrderSecrets;
use onward_fleet_tests::{Fleet, PATIENCE, eventually};
use onward_server::attached::{Begun, Output};
use onward_server::client::Client;
use onward_server::protocol::{Hello, LogLine, LogsRequest, RunRequest, Stay, Terminal, What};
use onward_server::stream::Ended;
use onward_store::bundle::{AddOptions, Source, Store, TreeSource};
use onward_testkit::release::probed;
pub use onward_testkit::release::{config, instance};

/// An app in Perl, which every Debian has.
pub const SERVER: &str = r#"
use IO::Socket::INET;
use Cwd;
$| = 1;
$SIG{TERM} = sub { print "asked to stop\n"; exit 0 };
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $ENV{PORT},
    Listen => 64, ReuseAddr => 1) or die "cannot listen: $!";
print "listening\n";
while (my $client = $listener->accept) {
    my $line = <$client>;
    while (my $header = <$client>) { last if $header =~ /^\r?\n$/ }
    my ($path) = $line =~ /^GET (\S+)/;
    my $body = "release $ENV{ONWARD_RELEASE} pid $$";
    if ($path eq "/exit") { print "told to exit\n"; exit 3 }
    if ($path eq "/eat") { my @all; push @all, "x" x 1000000 while 1 }
    if ($path eq "/env") { $body = join "", map { "$_=$ENV{$_}\n" } sort keys %ENV }
    if ($path eq "/who") { $body = (getpwuid $<)[0] . " in " . getcwd }
    my $file;
    if ($path =~ m{^/read(/.*)}) { $body = open($file, "<", $1) ? join("", <$file>) : "refused: $!" }
    if ($path =~ m{^/write(/.*)}) { $body = open($file, ">", $1) ? "written" : "refused: $!" }
    if ($path =~ m{^/say/(.*)}) { print "$1\n" }
    print $client "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " . length($body)
        . "\r\n\r\n$body";
    close $client;
}
"#;

/// A server with an agent and a proxy of the onward under test.
pub struct Installed {
    pub fleet: Fleet,
    forward: Child,
    generation: u64,
    pub releases: BTreeMap<ReleaseNumber, ReleaseOrder>,
    pub secrets: Option<OrderSecrets>,
}

impl Installed {
    /// Boots a server and installs onward on it; `None` where that is not possible.
    pub fn boot() -> Option<Self> {
        let fleet = Fleet::boot(1)?;
        put(&fleet, &program(), "0123456789abcdef");
        fleet.run(0, "/var/lib/onward/bin/current agent install --server one");
        let forward = forward(&fleet);
        let (generation, releases) = (0, BTreeMap::new());
        Some(Self { fleet, forward, generation, releases, secrets: None })
    }

    /// Runs a command line on the server; what it printed.
    pub fn run(&self, command: &str) -> String {
        self.fleet.run(0, command)
    }

    /// The agent.
    pub fn client(&self) -> Client {
        Client::connect(&self.fleet.directory().join("agent.sock")).expect("the agent answers")
    }

    /// Opens the way to the agent's socket anew: after the server was started again.
    pub fn reconnect(&mut self) {
        let _ = self.forward.kill();
        let _ = self.forward.wait();
        self.forward = forward(&self.fleet);
    }

    /// Makes a bundle of files and names the release of it, at the level `staged`.
    pub fn release(&mut self, number: u64, files: &[(&str, &str)], config: Config) {
        let source = tempfile::tempdir().expect("a directory");
        for (path, text) in files {
            std::fs::write(source.path().join(path), text).expect("a file");
        }
        let bundles = tempfile::tempdir().expect("a directory");
        let store = Store::open(bundles.path()).expect("a store");
        let tree = TreeSource { root: source.path().into(), include: vec![] };
        let options = AddOptions { now: SystemTime::now(), progress: None };
        let added = store.add(&Source::Tree(tree), options).expect("a bundle");
        drop(store);
        let mut tar = Command::new("tar")
            .args(["-C"])
            .arg(bundles.path())
            .args(["--exclude=lock", "-cf", "-", "."])
            .stdout(Stdio::piped())
            .spawn()
            .expect("tar runs");
        let unpack = "mkdir -p /var/lib/onward/bundles && tar -C /var/lib/onward/bundles -xf -";
        self.feed(unpack, Stdio::from(tar.stdout.take().expect("it is piped")));
        assert!(tar.wait().expect("tar ends").success());
        let order = ReleaseOrder {
            level: Level::Staged,
            background: false,
            warm_ms: None,
            bundle: BundleRef { digest: added.digest, label: format!("v{number}") },
            config: Arc::new(config),
        };
        self.releases.insert(ReleaseNumber(number), order);
    }

    fn feed(&self, command: &str, input: Stdio) {
        let status = self.fleet.ssh(0).command().arg(command).stdin(input).status();
        assert!(status.expect("ssh runs").success(), "{command}");
    }

    /// The next order.
    pub fn order(&mut self) -> Order {
        self.generation += 1;
        Order {
            https: None,
            app: "shop".parse().expect("a name"),
            environment: "production".parse().expect("a name"),
            server: "one".parse().expect("a name"),
            generation: Generation(self.generation),
            operation: OperationNumber(self.generation),
            releases: self.releases.clone(),
            command: None,
            watch: None,
            secrets: self.secrets.clone(),
            fleet_key: None,
            balance: None,
            maintenance: None,
        }
    }

    /// Sets the level of a release.
    pub fn level(&mut self, number: u64, level: Level) {
        self.releases.get_mut(&ReleaseNumber(number)).expect("a release").level = level;
    }

    /// A request for all that was printed.
    pub fn all_logs(&self) -> LogsRequest {
        LogsRequest {
            app: "shop".parse().expect("a name"),
            environment: "production".parse().expect("a name"),
            release: None,
            process: None,
            instance: None,
            lines: 100,
            follow: false,
        }
    }

    /// The last lines of each process.
    pub fn logs(&self, lines: u32) -> Vec<LogLine> {
        let mut all = Vec::new();
        let request = LogsRequest { lines, ..self.all_logs() };
        let mut client = self.client();
        client
            .logs(request, |line| {
                all.push(line);
                true
            })
            .expect("lines");
        all
    }

    /// Runs a command line and stays with it: how it ended and what it printed.
    pub fn attached(&self, line: &str, terminal: Option<Terminal>, input: &str) -> (Ended, String) {
        let request = RunRequest {
            app: "shop".parse().expect("a name"),
            environment: "production".parse().expect("a name"),
            what: What::Line(line.to_owned()),
            beside: None,
            stay: Stay::Attached { terminal },
        };
        let begun = self.client().run(request).expect("it is begun");
        let Begun::Attached(attached) = begun else { panic!("{begun:?}") };
        let mut printed = Printed::default();
        let input = std::io::Cursor::new(input.to_owned().into_bytes());
        let ended = attached.carry(input, &mut printed).expect("it ends");
        (ended, String::from_utf8(printed.0).expect("text"))
    }

    /// The order that was given last.
    pub fn last_order(&mut self) -> Order {
        self.generation -= 1;
        self.order()
    }

    /// Who the agent is, when it answers.
    pub fn try_hello(&self) -> Option<Hello> {
        Client::connect(&self.fleet.directory().join("agent.sock")).ok()?.hello().ok()
    }

    /// Brings an order until the report is as wanted.
    pub fn until(&self, order: &Order, wanted: impl Fn(&Report) -> bool) -> Report {
        let mut client = self.client();
        let began = Instant::now();
        let mut known = None;
        loop {
            let seen = client.deliver(order, known, 1_000).expect("the order is accepted");
            if wanted(&seen.report) {
                return seen.report;
            }
            let late = began.elapsed() > PATIENCE;
            assert!(!late, "not as wanted: {:#?}\n{}", seen.report, self.run(JOURNAL));
            known = Some(seen.revision);
        }
    }

    /// Routes traffic to a release, and to no other.
    pub fn serve(&mut self, number: u64) -> Report {
        for (other, own) in &mut self.releases {
            let serves = other.0 == number;
            own.level = if serves { Level::Routed } else { Level::Staged };
            own.background = serves;
        }
        let order = self.order();
        self.until(&order, |report| report.converged)
    }

    /// Asks the app through the proxy: the status and the body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = format!("{}:80", self.fleet.machines()[0].address);
        let Answer { status, body } = http::get(&address, path).expect("an answer");
        (status, body)
    }
}

/// What a command printed.
#[derive(Default)]
struct Printed(Vec<u8>);

impl Output for Printed {
    fn output(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn error(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.output(bytes)
    }
}

/// What happened, for who reads a test that failed.
const JOURNAL: &str = "journalctl --no-pager -n 60 -u 'onward*'";

impl Drop for Installed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.fleet.ssh(0).run(JOURNAL).stdout);
        }
        let _ = self.forward.kill();
        let _ = self.forward.wait();
    }
}

/// Puts a program on a server as onward does it.
pub fn put(fleet: &Fleet, program: &Path, digest: &str) {
    let file = std::fs::File::open(program).expect("the program is built");
    let name = format!("onward-0.1.0-{digest}");
    let command = format!(
        "cd /var/lib && mkdir -p onward/bin && cd onward/bin && cat > {name} && chmod 755 {name} \
         && ln -sfn {name} current"
    );
    let status = fleet.ssh(0).command().arg(command).stdin(file).status();
    assert!(status.expect("ssh runs").success());
}

/// The onward under test: `ONWARD_BIN`, else the one that was built beside this test.
pub fn program() -> PathBuf {
    std::env::var_os("ONWARD_BIN").map_or_else(
        || {
            let test = std::env::current_exe().expect("this program has a path");
            test.ancestors().nth(2).expect("it lies below target").join("onward")
        },
        PathBuf::from,
    )
}

fn forward(fleet: &Fleet) -> Child {
    let here = fleet.directory().join("agent.sock");
    let _ = std::fs::remove_file(&here);
    let way = format!("{}:/run/onward/agent.sock", here.display());
    let child = fleet.ssh(0).command().args(["-N", "-L", &way]).spawn().expect("ssh runs");
    eventually("the agent answers", || {
        Client::connect(&here).is_ok_and(|mut client| client.hello().is_ok())
    });
    child
}

/// The web process of [`SERVER`].
pub fn web() -> Process {
    probed("perl server.pl")
}
