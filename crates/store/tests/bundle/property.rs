//! From any tree and back.

use onward_store::bundle::{ExportFormat, Source, StageMode};
use proptest::prelude::*;

use crate::world::{Node, Tree, World, noise, now, plant, snapshot};

/// Names with everything that is legal and awkward; never one that a rule leaves out.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-c]",
        1 => "[a-zA-Z0-9 ._~\\\\:*?\"<>|-]{1,12}",
        1 => "[\\u{e0}-\\u{ff}\\u{4e00}-\\u{4e20}]{1,6}",
        1 => "[xy]{90,120}",
    ]
    .prop_filter("a name", |name| !matches!(name.as_str(), "." | ".." | ".git" | ".onward"))
}

fn path() -> impl Strategy<Value = String> {
    prop::collection::vec(name(), 1..5).prop_map(|names| names.join("/"))
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        2 => Just(Vec::new()),
        4 => prop::collection::vec(any::<u8>(), 0..600),
        4 => (1..50_u64, 1000..40_000_usize).prop_map(|(seed, len)| noise(seed, len)),
        1 => (1..5_u64, 1_048_570..1_500_000_usize).prop_map(|(seed, len)| noise(seed, len)),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        6 => (content(), any::<bool>()).prop_map(|(content, run)| Node::File(content, run)),
        1 => Just(Node::Dir),
        // Targets that stay where they are, dangling or not, cleanly written or not.
        2 => prop_oneof!["[a-c]", "\\./[a-c]//d/\\.", "[ab]{100,300}"].prop_map(Node::Link),
    ]
}

/// A tree in which nothing lies below a file.
fn tree() -> impl Strategy<Value = Tree> {
    prop::collection::vec((path(), node()), 0..12).prop_map(|nodes| {
        let mut tree = Tree::new();
        for (path, node) in nodes {
            let free = |tree: &Tree| {
                path.char_indices().filter(|(_, c)| *c == '/').all(|(at, _)| {
                    !matches!(tree.get(&path[..at]), Some(Node::File(..) | Node::Link(_)))
                })
            };
            let below = format!("{path}/");
            if free(&tree)
                && !tree.contains_key(&path)
                && !tree.keys().any(|key| key.starts_with(&below))
            {
                for (at, _) in path.char_indices().filter(|(_, c)| *c == '/') {
                    tree.insert(path[..at].to_owned(), Node::Dir);
                }
                tree.insert(path, node);
            }
        }
        tree
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]
    #[test]
    fn a_tree_survives_every_way(tree in tree()) {
        let world = World::new();
        plant(&world.tree(), &tree);
        prop_assert_eq!(&snapshot(&world.tree()), &tree);
        let bundle = world.add().digest;
        prop_assert_eq!(world.add().digest, bundle);
        for (mode, dest) in [(StageMode::Copy, "copy"), (StageMode::Link, "link")] {
            world.store.stage(bundle, &world.path(dest), mode, None).unwrap();
            prop_assert_eq!(&snapshot(&world.path(dest)), &tree);
        }
        let other = World::new();
        for (format, ending) in ExportFormat::ALL {
            let (one, two) = (world.path(&format!("one{ending}")), world.path(&format!("two{ending}")));
            prop_assert_eq!(ExportFormat::of(&one), Some(format));
            world.store.export(bundle, &one, format).unwrap();
            world.store.export(bundle, &two, format).unwrap();
            prop_assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
            let added = other.store.add(&Source::Archive(one), now()).unwrap();
            prop_assert_eq!(added.digest, bundle, "{}", ending);
        }
        other.store.verify(bundle).unwrap();
    }
}
