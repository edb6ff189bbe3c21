//! Certificates on several balancers: got through whichever is asked, renewed by the manager when
//! nobody types anything, exchanged unnoticed.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use onward::providers::nspawn::ServerSpec;
use onward_cli_tests::authority::{Authority, ask_at};
use onward_cli_tests::within;
use onward_fleet_tests::{Line, is_long, server};
use serde_json::Value;

const SERVERS: &str = "{ name = \"east\", roles = [\"balancer\", \"manager\"] }, \
                       { name = \"west\", roles = [\"balancer\"] }, \
                       { name = \"web\", roles = [\"web\"] }";
const URL: &str = "https://shop.test/";
/// How long a certificate is good: two thirds of it pass before it is renewed, and the third may not
/// be too short for a busy machine where visitors come all the time.
const SECONDS: u64 = 30;
const SECONDS_WITH_VISITORS: u64 = 75;
/// Who has renewed, when nobody typed anything.
const MANAGER: &str = "the manager";
/// The rest of a life and as much again, on a machine that is busy.
const RENEWED_WITHIN: Duration = Duration::from_secs(150);

/// The line with an authority, before its first `up`, and the addresses of these balancers.
fn line(
    servers: &str,
    balancers: &[&str],
    seconds: Option<u64>,
) -> Option<(Line, Authority, Vec<Ipv4Addr>)> {
    if !Authority::is_here() {
        return None;
    }
    let line = Line::of_hello(servers, "[release]\nwatch = \"1s\"")?;
    let specs: Vec<_> = servers
        .split("name = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .map(|name| ServerSpec::of(server(name)))
        .collect();
    let machines = line.boot(&specs);
    let address = |name: &&str| {
        let own = machines.iter().find(|own| own.name.as_str() == *name).expect("booted");
        match own.address {
            IpAddr::V4(address) => address,
            IpAddr::V6(other) => panic!("a lab has IPv4: {other}"),
        }
    };
    let addresses: Vec<Ipv4Addr> = balancers.iter().map(address).collect();
    let [a, b, c, _] = addresses[0].octets();
    let here = Ipv4Addr::new(a, b, c, 1);
    let authority = Authority::of(here, (&addresses, 80), seconds);
    let file = std::fs::read_to_string(line.project.path().join("onward.toml")).expect("its file");
    let lines = format!("{file}domain = \"shop.test\"\n{}", authority.lines());
    line.project.write("onward.toml", &lines);
    Some((line, authority, addresses))
}

fn left_out() {
    eprintln!("LEFT OUT: takes the lives of some certificates: ONWARD_FLEET=long");
}

/// The only certificate that the document has: its end, and who got it.
fn certificate(document: &Value) -> (Timestamp, String) {
    let all = document["https"]["certificates"].as_object().expect("certificates");
    let own = all.values().next().expect("one");
    let until = own["not_after"].as_str().and_then(|text| text.parse().ok()).expect("a time");
    (until, own["by"].as_str().expect("who").to_owned())
}

/// Visitors who come to each balancer over and over, each time with a new connection.
struct Visitors {
    is_over: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    threads: Vec<thread::JoinHandle<Vec<String>>>,
}

impl Visitors {
    fn of(balancers: &[Ipv4Addr], root: &Path) -> Self {
        let (is_over, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let visit = |address: &Ipv4Addr| {
            let (address, root) = (*address, root.to_owned());
            let (is_over, answers) = (Arc::clone(&is_over), Arc::clone(&answers));
            thread::spawn(move || {
                let mut lost = Vec::new();
                while !is_over.load(Ordering::Relaxed) {
                    match ask_at(address, &root, URL) {
                        Ok(answer) if answer.status == 200 => {
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                        other => lost.push(format!("{address}: {other:?}")),
                    }
                }
                lost
            })
        };
        let threads = balancers.iter().map(visit).collect();
        Self { is_over, answers, threads }
    }

    /// How many answers there were, and what was lost.
    fn end(self) -> (u64, Vec<String>) {
        self.is_over.store(true, Ordering::Relaxed);
        let lost =
            self.threads.into_iter().flat_map(|one| one.join().expect("it visits")).collect();
        (self.answers.load(Ordering::Relaxed), lost)
    }
}

#[test]
fn whichever_of_two_balancers_is_asked_answers() {
    let Some((line, authority, balancers)) = line(SERVERS, &["east", "west"], None) else { return };
    let up = line.onward(&["up"]);
    assert!(!up.stderr.contains("certificate"), "{up:?}");
    let root = authority.root().expect("its root");
    for balancer in &balancers {
        assert_eq!(ask_at(*balancer, &root, URL).map(|own| own.status), Ok(200), "{balancer}");
    }
}

/// Waits until the certificate ends later than at a moment, as it lies on the manager: no command
/// reads it.
fn renewed(line: &Line, last: Timestamp) -> (Timestamp, String) {
    let later = || Some(certificate(&line.document("east"))).filter(|own| own.0 > last);
    let (own, took) = within(RENEWED_WITHIN, "it is renewed", later);
    eprintln!("renewed after {took:.1?}");
    own
}

#[test]
fn every_balancer_shows_what_is_renewed_and_nobody_is_lost() {
    if !is_long() {
        return left_out();
    }
    let found = line(SERVERS, &["east", "west"], Some(SECONDS_WITH_VISITORS));
    let Some((line, authority, balancers)) = found else { return };
    line.onward(&["up"]);
    let root = authority.root().expect("its root");
    let visitors = Visitors::of(&balancers, &root);
    let (first, by) = certificate(&line.document("east"));
    assert_ne!(by, MANAGER, "a control");
    assert_eq!(renewed(&line, first).1, MANAGER);
    // What was shown before is worth nothing then, so visitors have seen the later one.
    while Timestamp::now() <= first {
        thread::sleep(Duration::from_millis(50));
    }
    for balancer in &balancers {
        assert_eq!(ask_at(*balancer, &root, URL).map(|own| own.status), Ok(200), "{balancer}");
    }
    let (answers, lost) = visitors.end();
    eprintln!("{answers} answers");
    assert!(lost.is_empty(), "{lost:?}");
    assert!(answers > 50, "a control: {answers} answers");
    nobody_else_renews(&line, &root, &balancers);
}

/// Without the manager's agent the certificate ends: nobody else has renewed it. When it is back it
/// needs no command.
fn nobody_else_renews(line: &Line, root: &Path, balancers: &[Ipv4Addr]) {
    line.run("east", "systemctl stop onward-agent.service");
    let ends = || ask_at(balancers[1], root, URL).err();
    let (why, _) = within(RENEWED_WITHIN, "it ends, a control", ends);
    assert!(why.contains("expired"), "{why}");
    line.run("east", "systemctl start onward-agent.service");
    let shown = || ask_at(balancers[1], root, URL).ok();
    within(RENEWED_WITHIN, "it is renewed by an agent that starts", shown);
}

#[test]
fn a_server_that_is_alone_renews_and_says_why_it_cannot() {
    if !is_long() {
        return left_out();
    }
    let alone = line("{ name = \"one\" }", &["one"], Some(SECONDS));
    let Some((line, mut authority, alone)) = alone else { return };
    line.onward(&["up"]);
    let root = authority.root().expect("its root");
    let (first, _) = certificate(&line.document("one"));
    let renewed = || (certificate(&line.document("one")).0 > first).then_some(());
    within(RENEWED_WITHIN, "it is renewed", renewed);
    let shown = || ask_at(alone[0], &root, URL).ok();
    assert_eq!(within(RENEWED_WITHIN, "it is shown", shown).0.status, 200);

    authority.stop();
    let began = Instant::now();
    let degraded = || {
        let status = line.onward(&["status"]).stdout;
        let is_told = status.contains("Degraded   the certificate of shop.test ");
        is_told.then_some(status)
    };
    let (status, _) = within(RENEWED_WITHIN, "it is told", degraded);
    assert!(status.contains(": the authority cannot be asked"), "{status}");
    let is_good = !status.contains(" ended ");
    assert!(!is_good || status.contains(" is not renewed, "), "{status}");
    assert!(status.contains("tried again by itself in 1"), "{status}");
    let doctor = line.project.run(&["doctor"]);
    assert!(doctor.stdout.contains("the certificate of shop.test"), "{doctor:?}");
    eprintln!("told after {:.1?}", began.elapsed());

    // What is asked for now is not reached, and somebody goes on.
    let file = std::fs::read_to_string(line.project.path().join("onward.toml")).expect("its file");
    line.project.write("onward.toml", &format!("{file}aliases = [\"www.shop.test\"]\n"));
    let up = line.project.run(&["up"]).code_is(4);
    assert!(up.stdout.contains("Release 2"), "{up:?}");
    assert!(
        up.stderr.contains("Warning: www.shop.test has no certificate: the authority cannot be")
    );
    assert!(up.stderr.contains("the manager asks again by itself"), "{up:?}");
}
