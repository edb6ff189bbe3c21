//! Apps as units of systemd: what they are, what they may do, and what they survive.

use onward::providers::nspawn::ServerSpec;
use onward_core::document::Failure;
use onward_core::model::{Limits, Process, ReleaseNumber, Run};
use onward_core::order::Level;
use onward_core::report::{InstanceState, Report};
use onward_core::secrets::{OrderSecrets, OrderValue, SecretName, SecretVersion};
use onward_fleet_tests::eventually;
use onward_secret::{Identity, seal_value};
use onward_server::protocol::{LogsRequest, Terminal};
use onward_server::stream::Size;

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

#[test]
fn what_apps_print_is_in_the_journal_and_told_from_there() {
    let Some(mut server) = Installed::boot() else { return };
    server.release(1, &[("server.pl", SERVER)], config(&[("web", web())]));
    server.serve(1);
    server.get("/say/hello");
    let journal = "journalctl --no-pager -o short -u onward-shop-production-1-web-1";
    eventually("the journal has it", || server.run(journal).contains("shop/production/web.1["));
    let lines = server.logs(20);
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["listening", "hello"]);
    assert!(lines.iter().all(|line| line.source == "web.1" && line.release.0 == 1), "{lines:?}");
    assert_eq!(server.logs(1).len(), 1);

    let mut following = server.client();
    let request = LogsRequest { follow: true, lines: 0, ..server.all_logs() };
    let (told, heard) = std::sync::mpsc::channel();
    let follower = std::thread::spawn(move || {
        following.logs(request, |line| told.send(line.text).is_ok()).expect("it is followed");
    });
    let mut count = 0;
    let first = loop {
        // Whoever follows hears what is said once it listens.
        count += 1;
        server.get(&format!("/say/count-{count}"));
        if let Ok(text) = heard.recv_timeout(std::time::Duration::from_millis(200)) {
            break text;
        }
        assert!(count < 100, "nothing is heard");
    };
    assert!(first.starts_with("count-"), "{first}");
    drop(heard);
    server.get("/say/the-end");
    follower.join().expect("it ended");

    // The last words of what fails are told with it.
    let mut bad = config(&[("web", web())]);
    bad.processes.get_mut(&"web".parse().unwrap()).unwrap().run =
        Run::Command("echo my last words; exit 7".into());
    server.release(2, &[("server.pl", SERVER)], bad);
    server.level(2, Level::Running);
    let order = server.order();
    let failed = |report: &Report| report.releases.get(&ReleaseNumber(2))?.failure.clone();
    let has_lines = |failure: Failure| !failure.lines.is_empty();
    let report = server.until(&order, |report| failed(report).is_some_and(has_lines));
    let failure = failed(&report).unwrap();
    assert_eq!(failure.reason, "web exited with status 7 before it was ready");
    assert_eq!(failure.lines.last().map(String::as_str), Some("my last words"));
}

