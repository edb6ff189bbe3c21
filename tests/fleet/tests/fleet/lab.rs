//! Servers boot, are reached, and have what happens to real ones happen to them.

use std::net::TcpStream;
use std::time::Duration;

use onward::providers::nspawn::{Cut, End, ServerSpec};
use onward_fleet_tests::{Fleet, eventually};

#[test]
fn servers_are_reached_by_a_pinned_key_and_refused_with_another() {
    let Some(fleet) = Fleet::boot(2) else { return };
    for (index, name) in ["one", "two"].into_iter().enumerate() {
        assert_eq!(fleet.run(index, "hostname").trim(), name);
        let state = "systemctl is-system-running --wait";
        assert_eq!(fleet.run(index, state).trim(), "running");
    }
    let wrong = fleet.ssh(0).pinned_to(&fleet.machines()[1].host_key).run("hostname");
    assert_eq!(wrong.code, Some(255), "{wrong:?}");
    assert!(wrong.stderr.contains("REMOTE HOST IDENTIFICATION HAS CHANGED"), "{wrong:?}");
    let ids = [fleet.run(0, "cat /etc/machine-id"), fleet.run(1, "cat /etc/machine-id")];
    assert_ne!(ids[0], ids[1]);
    // What one of them stops is its own: control groups are not shared.
    fleet.run(0, "systemctl stop dbus.service dbus.socket");
    assert_eq!(fleet.run(1, "systemctl is-active dbus.service").trim(), "active");
}

#[test]
fn servers_reach_each_other_and_the_internet_and_no_other_lab() {
    let Some(fleet) = Fleet::boot(2) else { return };
    let ping = |address| format!("ping -c 1 -W 5 {address}");
    fleet.run(0, &ping(fleet.machines()[1].address));
    let other = Fleet::boot(1).expect("another lab");
    let stranger = other.machines()[0].address;
    assert!(!fleet.ssh(0).run(&ping(stranger)).is_success());
    drop(other);
    // Debian's servers by name: addresses, masquerading, name servers. No list of packages is kept
    // in the root file system, so one that is there came through this.
    fleet.run(0, "! ls /var/lib/apt/lists/*Packages* 2> /dev/null");
    fleet.run(0, "apt-get update -qq -o Acquire::Retries=3 && ls /var/lib/apt/lists/*Packages*");
}

#[test]
fn a_power_cut_and_a_reboot_keep_disk_address_and_keys() {
    let Some(fleet) = Fleet::boot(1) else { return };
    let boot = |fleet: &Fleet| fleet.run(0, "cat /proc/sys/kernel/random/boot_id; date -r /proc/1");
    fleet.run(0, "echo kept > /root/kept; echo gone > /run/gone; nft add table inet gone");
    let (name, machine) = (fleet.name(0).clone(), fleet.machines()[0].clone());
    let specs = [ServerSpec::of(name.clone())];

    let ssh = fleet.ssh(0);
    fleet.lab().power_cut(&name).expect("cut");
    assert!(!fleet.lab().state().expect("a state")[0].is_running);
    assert_eq!(ssh.run("true").code, Some(255));
    let again = fleet.up(&specs).expect("it boots again");
    assert_eq!(again.first(), Some(&machine));
    let after_cut = boot(&fleet);
    assert_eq!(
        fleet.run(0, "cat /root/kept; ls /run/gone 2> /dev/null; nft list tables"),
        "kept\n"
    );

    fleet.run(0, "echo gone > /run/gone");
    assert_eq!(fleet.lab().reboot(&name).expect("it reboots"), machine);
    assert_ne!(boot(&fleet), after_cut);
    assert_eq!(fleet.run(0, "cat /root/kept; ls /run/gone 2> /dev/null; true"), "kept\n");

    // By its own hand, as after a new kernel.
    let before = boot(&fleet);
    fleet.ssh(0).run("systemctl reboot");
    eventually("it is back", || {
        let answer = fleet.ssh(0).run("cat /proc/sys/kernel/random/boot_id; date -r /proc/1");
        answer.is_success() && answer.stdout != before
    });
}

