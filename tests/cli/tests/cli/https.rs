//! HTTPS: certificates from an authority and of one's own, as visitors and operators see them.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;

use onward_cli_tests::authority::{Authority, ask};
use onward_cli_tests::{Project, ended, eventually, has, http};
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

const FILE: &str = "app = \"trial\"\n[process.web]\nstatic = \"public\"\n[release]\nwatch = \"100ms\"\n\
                    [environment.local]\ndomain = \"shop.example.com\"\n";

fn project() -> Project {
    let project = Project::empty();
    project.write("public/index.html", "hello");
    project.write("onward.toml", FILE);
    project
}

/// The port of plain HTTP, once something serves.
fn plain_port(project: &Project) -> u16 {
    let server = fs::read(project.path().join(".onward/server.json")).expect("it serves");
    let server: Value = serde_json::from_slice(&server).expect("JSON");
    u16::try_from(server["port"].as_u64().expect("a port")).expect("a port")
}

/// One plain request: its status and where it leads.
fn plain(port: u16, host: &str, path: &str) -> (u16, String) {
    http::redirect(("127.0.0.1", port), host, path)
}

fn url(project: &Project) -> String {
    let status = project.run(&["status", "--json"]).code_is(0).json();
    status["url"].as_str().expect("an address").to_owned()
}

