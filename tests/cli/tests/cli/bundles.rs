//! Bundles as a person uses them: a commit, an archive, an earlier release; looked at and exported.

use std::fs;
use std::process::Command;

use onward_cli_tests::{Project, http};

/// A static site in a Git repository with one commit.
fn site() -> Project {
    let project = Project::empty();
    project.write("onward.toml", "app = \"site\"\n[process.web]\nstatic = \"public\"\n");
    project.write("public/index.html", "committed");
    git(&project, &["init", "-q"]);
    git(&project, &["add", "."]);
    git(
        &project,
        &["-c", "user.name=ana", "-c", "user.email=a@example.com", "commit", "-qm", "one"],
    );
    project
}

fn git(project: &Project, arguments: &[&str]) {
    let status = Command::new("git").args(arguments).current_dir(project.path()).status();
    assert!(status.expect("git runs").success());
}

fn body(url: &str) -> String {
    http::get(url, "/").expect("the address answers").body
}

#[test]
fn a_commit_is_deployed_without_what_is_not_committed() {
    let project = site();
    project.write("public/index.html", "not committed");
    let up = project.run(&["up", "--json"]).code_is(0).finished();
    let url = up["url"].as_str().expect("an address").to_owned();
    assert_eq!(body(&url), "not committed");
    assert!(up["label"].as_str().expect("a label").contains("+dirty."), "{up}");

    let commit = project.run(&["deploy", "--git", "HEAD", "--json"]).code_is(0).finished();
    assert_eq!(body(&url), "committed");
    assert!(!commit["label"].as_str().expect("a label").contains("dirty"), "{commit}");

    let missing = project.run(&["deploy", "--git", "nowhere"]).code_is(2);
    assert!(missing.stderr.contains("nowhere"), "{}", missing.stderr);
    assert_eq!(body(&url), "committed");

    let earlier = project.run(&["deploy", "--release", "1", "--json"]).code_is(0).finished();
    assert_eq!(earlier["release"], 3);
    assert_eq!(body(&url), "not committed");
}

#[test]
fn a_bundle_is_built_shown_verified_exported_and_deployed_from_each_format() {
    let project = site();
    let built =
        project.run(&["bundle", "build", "--label", "1.4.2", "--json"]).code_is(0).finished();
    let digest = built["digest"].as_str().expect("a digest").to_owned();
    let list = project.run(&["bundle", "list", "--json"]).code_is(0).json();
    assert_eq!(list[0]["labels"][0], "1.4.2");
    let show = project.run(&["bundle", "show", "1.4.2", "--json"]).code_is(0).json();
    assert_eq!(show["digest"], digest.as_str());
    project.run(&["bundle", "verify"]).code_is(0);
    project.run(&["up"]).code_is(0);
    let url = project.url();
    for format in ["tar", "tar.gz", "tar.bz2", "tar.zst", "zip"] {
        let file = project.path().join("..").join(format!("out.{format}"));
        let file = file.to_str().expect("a plain path");
        project.run(&["bundle", "export", "1.4.2", file]).code_is(0);
        let deploy = project.run(&["deploy", "--force", "--bundle", file, "--json"]).code_is(0);
        let release = deploy.finished()["release"].clone();
        let status = project.status();
        assert_eq!(status["release"]["number"], release, "{format}");
        assert_eq!(status["release"]["digest"], digest.as_str(), "{format}: the same content");
        assert_eq!(body(&url), "committed");
    }
    let taken = project.run(&["bundle", "build", "--label", "1.4.2"]).code_is(0);
    assert!(taken.stdout.contains("1.4.2"), "the same content may have its label again");
    project.write("public/index.html", "other");
    let taken = project.run(&["bundle", "build", "--label", "1.4.2"]).code_is(3);
    assert!(taken.stderr.contains("1.4.2"), "{}", taken.stderr);
}

#[test]
fn a_hostile_archive_is_refused_whole_and_the_old_release_serves() {
    let project = site();
    project.run(&["up"]).code_is(0);
    let url = project.url();
    let outside = project.path().join("../escaped");
    let archive = project.path().join("../hostile.tar");
    let made = Command::new("python3").arg("-c").arg(HOSTILE).arg(&archive).status();
    assert!(made.expect("python3 runs").success());
    let archive = archive.to_str().expect("a plain path");
    let refused = project.run(&["deploy", "--bundle", archive]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("../escaped"), "the entry is named: {}", refused.stderr);
    assert!(!outside.exists());
    assert_eq!(body(&url), "committed");
    assert_eq!(project.status()["release"]["number"], 1);
}

const HOSTILE: &str = "
import io, sys, tarfile
with tarfile.open(sys.argv[1], 'w') as tar:
    for name in ('public/index.html', '../escaped'):
        entry = tarfile.TarInfo(name)
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b'evil'))
";

#[test]
fn damage_in_the_store_is_found_and_mended_by_building_again() {
    let project = site();
    project.run(&["bundle", "build", "--label", "one"]).code_is(0);
    let packs = project.path().join(".onward/bundles/packs");
    let pack = fs::read_dir(packs).expect("packs").next().expect("a pack").expect("a pack").path();
    let mut bytes = fs::read(&pack).expect("read the pack");
    let middle = bytes.len() / 3;
    bytes[middle] ^= 1;
    fs::write(&pack, bytes).expect("damage the pack");
    let found = project.run(&["bundle", "verify", "one"]).code_is(1);
    assert!(found.stdout.contains("damaged"), "{found:?}");
    project.run(&["bundle", "build", "--label", "one"]).code_is(0);
    project.run(&["bundle", "verify", "one"]).code_is(0);
}
