//! The whole line on real servers.

use std::time::Duration;

use onward_fleet_tests::{Line, eventually, is_long, traces};

const SERVERS: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\"] }, \
                       { name = \"one\", roles = [\"web\"] }, { name = \"two\", roles = [\"web\"] }";

#[test]
fn a_lab_serves_loses_nothing_in_a_deploy_and_goes_without_a_trace() {
    let watched = "[release]\nwatch = \"1s\"";
    let Some(line) = Line::of_hardened_hello(SERVERS, watched) else { return };
    let up = line.onward(&["up"]);
    assert!(up.stdout.contains("Release 1"), "{up:?}");
    assert!(line.visit("front").contains("release 1"));

    let visitors = line.visitors("front");
    for _ in 0..2 {
        line.onward(&["deploy", "--force"]);
    }
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    assert!(seen.answers.len() > 100, "a control: {} answers", seen.answers.len());
    assert!(seen.answers.iter().any(|answer| answer.release == 3), "the last one was seen");

    let id = line.lab().id().to_owned();
    assert!(!traces::all(&id).is_empty(), "a control");
    line.onward(&["down", "-y", "--confirm", "lab"]);
    assert_eq!(traces::all(&id), Vec::<String>::new());
}

#[test]
fn a_server_whose_power_was_cut_serves_again_by_itself_once_it_has_booted() {
    let servers = "{ name = \"alone\" }";
    let Some(line) = Line::of_hello(servers, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    let name = "alone".parse().expect("a name");
    let (address, machine) = (line.address("alone"), line.lab().clone());
    machine.power_cut(&name).expect("cut");
    // The control as well: it is off.
    let away = line.project.run(&["status"]).code_is(3);
    assert!(away.stderr.contains("server alone does not run"), "{away:?}");
    assert!(away.stderr.contains("`onward up` boots it"), "{away:?}");

    let spec = onward::providers::nspawn::ServerSpec::of(name);
    machine.up(&[spec], &|_| {}).expect("it boots");
    assert_eq!(line.address("alone"), address);
    let mut visitor = onward_fleet_tests::load::Connection::to(&address);
    eventually("it serves without a command", || {
        visitor.get("/").is_ok_and(|(answer, _)| answer.release == 1)
    });
}

#[test]
fn a_power_cut_in_the_middle_of_a_deploy_is_made_good_by_the_next_command() {
    let Some(line) = Line::of_hello(SERVERS, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    let one: onward_core::model::ServerName = "one".parse().expect("a name");
    let spec = onward::providers::nspawn::ServerSpec::of(one.clone());
    // From before anything is staged until the new version is watched.
    let moments: &[u64] = if is_long() { &[50, 200, 400, 700, 1000, 1500, 2200] } else { &[400] };
    for moment in moments {
        let mut deploy = line.project.start(&["deploy", "--force", "--json"]);
        std::thread::sleep(Duration::from_millis(*moment));
        line.lab().power_cut(&one).expect("cut");
        let mut code = None;
        eventually("the deploy ends", || {
            code = deploy.try_wait().expect("a child").map(|status| status.code());
            code.is_some()
        });
        let code = code.flatten().expect("it ends by itself");
        // 3: refused, because not all servers are there to decide.
        assert!([0, 1, 3, 4].contains(&code), "cut after {moment} ms: exit code {code}");
        line.lab().up(std::slice::from_ref(&spec), &|_| {}).expect("it boots");
        line.onward(&["up"]);
        let status = line.project.status();
        assert!(status["operation"].is_null(), "cut after {moment} ms: {status:#}");
        let release = status["release"]["number"].as_u64().expect("a release");
        for server in status["servers"].as_array().expect("servers") {
            assert_eq!(server["release"].as_u64(), Some(release), "{moment} ms: {status:#}");
        }
        assert!(line.visit("front").contains(&format!("release {release} ")), "{moment} ms");
    }
}
