//! Several people, several apps, the same servers.

use std::time::Duration;

use onward_cli_tests::ended;
use onward_fleet_tests::load::Sampler;
use onward_fleet_tests::{Fleet, Operator, is_long};

fn asked(address: &str, host: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(onward_fleet_tests::PATIENCE)).expect("a limit");
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn two_apps_share_a_server_and_one_goes_without_the_other() {
    let Some(fleet) = Fleet::boot(1) else { return };
    let address = format!("{}:80", fleet.machines()[0].address);
    let shop = Operator::of(
        &fleet,
        "shop",
        &["alone"],
        "domain = \"shop.test\"\ntls = \"off\"\nharden = \"off\"",
    );
    let blog = Operator::of(&fleet, "blog", &["box"], "domain = \"blog.test\"\ntls = \"off\"");
    shop.run(&["up"]).code_is(0);
    blog.run(&["up"]).code_is(0);
    blog.run(&["deploy", "--force"]).code_is(0);
    assert!(asked(&address, "shop.test").contains("good release 1"));
    assert!(asked(&address, "blog.test").contains("good release 2"));
    assert!(!asked(&address, "other.test").contains("good release"), "a control");

    blog.run(&["down", "-y", "--confirm", "production"]).code_is(0);
    assert!(asked(&address, "shop.test").contains("good release 1"));
    assert!(!asked(&address, "blog.test").contains("good release"));
    shop.run(&["deploy", "--force"]).code_is(0);
    assert!(asked(&address, "shop.test").contains("good release 2"));
    let left = fleet.run(
        0,
        "systemctl list-units --plain --no-legend 'onward-blog*.service'; \
         ls -A /var/lib/onward/apps/blog/production/releases; \
         ls /var/lib/onward/apps/shop/production/releases | wc -l",
    );
    assert_eq!(left, "2\n", "nothing of the one runs or lies there, everything of the other");

    // Of two without a name, the one that was there first answers, and the other is told. Workers
    // answer nobody.
    let jobs = Operator::of(&fleet, "jobs", &["machine"], "");
    let file = jobs.project.path().join("onward.toml");
    let text = std::fs::read_to_string(&file).expect("its file");
    let (_, rest) = text.split_once("[release]").expect("a release");
    let worker = "app = \"jobs\"\n[process.worker]\nrun = \"sleep 1000\"\n[release]";
    jobs.project.write("onward.toml", &format!("{worker}{rest}"));
    jobs.run(&["up"]).code_is(0);
    let zine = Operator::of(&fleet, "zine", &["machine"], "");
    zine.run(&["up"]).code_is(0);
    zine.run(&["deploy", "--force"]).code_is(0);
    let about = Operator::of(&fleet, "about", &["machine"], "");
    let up = about.run(&["up"]).code_is(0);
    assert!(up.stderr.contains("zine/production answers, which was there first"), "{up:?}");
    assert!(!up.stdout.contains("http://"), "{up:?}");
    assert!(asked(&address, "nobody.test").contains("good release 2"));
    zine.run(&["down", "-y", "--confirm", "production"]).code_is(0);
    assert!(asked(&address, "nobody.test").contains("good release 1"));
    assert!(
        about
            .run(&["status"])
            .code_is(0)
            .stdout
            .contains(&format!("http://{}", fleet.machines()[0].address))
    );
}

fn is_reached(fleet: &Fleet, port: u16) -> bool {
    let address = std::net::SocketAddr::from((fleet.machines()[0].address, port));
    std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok()
}

