//! Apps as units of systemd: what they are, what they may do, and what they survive.

use onward::providers::nspawn::ServerSpec;
use onward_core::report::InstanceState;
use onward_fleet_tests::eventually;

use crate::installed::{Installed, SERVER, config, instance, web};

#[test]
fn an_app_is_a_unit_of_its_own_user_and_may_write_what_it_shares() {
    let Some(mut server) = Installed::boot() else { return };
    let mut config = config(&[("web", web())]);
    config.shared_dirs = vec!["storage".into()];
    config.values.insert("PLAIN".into(), "a \"b\" $HOME `c` \\ %d\nsecond line".into());
    server.release(1, &[("server.pl", SERVER)], config);
    let report = server.serve(1);
    let pid = instance(&report, 1, "web").pid.expect("it runs");

    let unit =
        server.run("systemctl show -p MainPID -p User -p Slice onward-shop-production-1-web-1");
    assert_eq!(
        unit,
        format!("MainPID={pid}\nSlice=onward-shop-production.slice\nUser=onward-shop-production\n")
    );
    let tree = "/var/lib/onward/apps/shop/production";
    assert_eq!(server.get("/who").1, format!("onward-shop-production in {tree}/releases/1"));
    let environment = server.get("/env").1;
    assert!(environment.contains("PLAIN=a \"b\" $HOME `c` \\ %d\nsecond line\n"), "{environment}");
    assert!(environment.contains(&format!("HOME={tree}/shared\n")), "{environment}");

    assert_eq!(server.get(&format!("/write{tree}/releases/1/storage/own")).1, "written");
    for place in [&format!("{tree}/releases/1/new"), &format!("{tree}/app.json"), "/etc/new"] {
        let refused = server.get(&format!("/write{place}")).1;
        assert!(refused.starts_with("refused"), "{place}: {refused}");
    }
    for place in [&format!("{tree}/app.json"), "/var/lib/onward/server.json", "/root/.bashrc"] {
        let refused = server.get(&format!("/read{place}")).1;
        assert!(refused.starts_with("refused"), "{place}: {refused}");
    }
}

#[test]
fn what_ends_is_told_exactly_and_started_again() {
    let Some(mut server) = Installed::boot() else { return };
    server.release(1, &[("server.pl", SERVER)], config(&[("web", web())]));
    server.serve(1);
    let first = server.get("/who");
    assert_eq!(first.0, 200);
    // It exits in the middle of this request, which is not onward's loss.
    let _ = server.get("/exit");
    let order = server.last_order();
    let report = server.until(&order, |report| {
        let own = instance(report, 1, "web");
        own.restarts == 1 && own.state == InstanceState::Ready
    });
    assert_eq!(instance(&report, 1, "web").restarts, 1);
    let said = server.run("journalctl --no-pager -o cat -u onward-agent");
    assert!(said.contains("shop/production 1.web.1: web exited with status 3"), "{said}");
    let failed = server.run("systemctl list-units --failed --plain --no-legend");
    assert_eq!(failed, "", "what has ended is not left behind");
}

#[test]
fn everything_goes_on_when_the_agent_dies_and_comes_back_after_a_power_cut() {
    let Some(mut server) = Installed::boot() else { return };
    server.release(1, &[("server.pl", SERVER)], config(&[("web", web())]));
    let report = server.serve(1);
    let pid = instance(&report, 1, "web").pid;
    for _ in 0..3 {
        server.run("systemctl kill --signal=KILL onward-agent");
        eventually("another agent answers", || server.try_hello().is_some());
        let order = server.last_order();
        let report = server.until(&order, |report| report.converged);
        assert_eq!(instance(&report, 1, "web").pid, pid);
        assert_eq!(server.get("/up").0, 200);
    }
    server.run("systemctl kill --signal=KILL 'onward-proxy@*'");
    assert_eq!(server.get("/up").0, 200, "the connection waits for the next proxy");

    let name = server.fleet.name(0).clone();
    server.fleet.lab().power_cut(&name).expect("cut");
    server.fleet.up(&[ServerSpec::of(name)]).expect("it boots again");
    server.reconnect();
    let order = server.last_order();
    server.until(&order, |report| report.converged);
    assert_eq!(server.get("/up").0, 200);
}
