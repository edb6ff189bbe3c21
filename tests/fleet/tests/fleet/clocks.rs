//! Servers whose clocks are wrong.

use onward::providers::nspawn::ServerSpec;
use onward_fleet_tests::{Line, server};

const TWO: &str = "{ name = \"front\", roles = [\"balancer\", \"manager\", \"web\"] }, \
                   { name = \"two\", roles = [\"web\"] }";

#[test]
fn clocks_that_are_ten_minutes_off_change_nothing() {
    let Some(line) = Line::of_hello(TWO, "[release]\nwatch = \"1s\"\nwarm = \"1m\"") else {
        return;
    };
    line.boot(&["front", "two"].map(|name| ServerSpec::of(server(name))));
    // One ahead, one behind: twenty minutes between them.
    line.skew("front", 600);
    line.skew("two", -600);
    line.onward(&["up"]);
    let visitors = line.visitors("front");
    line.onward(&["deploy", "--force"]);
    assert_eq!(line.settled(), 2);
    line.onward(&["rollback"]);
    line.skew("front", -600);
    line.skew("two", 600);
    for name in ["two", "front"] {
        line.run(name, "systemctl restart onward-agent");
    }
    line.onward(&["deploy", "--force"]);
    line.settled();
    let seen = visitors.end();
    assert!(seen.losses.is_empty(), "{:?}", seen.reasons());
    let own = line.run("two", "stat -c %Y /var/lib/onward/apps/hello/lab/app.json; date +%s");
    assert_eq!(own.lines().count(), 2, "{own}");
    let said =
        line.run("two", "tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID onward-agent)/environ");
    assert!(said.contains("FAKETIME=+600"), "a control: {said}");
}
