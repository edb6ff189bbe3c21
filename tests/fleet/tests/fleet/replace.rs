//! New machines for old ones while people visit.

use std::io::Read;
use std::time::{Duration, Instant};

use onward_cli_tests::Project;
use onward_fleet_tests::load::Connection;
use onward_fleet_tests::{Fleet, Line, Operator, eventually, is_long, server};

const SERVERS: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\"] }, \
                       { name = \"one\", roles = [\"web\"] }, { name = \"two\", roles = [\"web\"] }";

fn key_of(line: &Line, name: &str) -> String {
    let state = line.lab().state().expect("a state");
    let own = state.into_iter().find(|own| own.name.as_str() == name).expect("a server");
    own.host_key.expect("it was made")
}

/// The server has another machine with an empty disk, it serves, and nothing of the old one is left.
fn is_new(line: &Line, name: &str, old: &str) {
    assert_ne!(key_of(line, name), old);
    assert_eq!(line.run(name, "ls /root"), "");
    assert!(!line.visit(name).is_empty(), "it serves");
    line.settled();
    let document = line.document("front");
    assert!(document.get("gone").is_none(), "{document:#}");
    assert!(document["demand"].get("replacing").is_none(), "{document:#}");
    assert_eq!(document["servers"][name]["reach"]["host_key"], key_of(line, name));
}