/// Every file below a directory that holds the text.
fn holding(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(holding(&path, text));
        } else if fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(text))
        {
            found.push(path.file_name().expect("a name").to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn an_authority_issues_and_visitors_are_sent_to_tls() {
    if !Authority::is_here() {
        return;
    }
    let project = project();
    project.run(&["up"]).code_is(0);
    let port = plain_port(&project);
    let authority = Authority::start(port, None);
    let aliases = "aliases = [\"www.example.com\"]\n";
    project.write("onward.toml", &format!("{FILE}{aliases}{}", authority.lines()));
    let up = project.run(&["up"]).code_is(0);
    let url = url(&project);
    assert!(url.starts_with("https://shop.example.com:"), "{url}\n{}", up.stdout);
    let root = authority.root().expect("its root");
    assert_eq!(ask(&root, &format!("{url}/")), Ok((200, "2".to_owned())));
    let there = (301, format!("{url}/a?b"));
    assert_eq!(plain(port, "shop.example.com", "/a?b"), there);
    assert_eq!(plain(port, "www.example.com", "/a?b"), there, "in one step");

    let shown = project.run(&["certificate", "show", "--json"]).code_is(0).json();
    let names: Vec<_> = shown["certificates"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|own| own["names"].clone())
        .collect();
    assert_eq!(names, [json!(["shop.example.com"]), json!(["www.example.com"])]);
    let nothing = project.run(&["certificate", "renew", "--json"]).code_is(0).finished();
    assert_eq!((&nothing["issued"], &nothing["failed"]), (&json!([]), &json!([])));

    // Nobody sees a key: it is in the file of the proxy alone.
    let onward = project.path().join(".onward");
    let kept = fs::read_to_string(onward.join("proxy/certificates.json")).expect("the proxy's");
    let kept: Value = serde_json::from_str(&kept).expect("JSON");
    let key = kept["certificates"]["all"][0]["key"].as_str().expect("a key");
    let canary = key.lines().nth(1).expect("its first line");
    assert_eq!(holding(&onward, canary), ["certificates.json"]);
    for command in [&["status"][..], &["state", "show"], &["plan"], &["logs"], &["history"]] {
        let said = project.run(command);
        assert!(!said.stdout.contains(canary) && !said.stderr.contains(canary), "{command:?}");
    }

    project.write("onward.toml", FILE);
    project.run(&["up"]).code_is(0);
    assert_eq!(plain(port, "shop.example.com", "/").0, 200, "without TLS nobody is sent there");
    eventually("it is shown no more", || ask(&root, &format!("{url}/")).err());
    assert!(holding(&onward.join("proxy"), canary).is_empty());
}

#[test]
fn what_ends_soon_is_renewed_and_nobody_is_cut() {
    if !Authority::is_here() {
        return;
    }
    let project = project();
    project.run(&["up"]).code_is(0);
    let authority = Authority::start(plain_port(&project), Some(8));
    project.write("onward.toml", &format!("{FILE}{}", authority.lines()));
    project.run(&["up"]).code_is(0);
    let first = project.run(&["certificate", "show", "--json"]).code_is(0).json();
    let renewed = eventually("it is due", || {
        let own = project.run(&["certificate", "renew", "--json"]).code_is(0).finished();
        (own["issued"] == json!(["shop.example.com"])).then_some(own)
    });
    assert_eq!(renewed["failed"], json!([]));
    let second = project.run(&["certificate", "show", "--json"]).code_is(0).json();
    let until = |shown: &Value| shown["certificates"][0]["not_after"].as_str().map(str::to_owned);
    assert!(until(&second) > until(&first), "{first} {second}");
    let root = authority.root().expect("its root");
    assert_eq!(ask(&root, &format!("{}/", url(&project))).map(|own| own.0), Ok(200));
}

#[test]
fn a_name_that_leads_elsewhere_and_an_authority_that_is_away_are_told() {
    if !Authority::is_here() {
        return;
    }
    let project = project();
    project.run(&["up"]).code_is(0);
    let port = plain_port(&project);
    let Ok(other) = TcpListener::bind(("127.0.0.9", port)) else { return };
    thread::spawn(move || {
        for mut stream in other.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
        }
    });
    let mut authority = Authority::start(port, None);
    let aliases = "aliases = [\"elsewhere.example.com\"]\n";
    project.write("onward.toml", &format!("{FILE}{aliases}{}", authority.lines()));
    // What was asked for is not there, and nobody goes on by itself on this machine.
    let up = project.run(&["up"]).code_is(1);
    assert!(up.stderr.contains("Error: elsewhere.example.com has no certificate"), "{}", up.stderr);
    assert!(up.stderr.contains("did not match this challenge"), "{}", up.stderr);
    assert!(up.stderr.contains("Hint: `onward certificate renew`"), "{}", up.stderr);
    let root = authority.root().expect("its root");
    let url = url(&project);
    assert!(up.stderr.trim_end().ends_with(&format!("serves {url}")), "{}", up.stderr);
    let again = project.run(&["up", "--json"]).code_is(1).finished();
    assert_eq!((&again["ok"], &again["outcome"]), (&json!(false), &json!("unchanged")));
    assert_eq!(again["without_certificate"][0]["name"], "elsewhere.example.com", "{again}");
    assert_eq!(
        ask(&root, &format!("{url}/")).map(|own| own.0),
        Ok(200),
        "the other name has its own"
    );
    let status = project.run(&["status"]).code_is(0);
    assert!(
        status.stdout.contains("Degraded   elsewhere.example.com has no certificate"),
        "{}",
        status.stdout
    );
    let doctor = project.run(&["doctor"]);
    assert!(
        doctor.stdout.contains("elsewhere.example.com has no certificate"),
        "{}",
        doctor.stdout
    );

    authority.stop();
    let renew = ["certificate", "renew"];
    let away = project.run(&renew).code_is(1);
    assert!(away.stderr.contains("the authority cannot be asked"), "{}", away.stderr);
    assert!(away.stderr.trim_end().ends_with(&format!("at {url}")), "{}", away.stderr);
    project.run(&renew).code_is(1);
    let refused = project.run(&renew).code_is(3);
    assert!(refused.stderr.contains("was asked 4 times within an hour"), "{}", refused.stderr);
    assert_eq!(ask(&root, &format!("{url}/")).map(|own| own.0), Ok(200), "what is shown goes on");
}

/// Writes a certificate for a name, good until a year, and its key.
fn certificate(project: &Project, file: &str, name: &str, until: i32) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let made = params.self_signed(&key).expect("a certificate");
    project.write(&format!("certs/{file}.pem"), &made.pem());
    project.write(&format!("certs/{file}.key"), &key.serialize_pem());
}

