//! Which route takes a request: the most specific host, then the longest path.
//!
//! One name is above every name below another (`*.example.com`), a longer such name above a
//! shorter, and any host comes last. A host that is named, but not with this path, leaves the
//! request to the next.

use crate::host::{HostPattern, name_of};
use crate::table::Route;

/// The routes of a table in the order in which they are tried.
#[derive(Debug, Default)]
pub(crate) struct Order {
    tried: Vec<Tried>,
}

#[derive(Debug)]
struct Tried {
    /// `None`: any host.
    host: Option<HostPattern>,
    path: Box<str>,
    /// Which route of the table.
    route: usize,
    alias: bool,
}

/// The route that takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Match {
    /// Which route of the table.
    pub(crate) route: usize,
    /// The host is only another name: the client is sent to the canonical one.
    pub(crate) alias: bool,
}

impl Order {
    /// Sorts valid routes.
    pub(crate) fn of(routes: &[Route]) -> Self {
        let mut tried = Vec::new();
        for (at, route) in routes.iter().enumerate() {
            let mut add = |host: Option<HostPattern>, alias| {
                tried.push(Tried { host, path: route.path.as_str().into(), route: at, alias });
            };
            let named = |names: &[String]| -> Vec<HostPattern> {
                names.iter().filter_map(|name| HostPattern::parse(name).ok()).collect()
            };
            named(&route.hosts).into_iter().for_each(|host| add(Some(host), false));
            named(&route.aliases).into_iter().for_each(|host| add(Some(host), true));
            if route.any_host || route.hosts.is_empty() {
                add(None, false);
            }
        }
        let specificity =
            |host: &Option<HostPattern>| host.as_ref().map_or(0, HostPattern::specificity);
        tried.sort_by_key(|one| std::cmp::Reverse((specificity(&one.host), one.path.len())));
        Self { tried }
    }

    /// Who takes a request for `host` (the value of the Host header) and `path` (of the target).
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<Match> {
        let name = name_of(host);
        let takes = |one: &&Tried| {
            one.host.as_ref().is_none_or(|host| host.takes(name)) && is_below(path, &one.path)
        };
        let found = self.tried.iter().find(takes)?;
        Some(Match { route: found.route, alias: found.alias })
    }
}

/// Whether `path` is the prefix or below it: `/admin` has `/admin/x` and not `/administrator`.
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(name: &str, hosts: &[&str], path: &str) -> Route {
        Route {
            name: name.into(),
            hosts: hosts.iter().map(ToString::to_string).collect(),
            path: path.into(),
            ..Route::default()
        }
    }

    #[test]
    fn the_most_specific_takes_it() {
        let mut shop = route("shop", &["shop.example.com"], "");
        shop.aliases = vec!["www.example.com".into()];
        let mut fallback = route("fallback", &["fallback.localhost"], "");
        fallback.any_host = true;
        let routes = [
            fallback,
            route("late", &[], ""),
            route("all", &["*.example.com"], ""),
            route("inner", &["*.b.example.com"], ""),
            route("deep", &["shop.example.com"], "/admin/deep"),
            route("admin", &["shop.example.com"], "/admin"),
            shop,
            route("only-below", &["api.example.com"], "/v1"),
        ];
        let order = Order::of(&routes);
        for (host, path, name, alias) in [
            ("shop.example.com", "/", "shop", false),
            ("SHOP.example.com:8080", "/administrator", "shop", false),
            ("shop.example.com", "/admin", "admin", false),
            ("shop.example.com", "/admin/x", "admin", false),
            ("shop.example.com", "/admin/deep/x", "deep", false),
            ("www.example.com", "/x", "shop", true),
            ("other.example.com", "/", "all", false),
            ("a.b.example.com", "/", "inner", false),
            ("api.example.com", "/v1/x", "only-below", false),
            ("api.example.com", "/v2", "all", false),
            ("example.com", "/", "fallback", false),
            ("", "*", "fallback", false),
        ] {
            let found = order.find(host, path).map(|own| (&*routes[own.route].name, own.alias));
            assert_eq!(found, Some((name, alias)), "{host}{path}");
        }
        assert_eq!(Order::of(&routes[2..]).find("example.com", "/"), None);
    }
}