#[test]
fn secrets_are_the_apps_alone() {
    const CANARY: &str = "canary-7f3a9/+=\"d1";
    let Some(mut server) = Installed::boot() else { return };
    let identity = Identity::generate();
    let name: SecretName = "KEY".parse().unwrap();
    let sealed =
        seal_value(identity.public(), &name, SecretVersion(1), &CANARY.into()).expect("sealed");
    let versions = [(SecretVersion(1), OrderValue { name: name.clone(), sealed })].into();
    server.secrets = Some(OrderSecrets { key: identity.public().clone(), versions });
    let (app, environment) = ("shop".parse().unwrap(), "production".parse().unwrap());
    server.client().take_key(&app, &environment, identity).expect("the key is kept");
    let mut with = config(&[("web", web())]);
    with.secrets = [(name, SecretVersion(1))].into();
    with.values.insert("PLAIN".into(), "control-51c2".into());
    server.release(1, &[("server.pl", SERVER)], with);
    server.serve(1);

    let environment = server.get("/env").1;
    assert!(environment.contains(&format!("KEY={CANARY}\n")), "{environment}");
    let directory = "/run/credentials/onward-shop-production-1-web-1.service";
    assert!(environment.contains(&format!("ONWARD_SECRETS_DIR={directory}\n")), "{environment}");
    assert_eq!(server.get(&format!("/read{directory}/KEY")).1, CANARY);
    server.get(&format!("/say/I-say-{CANARY}"));
    eventually("it is masked", || {
        server
            .logs(5)
            .iter()
            .any(|line| line.text.starts_with("I-say-") && !line.text.contains("7f3a9"))
    });

    // Whatever another user of the server looks at: the unit, its files, its processes.
    server.run("useradd --system --shell /bin/sh nosy");
    let look = "{ systemctl show 'onward-shop-production-*'; systemctl cat 'onward-shop-production-*'; \
                cat /proc/*/environ /proc/*/cmdline; \
                find /run /var/lib/onward /etc/systemd -type f -exec cat {} +; } 2>/dev/null | tr '\\0' '\\n'";
    let seen = server.run(&format!("su nosy -c \"{look}\" || true"));
    assert!(seen.contains("onward-shop-production-1-web-1"), "it sees the unit:\n{seen}");
    assert!(!seen.contains("7f3a9"), "a secret is seen by others");
    let all = server.run(&format!("{look} || true"));
    assert!(all.contains("7f3a9"), "control: root finds it in the process");
    let unit =
        "systemctl show 'onward-shop-production-*'; systemctl cat 'onward-shop-production-*'";
    assert!(!server.run(unit).contains("7f3a9"), "not even root reads it from the unit");
}

#[test]
fn a_command_of_a_person_runs_as_the_app_does() {
    let Some(mut server) = Installed::boot() else { return };
    server.release(1, &[("server.pl", SERVER)], config(&[("web", web())]));
    server.serve(1);
    let (ended, output) = server.attached("id -un; pwd; cat; echo oops >&2; exit 5", None, "in\n");
    assert_eq!(ended.status, Some(5), "{output}");
    let tree = "/var/lib/onward/apps/shop/production/releases/1";
    assert_eq!(output, format!("onward-shop-production\n{tree}\nin\noops\n"));
    let (ended, _) = server.attached("kill -KILL $$", None, "");
    assert_eq!((ended.status, ended.signal), (None, Some(9)));
    let terminal = Terminal { kind: "xterm".into(), size: Size { rows: 40, columns: 100 } };
    let (ended, output) =
        server.attached("stty size; tty >/dev/null && echo tty", Some(terminal), "");
    assert_eq!(ended.status, Some(0), "{output}");
    assert_eq!(output.replace('\r', ""), "40 100\ntty\n");
    let (ended, output) = server.attached("no-such-program", None, "");
    assert_eq!(ended.status, Some(127), "{output}");
    let left = server
        .run("systemctl list-units --all --plain --no-legend '*attached*'; ls /run/onward/units");
    assert_eq!(left, "", "nothing of them is left");
}

#[test]
fn limits_are_in_force() {
    let Some(mut server) = Installed::boot() else { return };
    let limits = Limits { memory_bytes: Some(64 << 20), cpu_percent: Some(50), tasks: Some(100) };
    server.release(1, &[("server.pl", SERVER)], config(&[("web", Process { limits, ..web() })]));
    server.serve(1);
    let shown = "systemctl show -p MemoryMax -p CPUQuotaPerSecUSec -p TasksMax --value \
                 onward-shop-production-1-web-1";
    let mut shown: Vec<String> = server.run(shown).lines().map(str::to_owned).collect();
    shown.sort();
    assert_eq!(shown, ["100", "500ms", "67108864"]);

    let controllers = "cat /sys/fs/cgroup/cgroup.controllers 2> /dev/null || true";
    if !server.run(controllers).contains("memory") {
        eprintln!(
            "LEFT OUT: servers of this machine cannot limit memory: its groups are of version 1"
        );
        return;
    }
    let _ = server.get("/eat");
    let order = server.last_order();
    server.until(&order, |report| instance(report, 1, "web").restarts == 1);
    let said = server.run("journalctl --no-pager -o cat -u onward-agent");
    assert!(said.contains("because it needed more memory than its limit of 64MiB"), "{said}");
}
