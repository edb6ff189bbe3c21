//! The rules of Git, compared with Git itself.

use std::fs;
use std::process::Command;

use proptest::prelude::*;

use crate::world::{World, git};

fn pattern() -> impl Strategy<Value = String> {
    let name =
        prop_oneof!["[abc]", Just("*".to_owned()), Just("a*".to_owned()), Just("[ab]".to_owned())];
    let path = prop_oneof![
        4 => name.clone(),
        2 => (name.clone(), name.clone()).prop_map(|(a, b)| format!("{a}/{b}")),
        1 => name.clone().prop_map(|a| format!("**/{a}")),
        1 => (name.clone(), name).prop_map(|(a, b)| format!("{a}/**/{b}")),
    ];
    let before = prop_oneof![3 => Just(""), 2 => Just("!"), 1 => Just("/"), 1 => Just("!/"), 1 => Just("\\")];
    let after = prop_oneof![3 => Just(""), 1 => Just("/"), 1 => Just("  ")];
    (before, path, after).prop_map(|(before, path, after)| format!("{before}{path}{after}"))
}

fn rules() -> impl Strategy<Value = String> {
    prop::collection::vec(pattern(), 0..4).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..Default::default() })]
    #[test]
    fn what_git_ignores_is_left_out(
        files in prop::collection::btree_set("[abc](/[abc]){0,3}", 1..12),
        tracked in prop::collection::btree_set("[abc](/[abc]){0,2}", 0..3),
        top in rules(),
        inner in rules(),
        exclude in rules(),
    ) {
        let world = World::new();
        git(&world.tree(), &["init", "-q"]);
        for path in files.iter().chain(&tracked) {
            let path = world.tree().join(path);
            // A file where another one needs a directory is not made.
            if fs::create_dir_all(path.parent().unwrap()).is_ok() {
                let _ = fs::write(path, "x");
            }
        }
        for path in tracked.iter().filter(|path| world.tree().join(path).is_file()) {
            git(&world.tree(), &["add", "-f", path]);
        }
        world.write(".git/info/exclude", exclude);
        world.write(".gitignore", top);
        if world.tree().join("a").is_dir() {
            world.write("a/.gitignore", inner);
        }
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .current_dir(world.tree())
            .output()
            .unwrap();
        let listed = String::from_utf8(output.stdout).unwrap();
        let mut expected: Vec<&str> = listed.split('\0').filter(|name| !name.is_empty()).collect();
        expected.sort_unstable();
        prop_assert_eq!(world.bundled(&[]), expected);
    }
}
