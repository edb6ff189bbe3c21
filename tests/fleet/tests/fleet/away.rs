//! The manager is away: what was known is shown with its age, and what the others say.

use onward::providers::nspawn::{Cut, End};
use onward_fleet_tests::{Line, is_long, server};

const SERVERS: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\"] }, \
                       { name = \"web\", roles = [\"web\"] }";

#[test]
fn status_shows_what_is_known_while_the_manager_is_away() {
    if !is_long() {
        eprintln!("LEFT OUT: waits for a server that is cut off: ONWARD_FLEET=long");
        return;
    }
    let Some(line) = Line::of_hello(SERVERS, "") else { return };
    line.onward(&["up"]);
    assert!(line.project.status()["stale"].is_null(), "a control");
    let front = End::Server(server("front"));
    for (from, to) in [(End::Host, front.clone()), (front, End::Host)] {
        line.lab().cut(Cut { from, to }).expect("cut");
    }
    let status = line.project.run(&["status"]).code_is(1);
    assert!(status.stdout.contains("  Known "), "{status:?}");
    assert!(status.stdout.contains(" ago: Release 1 ("), "{status:?}");
    // What the other one says is of now.
    assert!(status.stdout.contains("web web.1"), "{status:?}");
    assert!(status.stdout.contains("gets traffic"), "{status:?}");
    let why = "Error: the state cannot be read: its manager front (";
    assert!(status.stderr.contains(why), "{status:?}");
    assert!(status.stderr.contains(") does not answer within 3 s"), "{status:?}");
    eprintln!("status without its manager: {:.1?}", status.took);
    let said = line.project.run(&["status", "--json"]).code_is(1).json();
    assert_eq!(said["stale"]["manager"], "front", "{said:#}");
    let state = |name| {
        let servers = said["servers"].as_array().expect("servers");
        servers.iter().find(|own| own["name"] == name).expect("a server")["state"].clone()
    };
    assert_eq!((state("front"), state("web")), ("unreachable".into(), "converged".into()));
    // It is for reading alone, and whoever acts waits longer.
    let deploy = line.project.run(&["deploy"]).code_is(1);
    assert!(!deploy.stderr.contains("within 3 s"), "{deploy:?}");
    eprintln!("deploy without its manager: {:.1?}", deploy.took);
    line.lab().heal().expect("healed");
    // One that is no manager keeps nobody from being seen, and is no failure.
    line.lab().cut_off(&server("web")).expect("cut");
    let status = line.project.run(&["status"]).code_is(0);
    eprintln!("status without another server: {:.1?}", status.took);
    assert!(status.stdout.contains("web: it does not answer within 3 s"), "{status:?}");
    assert!(status.stdout.contains("unreachable"), "{status:?}");
}
