//! A full disk: the old state is kept, the error is clear, the old release serves.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use onward_cli_tests::{Project, http};

/// A small file system in memory, mounted until this is dropped.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).expect("create the directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=200m", "tmpfs"])
            .arg(path)
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(path.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // What still runs there is ended by the project, later.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn the_old_release_serves_and_room_is_all_it_takes() {
    let project = Project::prebuilt_hello("[release]\nwatch = \"200ms\"\n");
    let onward = project.path().join(".onward");
    let Some(_mounted) = Small::mount(&onward) else {
        eprintln!("LEFT OUT: a small file system cannot be mounted (root is needed)");
        return;
    };
    project.run(&["up"]).code_is(0);
    let before = project.status();
    let url = project.url();
    let filler = onward.join("filler");
    fill(&filler);

    project.write("change.txt", &"a change\n".repeat(10_000));
    let deploy = project.run(&["deploy"]).code_is(1);
    let error = deploy.stderr.to_lowercase();
    assert!(error.contains("space"), "{}", deploy.stderr);
    let last = deploy.stderr.lines().last().unwrap_or_default();
    assert!(last.contains("serves") || last.starts_with("Still serving"), "{}", deploy.stderr);
    let after = project.status();
    assert_eq!(after["release"], before["release"]);
    assert_eq!(after["operation"], before["operation"]);
    assert!(http::get(&url, "/").expect("the address answers").body.contains("release 1"));

    fs::remove_file(&filler).expect("make room");
    project.run(&["deploy"]).code_is(0);
    assert!(http::get(&url, "/").expect("the address answers").body.contains("release 2"));
    project.run(&["down", "-y"]).code_is(0);
}

fn fill(path: &Path) {
    let mut file = File::create(path).expect("a file");
    let piece = vec![0; 4096];
    while file.write_all(&piece).is_ok() {}
    let _ = file.sync_all();
}