#[test]
fn a_guest_has_its_ports_on_the_machine_of_another_until_it_is_down() {
    if !is_long() {
        eprintln!("LEFT OUT: hardens a server: ONWARD_FLEET=long");
        return;
    }
    let Some(fleet) = Fleet::boot(1) else { return };
    let shop = Operator::of(&fleet, "shop", &["alone"], "");
    let file = shop.project.path().join("onward.toml");
    let text = std::fs::read_to_string(&file).expect("its file");
    // Nobody comes to a worker.
    let (_, rest) = text.split_once("[release]").expect("a release");
    let rest = rest.replace("name = \"alone\",", "name = \"alone\", roles = [\"worker\"],");
    let worker = "app = \"shop\"\n[process.worker]\nrun = \"sleep 1000\"\n[release]";
    shop.project.write("onward.toml", &format!("{worker}{rest}"));
    shop.run(&["up"]).code_is(0);
    assert!(!is_reached(&fleet, 80), "a control");

    let blog = Operator::of(&fleet, "blog", &["box"], "domain = \"blog.test\"\ntls = \"off\"");
    let plan = blog.run(&["plan"]).code_is(0);
    assert!(plan.stdout.contains("the machine is set up by shop/production"), "{plan:?}");
    blog.run(&["up"]).code_is(0);
    let address = format!("{}:80", fleet.machines()[0].address);
    assert!(asked(&address, "blog.test").contains("good release 1"));
    assert!(fleet.run(0, "nft list table inet onward").contains("dport 80"));
    let plan = blog.run(&["plan", "--exit-code"]).code_is(0);
    assert!(!plan.stdout.contains("~ machine"), "{plan:?}");
    // Its owner leaves them open, and a guest may not ask for more.
    shop.run(&["up"]).code_is(0);
    assert!(asked(&address, "blog.test").contains("good release 1"));
    let more = Operator::of(
        &fleet,
        "blog",
        &["box"],
        "domain = \"blog.test\"\ntls = \"off\"\nopen = [9000]",
    );
    let refused = more.run(&["up"]).code_is(3);
    assert!(refused.stderr.contains("shop/production"), "{refused:?}");

    blog.run(&["down", "-y", "--confirm", "production"]).code_is(0);
    assert!(!is_reached(&fleet, 80), "it has taken its ports with it");
    let rules = fleet.run(0, "nft list table inet onward");
    assert!(rules.contains("policy drop") && !rules.contains("dport 80"), "{rules}");
}

#[test]
fn two_operators_and_ci_at_once_leave_one_truth() {
    let Some(fleet) = Fleet::boot(2) else { return };
    let operator = || Operator::of(&fleet, "shop", &["one", "two"], "harden = \"off\"");
    let (ana, ben, ci) = (operator(), operator(), operator());
    ana.run(&["up"]).code_is(0);
    // The other knows nothing of it but the project file.
    assert_eq!(ben.status()["release"]["number"], 1);
    let address = format!("{}:80", fleet.machines()[0].address);
    let visitors = Sampler::start(&address, 2, 1, Duration::from_millis(5));
    for round in 0..2 {
        ben.project.write("of-ben.txt", &format!("{round}\n"));
        let of_people = ["deploy", "--force"];
        let of_ci = ["deploy", "--force", "--json", "--no-input"];
        let begun = [ana.start(&of_people), ben.start(&of_people), ci.start(&of_ci)];
        let outcomes = begun.map(|own| ended(own, || {}));
        // One may be told that another's came before it was decided.
        assert!(outcomes.iter().any(|own| own.code == Some(0)), "{outcomes:?}");
        for outcome in &outcomes {
            assert!([Some(0), Some(1), Some(3)].contains(&outcome.code), "{outcome:?}");
        }
        let finished: serde_json::Value = outcomes[2]
            .stdout
            .lines()
            .last()
            .and_then(|line| serde_json::from_str(line).ok())
            .unwrap_or_else(|| panic!("{:?}", outcomes[2]));
        assert_eq!(finished["event"], "finished");
        assert_eq!(finished["ok"], outcomes[2].code == Some(0), "{finished}");
        let (hers, his) = (ana.status(), ben.status());
        assert!(hers["operation"].is_null(), "{hers:#}");
        assert_eq!((&hers["generation"], &hers["release"]), (&his["generation"], &his["release"]));
        let release = &hers["release"]["number"];
        for server in hers["servers"].as_array().expect("servers") {
            assert_eq!(&server["release"], release, "{hers:#}");
        }
    }
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    assert!(seen.answers.iter().any(|answer| answer.release > 1), "a control");
    let log = ben.run(&["state", "log"]).code_is(0);
    assert!(!log.stdout.contains("damaged"), "{}", log.stdout);
    lost_and_restored(&fleet, &ben);
}

/// The manager's disk is a new one: nobody begins anew, and the other server brings the state back.
fn lost_and_restored(fleet: &Fleet, operator: &Operator) {
    let before = operator.status();
    fleet.run(0, "rm -r /var/lib/onward/state");
    for command in [&["status"][..], &["up"], &["deploy", "--force"], &["secret", "list"]] {
        let refused = operator.run(command).code_is(3);
        assert!(refused.stderr.contains("the manager has no state"), "{command:?}: {refused:?}");
        assert!(refused.stderr.contains("`onward state restore -y`"), "{command:?}: {refused:?}");
    }
    fleet.run(0, "! ls /var/lib/onward/state/shop/production/state.json 2> /dev/null");
    operator.run(&["state", "restore", "--from", "two", "-y"]).code_is(0);
    let after = operator.status();
    assert_eq!(after["release"], before["release"]);
    assert!(after["generation"].as_u64() > before["generation"].as_u64(), "{after:#}");
    operator.run(&["deploy", "--force"]).code_is(0);
}
