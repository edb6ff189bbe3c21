//! What people do on a server by hand: it is made good, or told.

use onward_fleet_tests::{Line, eventually};

const ALONE: &str = "{ name = \"alone\" }";
const TREE: &str = "/var/lib/onward/apps/hello/lab";
const UNIT: &str = "onward-hello-lab-1-web-1";

fn pid(line: &Line) -> String {
    line.run("alone", &format!("systemctl show -P MainPID {UNIT}")).trim().to_owned()
}

fn serves(line: &Line, release: u64) {
    let mut visitor = onward_fleet_tests::load::Connection::to(&line.address("alone"));
    eventually("it serves", || visitor.get("/").is_ok_and(|(answer, _)| answer.release == release));
}

#[test]
fn what_is_killed_stopped_edited_or_removed_by_hand_is_made_good() {
    let Some(line) = Line::of_hello(ALONE, "[release]\nwatch = \"1s\"") else { return };
    line.onward(&["up"]);
    serves(&line, 1);

    let first = pid(&line);
    line.run("alone", &format!("kill -9 {first}"));
    eventually("it is started again", || ![first.as_str(), "0", ""].contains(&pid(&line).as_str()));
    serves(&line, 1);

    let second = pid(&line);
    line.run("alone", &format!("systemctl stop {UNIT}"));
    eventually("it is started again", || {
        ![second.as_str(), "0", ""].contains(&pid(&line).as_str())
    });
    serves(&line, 1);

    // An edited unit is not what is run again: the next start writes its own.
    let third = pid(&line);
    line.run(
        "alone",
        &format!(
            "mkdir -p /run/systemd/system/{UNIT}.service.d && \
             printf '[Service]\\nEnvironment=PORT=1\\n' > /run/systemd/system/{UNIT}.service.d/own.conf && \
             systemctl daemon-reload && kill -9 {third}"
        ),
    );
    eventually("it is started again", || ![third.as_str(), "0", ""].contains(&pid(&line).as_str()));
    line.run(
        "alone",
        &format!("rm -r /run/systemd/system/{UNIT}.service.d && systemctl daemon-reload"),
    );

    // The table is what a proxy that starts again goes by.
    line.run(
        "alone",
        "find /var/lib/onward /run/onward -name 'table*.json' -delete; systemctl kill -s KILL 'onward-proxy@*'",
    );
    serves(&line, 1);

    // Files of the release that runs: it goes on, and what starts in its place has them all.
    line.run("alone", &format!("rm {TREE}/releases/1/hello"));
    serves(&line, 1);
    let fourth = pid(&line);
    line.run("alone", &format!("kill -9 {fourth}"));
    eventually("it is started again", || {
        ![fourth.as_str(), "0", ""].contains(&pid(&line).as_str())
    });
    serves(&line, 1);
    line.onward(&["deploy", "--force"]);
    serves(&line, 2);
    line.onward(&["rollback", "1"]);
    serves(&line, 1);
    line.settled();
}
