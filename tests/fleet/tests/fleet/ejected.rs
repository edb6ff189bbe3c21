//! Life without onward: what `eject` writes for servers is brought there and installed as it says itself,
//! and the same visitors are answered with the same certificate.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use onward_cli_tests::authority::ask_at;
use onward_cli_tests::{binary, http};
use onward_fleet_tests::{Line, eventually, is_long, server};

const SERVERS: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\"] }, \
                       { name = \"one\", roles = [\"web\", \"worker\"] }";
const EXTRA: &str = "[process.worker]\nrun = \"while :; do echo $KEY > $ONWARD_SHARED/storage/key; sleep 1; done\"\n\
                     [shared]\ndirs = [\"storage\"]\n[release]\nwatch = \"1s\"\n[secrets]\nnames = [\"KEY\"]\n";
const TREE: &str = "/var/lib/onward/apps/hello/lab";
const PLACE: &str = "/srv/hello-lab";

/// The lines for a shell in a text, one string for each block of them.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut own: Option<String> = None;
    for line in text.lines().map(str::trim_start) {
        match (line, &mut own) {
            ("```sh", None) => own = Some(String::new()),
            ("```", Some(_)) => blocks.extend(own.take()),
            (line, Some(own)) => own.extend([line, "\n"]),
            (_, None) => {}
        }
    }
    blocks
}

/// A line with a certificate of its own for `shop.test`, which is also what it is believed by.
fn line() -> Option<Line> {
    let line = Line::of_app(SERVERS, EXTRA)?;
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(["shop.test".to_owned()]).expect("a name");
    let own = parameters.self_signed(&key).expect("a certificate");
    line.project.write("../shop.pem", &own.pem());
    line.project.write("../shop.key", &key.serialize_pem());
    let file = fs::read_to_string(line.project.path().join("onward.toml")).expect("its file");
    let tls = "tls = { certificate = \"../shop.pem\", key = \"../shop.key\" }";
    line.project.write("onward.toml", &format!("{file}domain = \"shop.test\"\n{tls}\n"));
    Some(line)
}

fn address(line: &Line, name: &str) -> Ipv4Addr {
    let state = line.lab().state().expect("a state");
    let own = state.iter().find(|own| own.name == server(name)).expect("it is there");
    match own.address {
        IpAddr::V4(address) => address,
        IpAddr::V6(other) => panic!("a lab has IPv4: {other}"),
    }
}

/// Types the lines that bring the directories to the servers, as the file beside them has them.
fn bring(line: &Line, out: &Path) {
    let programs = out.with_file_name("bin");
    fs::create_dir(&programs).expect("a directory");
    symlink(binary(), programs.join("onward")).expect("a link");
    let path = std::env::var("PATH").unwrap_or_default();
    let readme = fs::read_to_string(out.join("README.md")).expect("it says what to do");
    let mut shell = Command::new("sh");
    shell.args(["-ec", &blocks(&readme)[0]]).current_dir(out);
    shell.env("PATH", format!("{}:{path}", programs.display()));
    shell.env("HOME", line.project.path().parent().expect("a parent"));
    let output = shell.output().expect("a shell");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn servers_answer_without_onward() {
    if !is_long() {
        return;
    }
    let Some(line) = line() else { return };
    line.project.run_with("canary-5d10", &["secret", "set", "KEY"]).code_is(0);
    line.onward(&["up"]);
    let (front, root) = (address(&line, "front"), line.project.path().with_file_name("shop.pem"));
    let before = ask_at(front, &root, "https://shop.test/").expect("an answer");
    assert_eq!(before.body, "good release 1\n");

    let out = line.project.path().with_file_name("out");
    let to = out.display().to_string();
    line.project.run(&["eject", "--copy", "--to", &to]).code_is(2);
    let said = line.onward(&["eject", "--to", &to]);
    assert!(!format!("{said:?}").contains("canary"), "{said:?}");
    bring(&line, &out);
    let steps = |name: &str| {
        let path = format!("{PLACE}/README.md");
        blocks(&line.run(name, &format!("cat {path}")))
    };
    let (of_front, of_one) = (steps("front"), steps("one"));
    for (name, all) in [("front", &of_front), ("one", &of_one)] {
        line.run(name, &format!("set -e\n{}", all[0]));
    }
    let still = ask_at(front, &root, "https://shop.test/").expect("it is still onward's");
    assert_eq!(still.body, before.body);
    line.run("one", &format!("echo mine > {TREE}/shared/storage/mine"));
    for (name, all) in [("one", &of_one), ("front", &of_front)] {
        line.run(name, &format!("set -e\n{}", all[1]));
        line.run(name, "! test -e /etc/systemd/system/onward-agent.service && ! pgrep onward");
    }

    eventually("it answers again", || {
        ask_at(front, &root, "https://shop.test/").is_ok_and(|own| own.status == 200)
    });
    let after = ask_at(front, &root, "https://shop.test/").expect("an answer");
    assert_eq!(after.body, before.body);
    let (status, to) = http::redirect((front, 80), "shop.test", "/a?b");
    assert_eq!((status, to.as_str()), (308, "https://shop.test/a?b"));
    assert_eq!(line.run("one", &format!("cat {PLACE}/files/shared/storage/mine")), "mine\n");
    let shared = format!("{PLACE}/files/shared/storage");
    line.run("one", &format!("rm {shared}/key"));
    eventually("the worker works", || {
        line.run("one", &format!("cat {shared}/key || true")) == "canary-5d10\n"
    });
}
