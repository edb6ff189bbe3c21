//! `[file."PATH"]`: rendered on the server from values and secrets, as a part of the release.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use onward_cli_tests::{Project, eventually};

const CANARY: &str = "canary/7f3a+9x q";

const FILES: &str = r#"
[file."config/app.yml"]
template = "deploy/app.yml.j2"
[file.public]
template = "deploy/public.j2"
[values]
LEVEL = "info"
[release]
watch = "100ms"
warm = "0s"
[secrets]
names = ["KEY"]
"#;

fn project() -> Project {
    let project = Project::prebuilt_hello(FILES);
    project.write("deploy/app.yml.j2", "level: {{ values.LEVEL }}\nkey: {{ secrets.KEY }}\n");
    project.write("deploy/public.j2", "{{ app }} {{ release.number }} {{ values.LEVEL }}\n");
    project.run_with(CANARY, &["secret", "set", "KEY"]).code_is(0);
    project
}

fn change(project: &Project, from: &str, to: &str) {
    let file = fs::read_to_string(project.path().join("onward.toml")).expect("a file");
    project.write("onward.toml", &file.replace(from, to));
}

fn release(project: &Project, number: u64) -> PathBuf {
    project.path().join(format!(".onward/apps/hello/local/releases/{number}"))
}

fn text(project: &Project, number: u64, file: &str) -> String {
    fs::read_to_string(release(project, number).join(file)).expect("it was rendered")
}

fn mode(project: &Project, number: u64, file: &str) -> u32 {
    let meta = fs::symlink_metadata(release(project, number).join(file)).expect("it is there");
    assert!(meta.is_file());
    meta.permissions().mode() & 0o7777
}

#[test]
fn each_release_has_its_own_and_a_rollback_has_the_old_one() {
    let project = project();
    project.run(&["up"]).code_is(0);
    let first = format!("level: info\nkey: {CANARY}\n");
    assert_eq!(text(&project, 1, "config/app.yml"), first);
    assert_eq!(mode(&project, 1, "config/app.yml"), 0o600, "it holds a secret");
    assert_eq!(text(&project, 1, "public"), "hello 1 info\n");
    assert_eq!(mode(&project, 1, "public"), 0o644);

    change(&project, "\"info\"", "\"warn\"");
    project.run_with("another value", &["secret", "set", "KEY"]).code_is(0);
    project.run(&["deploy"]).code_is(0);
    assert_eq!(text(&project, 2, "config/app.yml"), "level: warn\nkey: another value\n");
    project.run(&["rollback"]).code_is(0);
    let serving = project.run(&["run", "cat config/app.yml public"]).code_is(0).stdout;
    assert_eq!(serving, format!("{first}hello 1 info\n"));
    // The same when its files have to be brought again.
    fs::remove_dir_all(release(&project, 2)).expect("remove the files of release 2");
    project.run(&["rollback", "2"]).code_is(0);
    assert_eq!(text(&project, 2, "config/app.yml"), "level: warn\nkey: another value\n");
}

#[test]
fn what_cannot_be_rendered_is_found_before_anything_is_touched() {
    let project = project();
    project.run(&["up"]).code_is(0);
    change(&project, "[file.public]", "[task.later]\nrun = \"true\"\n[file.private]");
    let plan = project.run(&["plan"]).code_is(0).stdout;
    for line in ["+ task later", "+ rendered file private", "- rendered file public"] {
        assert!(plan.contains(line), "{plan}");
    }
    change(&project, "[file.private]", "[file.public]");
    project.write("deploy/public.j2", "fine\n  {{ values.LEVLE }}\n");
    for command in ["check", "plan", "deploy"] {
        let refused = project.run(&[command]).code_is(2);
        for words in ["deploy/public.j2:2:6", "`values.LEVLE` is not defined"] {
            assert!(refused.stderr.contains(words), "{command}: {}", refused.stderr);
        }
    }
    project.write("deploy/public.j2", "{% if app %}never closed");
    let refused = project.run(&["check"]).code_is(2);
    assert!(refused.stderr.contains("this is no template"), "{}", refused.stderr);
    fs::remove_file(project.path().join("deploy/public.j2")).expect("remove the template");
    let refused = project.run(&["deploy"]).code_is(2);
    let words = "the bundle has no file deploy/public.j2, the template of public";
    assert!(refused.stderr.contains(words), "{}", refused.stderr);
    let history = project.run(&["history", "--json"]).code_is(0).json();
    assert_eq!(history["operations"].as_array().map(Vec::len), Some(1), "nothing was recorded");
    assert_eq!(project.status()["release"]["number"], 1);
}

