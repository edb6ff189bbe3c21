//! What a release runs with: shared directories and files, runtimes, its own files unchanged.

use crate::world::{SERVER, World, command, config, eventually};
use onward_core::model::{ReleaseNumber, Runtime, RuntimeSource};
use onward_core::order::Level;
use std::fs;

#[test]
fn shared_directories_survive_releases() {
    let mut world = World::new();
    let with_shared = |dirs: &[&str]| {
        let mut config = config(&[("worker", command("sleep 1000"))]);
        config.shared_dirs = dirs.iter().map(ToString::to_string).collect();
        config
    };
    world.release(1, &[("storage/.gitkeep", ""), ("a", "")], with_shared(&["storage", "var/data"]));
    world.level(1, Level::Running, true);
    world.converge();
    let release = world.tree().release(ReleaseNumber(1));
    fs::write(release.join("storage/file"), "kept").unwrap();
    fs::write(release.join("var/data/file"), "too").unwrap();
    world.level(1, Level::Staged, false);
    world.release(2, &[("a", "2")], with_shared(&["storage", "var/data"]));
    world.level(2, Level::Running, true);
    world.converge();
    let release = world.tree().release(ReleaseNumber(2));
    assert_eq!(fs::read_to_string(release.join("storage/file")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(release.join("var/data/file")).unwrap(), "too");

    world.release(3, &[("storage/mine", ""), ("a", "")], with_shared(&["storage"]));
    world.level(3, Level::Running, true);
    let order = world.order();
    let report = world.until(&order, |report| {
        report.releases.get(&ReleaseNumber(3)).is_some_and(|own| own.failure.is_some())
    });
    let failure = report.releases[&ReleaseNumber(3)].failure.clone().unwrap();
    assert!(failure.reason.contains("`storage` is shared"), "{failure:?}");
}

#[test]
fn shared_files_survive_releases() {
    let mut world = World::new();
    let with_shared = |files: &[&str]| {
        let mut config = config(&[("worker", command("sleep 1000"))]);
        config.shared_files = files.iter().map(ToString::to_string).collect();
        config
    };
    let files = with_shared(&["app.db", "db/later.db"]);
    world.release(1, &[("app.db", "first"), ("a", "")], files.clone());
    world.level(1, Level::Running, true);
    world.converge();
    let release = world.tree().release(ReleaseNumber(1));
    assert_eq!(fs::read_to_string(release.join("app.db")).unwrap(), "first", "the bundle's own");
    assert!(!release.join("db/later.db").exists());
    fs::write(release.join("app.db"), "written").unwrap();
    fs::write(release.join("db/later.db"), "made by the app").unwrap();
    world.level(1, Level::Staged, false);
    world.release(2, &[("app.db", "the bundle's"), ("a", "2")], files);
    world.level(2, Level::Running, true);
    world.converge();
    let release = world.tree().release(ReleaseNumber(2));
    assert_eq!(fs::read_to_string(release.join("app.db")).unwrap(), "written");
    assert_eq!(fs::read_to_string(release.join("db/later.db")).unwrap(), "made by the app");

    world.release(3, &[("app.db/inside", ""), ("a", "")], with_shared(&["app.db"]));
    world.level(3, Level::Running, true);
    let order = world.order();
    let report = world.until(&order, |report| {
        report.releases.get(&ReleaseNumber(3)).is_some_and(|own| own.failure.is_some())
    });
    let failure = report.releases[&ReleaseNumber(3)].failure.clone().unwrap();
    assert!(failure.reason.contains("`app.db` shall be a shared file"), "{failure:?}");
}

#[test]
fn a_release_runs_with_its_runtimes_and_names_one_that_is_gone() {
    let mut world = World::new();
    let own = tempfile::tempdir().unwrap();
    let program = own.path().join("speak");
    fs::write(&program, "#!/bin/sh\necho spoken > \"$ONWARD_SHARED/said\"\nexec sleep 1000\n")
        .unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let with = |directory: &std::path::Path| {
        let mut config = config(&[("worker", command("speak"))]);
        let from = RuntimeSource::System(vec![directory.to_str().unwrap().to_owned()]);
        config.runtimes.insert("node".to_owned(), Runtime { version: "1.2.3".to_owned(), from });
        config
    };
    world.release(1, &[("a", "")], with(own.path()));
    world.level(1, Level::Running, true);
    world.converge();
    eventually("the program of the runtime ran", || world.tree().shared().join("said").exists());

    world.level(1, Level::Staged, false);
    world.release(2, &[("a", "2")], with(&own.path().join("gone")));
    world.level(2, Level::Running, true);
    let order = world.order();
    let report = world.until(&order, |report| {
        report.releases.get(&ReleaseNumber(2)).is_some_and(|own| own.failure.is_some())
    });
    let failure = report.releases[&ReleaseNumber(2)].failure.clone().unwrap();
    assert!(failure.reason.contains("node 1.2.3 is no longer in "), "{failure:?}");
    assert!(failure.reason.contains("`onward up` brings it again"), "{failure:?}");
}

#[test]
fn changed_files_are_not_run_but_staged_anew() {
    let mut world = World::new();
    world.web_release(1);
    world.converge();
    let file = world.tree().release(ReleaseNumber(1)).join("server.py");
    fs::write(&file, "import evil").unwrap();
    world.serve(1);
    assert_eq!(fs::read_to_string(&file).unwrap(), SERVER);
    assert!(
        world.agent_log().contains("its content was changed")
            || world.agent_log().contains("bytes instead of")
    );
}