#[test]
fn a_paused_server_does_not_answer_and_goes_on() {
    let Some(fleet) = Fleet::boot(1) else { return };
    let name = fleet.name(0).clone();
    fleet.lab().pause(&name).expect("paused");
    let address = (fleet.machines()[0].address, 22).into();
    let greeting = || {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        std::io::Read::read(&mut &stream, &mut [0; 4])
    };
    assert!(greeting().is_err(), "it says nothing");
    fleet.lab().resume(&name).expect("resumed");
    assert_eq!(greeting().expect("a greeting"), 4);
    fleet.run(0, "true");
}

#[test]
fn a_cut_has_a_direction_and_heals() {
    let Some(fleet) = Fleet::boot(3) else { return };
    let server = |index: usize| End::Server(fleet.name(index).clone());
    // A packet without an answer, counted where it arrives.
    for index in 0..3 {
        fleet.run(
            index,
            "nft add table inet seen && nft add counter inet seen pings \
             && nft 'add chain inet seen input { type filter hook input priority 0; }' \
             && nft add rule inet seen input icmp type echo-request counter name pings",
        );
    }
    let arrives = |from: usize, to: usize| {
        let count = || {
            let text = fleet.run(to, "nft list counter inet seen pings");
            text.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok())
        };
        let before: Option<u64> = count();
        let address = fleet.machines()[to].address;
        fleet.run(from, &format!("ping -c 1 -W 1 {address} > /dev/null; true"));
        assert!(before.is_some());
        count() > before
    };
    for (from, to) in [(0, 1), (1, 0), (0, 2)] {
        assert!(arrives(from, to), "{from} → {to}");
    }
    fleet.lab().cut(Cut { from: server(0), to: server(1) }).expect("cut");
    assert!(!arrives(0, 1), "cut");
    assert!(arrives(1, 0), "the other direction is not, though its answers are lost");
    assert!(arrives(0, 2) && arrives(2, 1), "others are not");

    fleet.lab().cut(Cut { from: server(2), to: End::Host }).expect("cut");
    assert_eq!(fleet.ssh(2).run("true").code, Some(255), "its answers do not come back");
    fleet.lab().heal().expect("healed");
    assert!(arrives(0, 1) && fleet.ssh(2).run("true").is_success());

    fleet.lab().cut_off(fleet.name(1)).expect("cut");
    let one = fleet.machines()[1].address;
    assert!(!fleet.ssh(0).run(&format!("ping -c 1 -W 1 {one}")).is_success());
    assert_eq!(fleet.ssh(1).run("true").code, Some(255));
    fleet.lab().heal().expect("healed");
    assert!(arrives(0, 1));
}

#[test]
fn a_disk_can_be_full_and_stays_so_over_a_power_cut() {
    let name = "small".parse().expect("a name");
    let spec = ServerSpec { name, disk_mib: Some(64) };
    let Some(fleet) = Fleet::of(std::slice::from_ref(&spec)) else { return };
    let fill = fleet.ssh(0).run("head -c 100M /dev/zero > /root/fill; sync");
    assert!(fill.stderr.contains("No space left on device"), "{fill:?}");
    fleet.lab().power_cut(fleet.name(0)).expect("cut");
    fleet.up(&[spec]).expect("it boots with a full disk");
    let more = fleet.ssh(0).run("head -c 8M /dev/zero > /root/more");
    assert!(more.stderr.contains("No space left on device"), "{more:?}");
    fleet.run(0, "rm /root/fill /root/more && echo room > /root/room");
}

#[test]
fn the_clock_of_onward_on_a_server_can_be_moved() {
    let Some(fleet) = Fleet::boot(2) else { return };
    let ahead = |index: usize, unit: &str| {
        let command = format!("systemd-run --quiet --wait --pipe --unit {unit} date +%s");
        let there: i64 = fleet.run(index, &command).trim().parse().expect("a time");
        let here = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        there - i64::try_from(here.expect("it is after 1970").as_secs()).expect("a time")
    };
    for seconds in [600, -600] {
        fleet.skew(0, seconds);
        let moved = ahead(0, "onward-clock");
        assert!((moved - seconds).abs() < 30, "{moved} instead of {seconds}");
    }
    for (index, unit) in [(0, "clock"), (1, "onward-clock")] {
        assert!(ahead(index, unit).abs() < 30, "a control: {unit} of {index}");
    }
}
