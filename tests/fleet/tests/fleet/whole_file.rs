//! Everything that a project file can ask of a release, on servers: as units of another user.

use onward_fleet_tests::{Line, eventually};

const ALONE: &str = "{ name = \"one\" }";
const FILE: &str = r#"
[release]
run   = "test \"$(cat config/app.yml)\" = \"who: canary-5d10\" && echo $ONWARD_RELEASE >> storage/migrated"
check = "test -n \"$URL\" && test -e storage/migrated"
watch = "1s"
[shared]
dirs  = ["storage", "var/cache"]
files = ["local.db"]
[file."config/app.yml"]
template = "app.yml.j2"
[schedule.tick]
run   = "cat config/app.yml >> storage/ticks && id -un >> storage/ticks && touch var/cache/here"
every = "1s"
[secrets]
names = ["WHO"]
"#;
const TREE: &str = "/var/lib/onward/apps/hello/lab";
const USER: &str = "onward-hello-lab";

#[test]
fn commands_schedules_files_and_what_is_shared_are_the_apps_on_servers() {
    let Some(line) = Line::of_app(ALONE, FILE) else { return };
    line.project.write("app.yml.j2", "who: {{ secrets.WHO }}\n");
    let lacking = line.project.run(&["up"]).code_is(3);
    assert!(lacking.stderr.contains("a secret has no value here: WHO"), "{lacking:?}");
    assert!(!lacking.stdout.contains("has booted"), "{lacking:?}");
    // There is no server yet; the first `up` brings the value to its state.
    line.project.run_with("canary-5d10", &["secret", "set", "WHO"]).code_is(0);
    line.onward(&["up"]);
    assert!(!line.project.path().join(".onward/waiting/hello/lab").exists(), "nothing waits");
    assert_eq!(line.onward(&["secret", "get", "WHO"]).stdout, "canary-5d10");

    assert_eq!(line.run("one", &format!("cat {TREE}/shared/storage/migrated")), "1\n");
    let ticks = format!("cat {TREE}/shared/storage/ticks 2> /dev/null || true");
    eventually("the schedule runs", || line.run("one", &ticks).lines().count() >= 4);
    let told = line.run("one", &ticks);
    assert!(told.starts_with(&format!("who: canary-5d10\n{USER}\n")), "{told}");
    let owner = line.run("one", &format!("stat -c %U {TREE}/releases/1/var/cache/here"));
    assert_eq!(owner.trim(), USER);
    let private = format!("stat -c '%a %U %G' {TREE}/releases/1/config/app.yml");
    assert_eq!(line.run("one", &private).trim(), format!("640 root {USER}"));
    // The app makes its shared file through the link; the next release has it.
    line.onward(&["exec", "--", "sh", "-c", "echo kept > local.db"]);
    // A program is found where the app finds it, and its words are no shell's.
    let tool = "printf '#!/bin/sh\\necho \"$1\" in $PWD' > storage/tool; chmod +x storage/tool";
    line.onward(&["exec", tool]);
    let found = line.onward(&["exec", "--", "storage/tool", "$HOME; ls"]);
    assert_eq!(found.stdout, format!("$HOME; ls in {TREE}/releases/1\n"));
    let missing = line.project.run(&["exec", "--", "nosuch", "word"]).code_is(127);
    assert!(missing.stderr.contains("nosuch: not found"), "{missing:?}");

    // A check that fails is told with its last words, and nothing of it takes traffic.
    let bad = FILE.replace("test -n", "echo the check says no >&2; false; test -n");
    let bad = bad.replace("&& test -e storage/migrated", "&& false");
    line.behave("good", &bad);
    let failed = line.project.run(&["deploy"]).code_is(1);
    assert!(failed.stderr.contains("the check exited with status 1"), "{}", failed.stderr);
    assert!(failed.stderr.contains("| the check says no"), "{}", failed.stderr);
    assert_eq!(line.settled(), 1);

    // The same app as a static site.
    line.project.write("public/index.html", "a site, release 3\n");
    line.behave_as_site("public", FILE);
    line.onward(&["deploy"]);
    let page = line.visit("one");
    assert!(page.contains("a site, release 3"), "{page}");
    let kept = line.onward(&["exec", "--", "cat", "local.db"]);
    assert_eq!(kept.stdout, "kept\n");
    assert_eq!(line.run("one", &format!("tail -n 1 {TREE}/shared/storage/migrated")), "3\n");
}
