//! Whether a symbolic link stays inside its tree, as the kernel would follow it.

use std::collections::HashMap;

/// Links the kernel follows before it gives up with `ELOOP`: whatever needs more leads nowhere at all.
const MAX_HOPS: usize = 40;

/// Follows the link at `path` through `targets` (the targets of all links of the tree, by path). Says `false` when the
/// way leaves the root of the tree at any point, also when it would come back.
pub(crate) fn stays_inside(path: &str, targets: &HashMap<&str, &str>) -> bool {
    let mut here: Vec<&str> = path.split('/').collect();
    let name = here.pop().unwrap_or_default();
    // Components still to walk, the next one last.
    let mut ahead = vec![name];
    let mut hops = 0;
    while let Some(part) = ahead.pop() {
        match part {
            "" | "." => {}
            ".." => {
                if here.pop().is_none() {
                    return false;
                }
            }
            name => {
                here.push(name);
                let Some(target) = targets.get(here.join("/").as_str()) else { continue };
                hops += 1;
                if hops > MAX_HOPS {
                    return true;
                }
                if target.starts_with('/') {
                    return false;
                }
                here.pop();
                ahead.extend(target.split('/').rev());
            }
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(path: &str, links: &[(&'static str, &'static str)]) -> bool {
        stays_inside(path, &links.iter().copied().collect())
    }

    #[test]
    fn follows_as_the_kernel_does() {
        assert!(inside("a/l", &[("a/l", "../b/missing")]));
        assert!(inside("l", &[("l", ".")]));
        assert!(!inside("l", &[("l", "..")]));
        assert!(!inside("l", &[("l", "/etc/passwd")]));
        assert!(!inside("a/l", &[("a/l", "../../tree/b")]), "leaves and comes back");
        assert!(inside("l", &[("l", "m"), ("m", "l")]), "a loop leads nowhere");
    }

    #[test]
    fn chains_are_followed() {
        // `deep` is a/b/c; `..` is taken where the link leads, not where it is written.
        let links = [("deep", "a/b/c"), ("up", "deep/../../../..")];
        assert!(!inside("up", &links));
        assert!(inside("up", &[("deep", "a/b/c"), ("up", "deep/../../..")]));
        // Written two levels down, but the directory it names is a link to the top.
        assert!(!inside("x", &[("a/b", ".."), ("x", "a/b/..")]));
    }

    #[test]
    fn exponential_chains_end() {
        let names: Vec<String> = (0..30).map(|i| format!("l{i}")).collect();
        let targets: Vec<String> = (1..=30).map(|i| format!("l{i}/l{i}/l{i}")).collect();
        let links = names.iter().zip(&targets).map(|(n, t)| (n.as_str(), t.as_str())).collect();
        assert!(stays_inside("l0", &links));
    }
}
