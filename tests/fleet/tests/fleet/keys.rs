//! A server that shows another host key.

use onward_fleet_tests::{Line, Ssh};

const TWO: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\"] }, \
                   { name = \"one\", roles = [\"web\"] }";
const HOST_KEY: &str = "/etc/ssh/ssh_host_ed25519_key";

/// What a server was told last, and what runs there.
fn orders(line: &Line, ways: &[(&str, &Ssh)]) -> Vec<String> {
    let look = "sha256sum /var/lib/onward/apps/hello/lab/app.json; \
                systemctl list-units --plain --no-legend 'onward-hello*.service' | cut -d' ' -f1";
    let mut all: Vec<_> = ways.iter().map(|(_, way)| way.run(look).stdout).collect();
    all.push(line.run("front", "sha256sum /var/lib/onward/state/hello/lab/state.json"));
    all
}

#[test]
fn a_changed_host_key_stops_everything_and_touches_nothing() {
    let Some(line) = Line::of_hello(TWO, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    let (front, one) = (line.ssh("front"), line.ssh("one"));
    let new =
        one.run("ssh-keygen -q -t ed25519 -N '' -f /root/new && cut -d' ' -f1,2 /root/new.pub");
    let changed = one.pinned_to(new.stdout.trim());
    one.run(&format!(
        "cp -a {HOST_KEY} /root/old && cp /root/new {HOST_KEY} && systemctl reload ssh"
    ));
    let before = orders(&line, &[("front", &front), ("one", &changed)]);
    assert!(before.iter().all(|text| !text.is_empty()), "a control: {before:?}");

    for command in [&["deploy", "--force"][..], &["up"], &["rollback"]] {
        let stopped = line.project.run(command);
        assert_eq!(stopped.code, Some(3), "{command:?}: {stopped:?}");
        for text in ["server one (root@", "another host key", "SHA256:", "Nothing was changed"] {
            assert!(stopped.stderr.contains(text), "{command:?}: {text} in {}", stopped.stderr);
        }
    }
    assert_eq!(orders(&line, &[("front", &front), ("one", &changed)]), before);
    assert!(line.visit("front").contains("release 1 "));

    changed.run(&format!("cp -a /root/old {HOST_KEY} && systemctl reload ssh"));
    line.onward(&["deploy", "--force"]);
    assert_eq!(line.settled(), 2);
}