#[test]
fn what_only_the_server_finds_stops_the_release_before_it_starts() {
    let project = project();
    project.run(&["up"]).code_is(0);
    // Right with the made-up secret, wrong with the real one; and it tries to tell the secret.
    let template = "{% if 'canary' in secrets.KEY %}{{ values[secrets.KEY] }}{% endif %}";
    project.write("deploy/public.j2", template);
    project.run(&["check"]).code_is(0);
    let deploy = project.run(&["deploy"]).code_is(1);
    assert!(
        deploy.stderr.contains("public cannot be rendered: deploy/public.j2:1:"),
        "{}",
        deploy.stderr
    );
    assert!(!deploy.stderr.contains("canary/"), "{}", deploy.stderr);
    let last = deploy.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("Still serving: release 1 "), "{}", deploy.stderr);
    assert!(!release(&project, 2).join("config/app.yml").exists(), "none was written");
}

#[test]
fn what_somebody_changed_is_rendered_again() {
    let project = project();
    project.run(&["up"]).code_is(0);
    fs::write(release(&project, 1).join("public"), "by hand").expect("change it");
    fs::remove_file(release(&project, 1).join("config/app.yml")).expect("remove it");
    let agent = project.pid_of("agent").expect("an agent runs");
    Project::kill(agent);
    eventually("another agent renders them", || {
        project.run(&["status"]).code_is(0);
        (text(&project, 1, "public") == "hello 1 info\n").then_some(())
    });
    assert_eq!(mode(&project, 1, "config/app.yml"), 0o600);
}

#[test]
fn a_file_of_the_bundle_gives_way_and_a_link_does_not_lead_out() {
    let project = project();
    project.write("public", "from the bundle");
    project.run(&["up"]).code_is(0);
    assert_eq!(text(&project, 1, "public"), "hello 1 info\n");
    project.write("elsewhere/x", "");
    std::os::unix::fs::symlink("elsewhere", project.path().join("config")).expect("a link");
    let deploy = project.run(&["deploy"]).code_is(1);
    let words = "config/app.yml cannot be made: config is no directory in the bundle";
    assert!(deploy.stderr.contains(words), "{}", deploy.stderr);
}

#[test]
fn paths_that_cannot_be_are_refused_with_their_place() {
    for (file, words) in [
        ("[file.\"/etc/passwd\"]\ntemplate = \"a\"\n", "is absolute"),
        ("[file.\"../x\"]\ntemplate = \"a\"\n", "goes up with `..`"),
        ("[file.x]\n", "`template` is missing"),
        ("[file.x]\ntemplate = \"x\"\n", "would take the place of the template"),
        (
            "[file.x]\ntemplate = \"a\"\n[file.\"x/y\"]\ntemplate = \"a\"\n",
            "cannot be a file and the directory",
        ),
        (
            "[shared]\ndirs = [\"storage\"]\n[file.\"storage/x\"]\ntemplate = \"a\"\n",
            "is shared between releases",
        ),
        ("[file.x]\ntemplate = \"a\"\nmode = 1\n", "has no key `mode`"),
    ] {
        let project = Project::prebuilt_hello(file);
        let refused = project.run(&["check"]).code_is(2);
        assert!(refused.stderr.contains(words), "{file}: {}", refused.stderr);
        assert!(refused.stderr.contains("onward.toml:"), "{}", refused.stderr);
    }
}
