//! The example `visits` on servers of its own: HTTPS from an authority, and one count for all.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use onward::providers::nspawn::{Machine, ServerSpec};
use onward_cli_tests::authority::{Answer, Authority, ask_at};
use onward_cli_tests::http;
use onward_fleet_tests::{Line, Ssh, is_long};

/// The servers of the example, as its file names them.
const SERVERS: [&str; 4] = ["front", "web-1", "web-2", "jobs"];
/// What visitors ask for.
const URL: &str = "https://visits.test/";
/// How many visitors there are: enough for both web servers to have some.
const VISITORS: u64 = 12;

fn address(machine: &Machine) -> Ipv4Addr {
    match machine.address {
        IpAddr::V4(address) => address,
        IpAddr::V6(other) => panic!("a lab has IPv4: {other}"),
    }
}

/// Adds lines to the last section of the project file, which is the environment `lab`.
fn add(line: &Line, lines: &str) {
    let file = line.project.path().join("onward.toml");
    let mut file = OpenOptions::new().append(true).open(file).expect("the project file");
    file.write_all(lines.as_bytes()).expect("it is written");
}

/// The status, and where it leads to, of a request without TLS.
fn plain(front: Ipv4Addr, path: &str) -> (u16, String) {
    http::redirect((front, 80), "visits.test", path)
}

/// What a page of `visits` says: how many there were, and the server that made it.
fn count(answer: &Answer) -> (u64, String) {
    let between = |start: &str, end: &str| {
        let rest = answer.body.split_once(start).map(|(_, rest)| rest);
        rest.and_then(|rest| rest.split_once(end)).map(|(text, _)| text.to_owned())
    };
    let visits = between("<strong>", "</strong>").and_then(|text| text.parse().ok());
    let host = between(" on ", "</span>");
    visits.zip(host).unwrap_or_else(|| panic!("a page of visits: {answer:?}"))
}

/// Some visitors, one after the other; what each saw.
fn visitors(front: Ipv4Addr, root: &Path) -> Vec<(u64, String)> {
    let visit = |_| {
        let answer = ask_at(front, root, URL).expect("an answer");
        assert_eq!((answer.status, answer.version.as_str()), (200, "2"));
        count(&answer)
    };
    (0..VISITORS).map(visit).collect()
}

/// Installs Redis on a server, listening on its own address.
fn install_redis(jobs: &Ssh, address: Ipv4Addr) {
    let command = format!(
        "export DEBIAN_FRONTEND=noninteractive; \
         apt-get update -qq -o Acquire::Retries=3 && \
         apt-get install -qq -y --no-install-recommends -o Acquire::Retries=3 redis-server && \
         sed -i 's/^bind .*/bind {address}/; s/^protected-mode .*/protected-mode no/' \
             /etc/redis/redis.conf && \
         systemctl restart redis-server && redis-cli -h {address} ping"
    );
    let answer = jobs.run(&command);
    assert!(answer.is_success() && answer.stdout.contains("PONG"), "{answer:?}");
}

/// Whether a server opens a connection to another.
fn reaches(from: &Ssh, to: Ipv4Addr, port: u16) -> bool {
    from.run(&format!("timeout 2 bash -c '< /dev/tcp/{to}/{port}'")).is_success()
}

#[test]
fn visits_answers_with_tls_and_two_web_servers_count_together() {
    if !Authority::is_here() {
        return;
    }
    let Some(line) = Line::of_visits() else { return };
    let specs = SERVERS.map(|name| ServerSpec::of(name.parse().expect("a name")));
    let machines = line.boot(&specs);
    let of = |name: &str| machines.iter().find(|own| own.name.as_str() == name).expect("booted");
    let front = address(of("front"));
    let [a, b, c, _] = front.octets();
    let authority = Authority::of(Ipv4Addr::new(a, b, c, 1), (&[front], 80), None);
    add(&line, &format!("domain = \"visits.test\"\n{}", authority.lines()));
    let up = line.onward(&["-e", "lab", "up"]);
    assert!(up.stdout.contains("Release 1"), "{up:?}");
    assert!(!up.stderr.contains("no new certificate"), "{}", up.stderr);

    let root = authority.root().expect("its root");
    assert_eq!(plain(front, "/a?b"), (301, format!("{URL}a?b")));
    let alone = visitors(front, &root);
    let hosts: BTreeSet<_> = alone.iter().map(|(_, host)| host.as_str()).collect();
    assert_eq!(hosts, BTreeSet::from(["web-1", "web-2"]));
    let last = alone.iter().map(|(visits, _)| *visits).max();
    assert!(last < Some(VISITORS), "a control: each counts for itself: {alone:?}");

    // The rest waits for apt.
    if !is_long() {
        return;
    }
    let jobs = address(of("jobs"));
    install_redis(&line.ssh("jobs"), jobs);
    let web = ["web-1", "web-2"].map(|name| line.ssh(name));
    assert!(!reaches(&web[0], jobs, 6379), "hardened: nobody said that this port is open");
    let from = ["web-1", "web-2"].map(|name| format!("\"{}\"", address(of(name)))).join(", ");
    add(&line, &format!("open = [{{ port = 6379, from = [{from}] }}]\n"));
    add(&line, &format!("values = {{ REDIS_URL = \"redis://{jobs}\" }}\n"));
    let up = line.onward(&["-e", "lab", "up"]);
    assert!(up.stdout.contains("Release 2"), "{up:?}");
    assert!(web.iter().all(|web| reaches(web, jobs, 6379)), "they are let in");
    assert!(!reaches(&line.ssh("front"), jobs, 6379), "nobody else is");

    let together = visitors(front, &root);
    let hosts: BTreeSet<_> = together.iter().map(|(_, host)| host.as_str()).collect();
    assert_eq!(hosts, BTreeSet::from(["web-1", "web-2"]));
    let counts: Vec<_> = together.iter().map(|(visits, _)| *visits).collect();
    assert_eq!(counts, (1..=VISITORS).collect::<Vec<_>>(), "both count in one place");

    // A proxy that starts anew shows what it showed.
    line.ssh("front").run("systemctl restart 'onward-proxy@*.service'");
    assert_eq!(visitors(front, &root)[0].0, VISITORS + 1);
}