#[test]
fn a_certificate_of_ones_own_is_shown_and_a_wrong_one_is_refused_with_its_place() {
    let project = project();
    certificate(&project, "good", "shop.example.com", 2060);
    certificate(&project, "next", "shop.example.com", 2061);
    certificate(&project, "old", "shop.example.com", 2021);
    certificate(&project, "other", "other.example.com", 2060);
    let wish = |certificate: &str, key: &str| {
        let tls =
            format!("tls = {{ certificate = \"certs/{certificate}\", key = \"certs/{key}\" }}\n");
        project.write("onward.toml", &format!("{FILE}{tls}"));
    };
    for (certificate, key, says, column) in [
        ("old.pem", "old.key", "the certificate ended on 2021-01-01", 23),
        ("other.pem", "other.key", "the certificate is not for shop.example.com", 23),
        ("none.pem", "good.key", "there is no file certs/none.pem", 23),
        ("good.key", "good.key", "there is no certificate in it", 23),
        ("good.pem", "old.key", "its key is another's", 47),
        ("good.pem", "good.pem", "its key is no private key in PEM", 47),
    ] {
        wish(certificate, key);
        let checked = project.run(&["check"]).code_is(2);
        assert!(checked.stderr.contains(says), "{}", checked.stderr);
        let place = format!("onward.toml:8:{column}");
        assert!(checked.stderr.contains(&place), "{place}\n{}", checked.stderr);
        project.run(&["up"]).code_is(2);
    }
    if !has("curl") {
        return;
    }
    wish("good.pem", "good.key");
    let bundled = project.run(&["up"]).code_is(3);
    assert!(bundled.stderr.contains("is in the bundle"), "{}", bundled.stderr);
    project.write(".onwardignore", "/certs/*.key\n");
    project.run(&["up"]).code_is(0);
    let url = url(&project);
    let shown =
        |file: &str| ask(&project.path().join(format!("certs/{file}.pem")), &format!("{url}/"));
    assert_eq!(shown("good").map(|own| own.0), Ok(200));
    // Whoever deploys without the key has a certificate that is known.
    fs::remove_file(project.path().join("certs/good.key")).expect("the key is there");
    project.write("public/index.html", "again");
    project.run(&["deploy"]).code_is(0);
    wish("next.pem", "next.key");
    project.run(&["up"]).code_is(0);
    eventually("the new one is shown", || shown("next").ok());
    assert!(shown("good").is_err());
    assert_eq!(plain(plain_port(&project), "shop.example.com", "/"), (301, format!("{url}/")));
}

/// Whether somebody is believed to be asking for a certificate.
fn is_tried(project: &Project) -> Option<()> {
    let state = project.run(&["state", "show", "--json"]).json();
    let attempt = &state["https"]["attempts"]["shop.example.com"];
    (attempt["problem"] == "").then_some(())
}

#[test]
fn whoever_is_stopped_while_an_authority_is_asked_asks_again_at_once() {
    if !Authority::is_here() {
        return;
    }
    let project = project();
    project.run(&["up"]).code_is(0);
    let authority = Authority::start(plain_port(&project), None);
    let pid = authority.pid().expect("it runs");
    project.write("onward.toml", &format!("{FILE}{}", authority.lines()));
    // It takes connections, and never answers.
    Project::hang(pid);
    let up = project.start(&["up"]);
    eventually("it asks", || is_tried(&project));
    Project::interrupt(up.id());
    let stopped = ended(up, || {}).code_is(1);
    assert!(stopped.stderr.contains("has no certificate: interrupted"), "{stopped:?}");

    let mut up = project.start(&["up"]);
    eventually("it asks at once", || is_tried(&project));
    Project::kill(up.id());
    up.wait().expect("ended");
    assert!(is_tried(&project).is_some(), "a control: nobody has said that it is over");
    Project::wake(pid);
    let up = project.run(&["up"]).code_is(0);
    assert!(!up.stdout.contains("somebody else"), "{up:?}");
    let root = authority.root().expect("its root");
    assert_eq!(ask(&root, &format!("{}/", url(&project))), Ok((200, "2".to_owned())));
}