#[test]
fn a_server_is_replaced_and_no_request_is_lost() {
    let Some(line) = Line::of_hello(SERVERS, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    line.run("two", "touch /root/of-the-old");
    let old = key_of(&line, "two");
    let asked = line.project.run(&["replace", "two"]).code_is(3);
    assert!(asked.stderr.contains("the disk of two"), "{asked:?}");
    // Whoever replaces it need not have the files: the manager does.
    let bundles = line.project.path().join(".onward/bundles");
    std::fs::remove_dir_all(bundles).expect("they were there");
    let visitors = line.visitors("front");
    let replaced = line.onward(&["replace", "two", "-y"]);
    assert!(replaced.stdout.contains("brought on by front to 1 server"), "{replaced:?}");
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    assert!(seen.answers.len() > 50, "a control: {} answers", seen.answers.len());
    is_new(&line, "two", &old);
    if is_long() {
        one_that_is_dead(&line);
        one_whose_command_is_killed(&line);
    }
    line.onward(&["down", "-y", "--confirm", "lab"]);
}

/// It is given up as it is.
fn one_that_is_dead(line: &Line) {
    line.run("two", "touch /root/of-the-old");
    let old = key_of(line, "two");
    line.lab().power_cut(&server("two")).expect("cut");
    // What arrives in the moments before the balancer has noticed is another test's.
    onward_fleet_tests::eventually("the balancer sends nobody there", || {
        (0..20).all(|_| Connection::to(&line.address("front")).get("/").is_ok())
    });
    let visitors = line.visitors("front");
    line.onward(&["replace", "two", "-y"]);
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    is_new(line, "two", &old);
}

/// It is emptied first; the command is killed when it is out, and `up` finishes it.
fn one_whose_command_is_killed(line: &Line) {
    let old = key_of(line, "one");
    let visitors = line.visitors("front");
    let mut child = line.project.start(&["replace", "one", "-y", "--json"]);
    let mut output = std::io::BufReader::new(child.stdout.take().expect("it is piped"));
    let mut text = String::new();
    while !text.contains("\"event\":\"left\"") {
        text.clear();
        let count = std::io::BufRead::read_line(&mut output, &mut text).expect("lines");
        assert!(count > 0, "it left before the command ended");
    }
    onward_cli_tests::Project::kill(child.id());
    child.wait().expect("ended");
    let status = line.onward(&["status"]);
    assert!(status.stdout.contains("server one is being replaced"), "{status:?}");
    line.onward(&["up"]);
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    assert_ne!(key_of(line, "one"), old);
    assert!(!line.visit("one").is_empty(), "it serves");
    line.settled();
}

const BUNDLES: &str = "/var/lib/onward/bundles";
const OFF: &str = "harden = \"off\"";

#[test]
fn a_server_whose_machine_is_gone_has_another_address_and_the_manager_has_the_files() {
    if !is_long() {
        eprintln!("LEFT OUT: puts onward on three bare servers: ONWARD_FLEET=long");
        return;
    }
    let Some(fleet) = Fleet::boot(3) else { return };
    let ana = Operator::of(&fleet, "shop", &["front", "two"], OFF);
    ana.run(&["up"]).code_is(0);
    fleet.lab().power_cut(fleet.name(1)).expect("cut");
    // Another person, who has never had the files, says where the new machine is.
    let ben = Operator::of(&fleet, "shop", &["front", "two"], OFF);
    ben.has(&fleet, "shop", &[("front", 0), ("two", 2)], OFF);

    fleet.run(0, &format!("mv {BUNDLES} {BUNDLES}.away; systemctl restart onward-agent"));
    let refused = ben.run_long(&["replace", "two", "--no-input"]).code_is(3);
    for said in ["the files of release 1 (", "front does not have them", "deploy --without two`"] {
        assert!(refused.stderr.contains(said), "{said}: {refused:?}");
    }
    assert!(ana.status()["overrides"].as_array().is_some_and(Vec::is_empty), "nothing was changed");
    fleet.run(
        0,
        &format!("rm -rf {BUNDLES}; mv {BUNDLES}.away {BUNDLES}; systemctl restart onward-agent"),
    );

    let replaced = ben.run_long(&["replace", "two", "--json"]).code_is(0);
    let spread = replaced.stdout.lines().find(|line| line.contains("\"event\":\"spread\""));
    assert!(spread.is_some_and(|line| line.contains("\"from\":\"front\"")), "{replaced:?}");
    let address = format!("{}:80", fleet.machines()[2].address);
    let (answer, _) = Connection::to(&address).get("/").expect("the new machine serves");
    assert_eq!(answer.release, 1);
    let status = ben.status();
    let servers = status["servers"].as_array().expect("servers");
    assert!(servers.iter().all(|own| own["state"] == "converged"), "{status:#}");
    // The old one was not reached, and its leftovers are known.
    assert_eq!(status["gone"][0]["name"], "two", "{status:#}");
    ben.run_long(&["up", "--forget", "two"]).code_is(0);
    assert_eq!(ben.status()["gone"], serde_json::json!([]));
}

/// What installs packages there, held until nobody wants it to be.
const HELD: &str = "dpkg-divert --rename --quiet /usr/bin/apt-get && touch /hold && printf '#!/bin/sh\\nwhile \
                    test -e /hold; do sleep 0.1; done\\nexec /usr/bin/apt-get.distrib \"$@\"\\n' > /usr/bin/apt-get \
                    && chmod 755 /usr/bin/apt-get";

#[test]
fn a_replace_that_is_stopped_while_packages_are_installed_ends_at_once_and_goes_on() {
    if !is_long() {
        eprintln!("LEFT OUT: puts onward on three bare servers: ONWARD_FLEET=long");
        return;
    }
    let Some(fleet) = Fleet::boot(3) else { return };
    let ana = Operator::of(&fleet, "shop", &["front", "two"], OFF);
    ana.run_long(&["up"]).code_is(0);
    fleet.run(2, HELD);
    let packages = format!("{OFF}\npackages = [\"bc\"]");
    ana.has(&fleet, "shop", &[("front", 0), ("two", 2)], &packages);
    let mut child = ana.start(&["replace", "two"]);
    let installs = "pgrep -fc 'sh /usr/bin/apt-get'";
    eventually("it installs", || fleet.ssh(2).run(installs).is_success());
    let began = Instant::now();
    Project::interrupt(child.id());
    let ended = child.wait().expect("it ends");
    assert!(began.elapsed() < Duration::from_secs(20), "it waited for what is held");
    assert_eq!(ended.code(), Some(1));
    let mut said = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    for text in
        ["interrupted: the machine", "what was begun there goes on", "Still serving: release 1"]
    {
        assert!(said.contains(text), "{text}: {said}");
    }
    assert!(fleet.ssh(2).run(installs).is_success(), "what was begun goes on");
    let (answer, _) = Connection::to(&format!("{}:80", fleet.machines()[0].address))
        .get("/")
        .expect("the other serves");
    assert_eq!(answer.release, 1);

    fleet.run(2, "rm /hold");
    eventually("it ends by itself", || !fleet.ssh(2).run(installs).is_success());
    eventually("the same again goes on", || ana.run_long(&["replace", "two"]).code == Some(0));
    assert!(fleet.ssh(2).run("command -v bc").is_success());
}
