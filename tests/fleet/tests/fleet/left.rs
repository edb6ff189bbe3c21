//! A state that the project file leads away from: nobody begins anew beside it by mistake.

use onward_fleet_tests::{Fleet, Operator};

const OFF: &str = "harden = \"off\"";

#[test]
fn an_environment_does_not_begin_anew_beside_a_state_of_its_name() {
    let Some(fleet) = Fleet::boot(3) else { return };
    let ana = Operator::of(&fleet, "shop", &["one", "two"], OFF);
    ana.run_long(&["up"]).code_is(0);

    // The manager has another machine all of a sudden.
    ana.has(&fleet, "shop", &[("one", 2), ("two", 1)], OFF);
    let refused = ana.run_long(&["up"]).code_is(3);
    let (old, new) = (fleet.machines()[0].address, fleet.machines()[2].address);
    for said in [
        &*format!("the state of production is on one as it was, root@{old}; "),
        &format!("onward.toml has another machine for it, root@{new}"),
        "Nothing was changed",
        "`onward up --forget one` goes on without looking there",
    ] {
        assert!(refused.stderr.contains(said), "{said}: {refused:?}");
    }

    // None of the servers is known, and this person knows where the state was.
    ana.has(&fleet, "shop", &[("other", 2)], OFF);
    let refused = ana.run_long(&["up"]).code_is(3);
    for said in [
        &*format!("production has a state with the server one (root@{old}), "),
        "onward.toml names none of its servers",
        "Nothing was changed",
        "`onward up --forget one --forget two` begins another environment",
    ] {
        assert!(refused.stderr.contains(said), "{said}: {refused:?}");
    }
    let state = fleet.ssh(2).run("ls /var/lib/onward/state/shop/production/state.json");
    assert!(!state.is_success(), "nothing began there: {state:?}");

    // The file as it was changes nothing, and what the hint says goes on.
    ana.has(&fleet, "shop", &[("one", 0), ("two", 1)], OFF);
    let same = ana.run_long(&["up"]).code_is(0);
    assert!(same.stdout.contains("Nothing changed. Release 1"), "{same:?}");
    ana.has(&fleet, "shop", &[("other", 2)], OFF);
    ana.run_long(&["up", "--forget", "one", "--forget", "two"]).code_is(0);
}
