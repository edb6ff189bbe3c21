//! Servers that somebody has, and that leave the environment.

use onward::providers::nspawn::ServerSpec;
use onward_fleet_tests::{Fleet, Operator, eventually, is_long};

/// What onward has on a server, and what is its own and not onward's.
const TRACES: &str = "ls -d /var/lib/onward /run/onward /etc/onward 2>/dev/null; \
    ls /etc/systemd/system /etc/tmpfiles.d /etc/ssh/sshd_config.d /etc/sudoers.d | grep onward; \
    getent passwd | grep onward | cut -d: -f1; \
    systemctl list-units --all --plain --no-legend 'onward*' | cut -d' ' -f1; \
    nft list ruleset 2>/dev/null | grep onward; ls -d /sys/fs/cgroup/onward* 2>/dev/null";

fn traces(fleet: &Fleet, index: usize) -> String {
    fleet.ssh(index).run(TRACES).stdout
}

/// Takes the server of a name out of the project file.
fn without(operator: &Operator, name: &str) -> String {
    let path = operator.project.path().join("onward.toml");
    let text = std::fs::read_to_string(path).expect("its file");
    let begin = text.find(&format!("{{ name = \"{name}\"")).expect("it is named");
    let end = begin + text[begin..].find('}').expect("its end") + 1;
    let before = text[..begin].trim_end_matches([',', ' ']);
    let changed = format!("{before}{}", &text[end..]);
    operator.project.write("onward.toml", &changed);
    text
}

#[test]
fn onward_is_taken_off_a_server_that_left_the_file() {
    let Some(fleet) = Fleet::boot(2) else { return };
    let operator = Operator::of(&fleet, "hello", &["one", "two"], "");
    operator.run_long(&["up", "-y"]).code_is(0);
    let there = traces(&fleet, 1);
    for trace in
        ["/var/lib/onward", "/etc/onward", "onward-agent.service", "onward-hello-production"]
    {
        assert!(there.contains(trace), "a control: {trace} in {there}");
    }
    let file = without(&operator, "two");
    if is_long() {
        fleet.lab().power_cut(fleet.name(1)).expect("cut");
        let told = operator.run_long(&["up", "-y"]).code_is(0);
        assert!(told.stderr.contains("two has left, and onward is still on it"), "{told:?}");
        fleet.up(&[ServerSpec::of(fleet.name(1).clone())]).expect("it boots");
        let status = operator.run(&["status"]).code_is(0);
        assert!(status.stdout.contains("Gone       server two"), "{status:?}");
    }
    let told = operator.run_long(&["up", "-y"]).code_is(0);
    assert!(told.stdout.contains("two: onward is taken off"), "{told:?}");
    assert_eq!(traces(&fleet, 1), "");
    assert!(!operator.run(&["status"]).code_is(0).stdout.contains("Gone"));

    // And it may come back.
    operator.project.write("onward.toml", &file);
    operator.run_long(&["up", "-y"]).code_is(0);
    eventually("it serves", || traces(&fleet, 1).contains("onward-hello-production"));
}
