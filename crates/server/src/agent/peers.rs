//! The other servers of an environment, as the proxy's table names them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use onward_core::model::ServerName;
use onward_core::reconcile::RouteFact;
use onward_proxy::{Fleet, Instance, Route};

/// What makes this server's proxy and those of its peers one; none while it is alone.
pub(super) fn fleet(route_name: &str, route: &RouteFact) -> Option<Fleet> {
    let peer = |(server, address): (&ServerName, &String)| Instance {
        // The address as it was ordered, which is what a later order is compared with.
        id: format!("{route_name}/@{server}@{address}"),
        addr: parse(address),
    };
    let peers = route.peers.iter().map(peer).collect();
    route.key.clone().map(|key| Fleet { key, peers })
}

/// An address that cannot be read leads nowhere: nobody listens at port 0, and the proxy passes
/// such a peer over like one that is down.
fn parse(address: &str) -> SocketAddr {
    address.parse().unwrap_or((Ipv4Addr::LOCALHOST, 0).into())
}

/// The peers and the key of a route: the inverse of [`fleet`].
pub(super) fn of(route: &Route) -> (BTreeMap<ServerName, String>, Option<String>) {
    let Some(fleet) = &route.fleet else { return (BTreeMap::new(), None) };
    let peer = |instance: &Instance| {
        let (_, peer) = instance.id.split_once("/@")?;
        let (server, address) = peer.split_once('@')?;
        Some((server.parse().ok()?, address.to_owned()))
    };
    (fleet.peers.iter().filter_map(peer).collect(), Some(fleet.key.clone()))
}

#[cfg(test)]
mod tests {
    use onward_core::model::ReleaseNumber;

    use super::*;

    #[test]
    fn what_the_proxy_is_told_can_be_read_again() {
        let peers: BTreeMap<ServerName, String> =
            [("two", "127.0.0.1:21000"), ("three", "[::1]:80"), ("four", "nowhere")]
                .map(|(name, address)| (name.parse().expect("a name"), address.to_owned()))
                .into();
        let fact = RouteFact {
            release: ReleaseNumber(1),
            slots: BTreeMap::new(),
            peers: peers.clone(),
            key: Some("k".to_owned()),
            maintenance: None,
        };
        let fleet = fleet("shop/local", &fact);
        let addresses: Vec<u16> =
            fleet.iter().flat_map(|own| &own.peers).map(|peer| peer.addr.port()).collect();
        assert_eq!(addresses, [0, 80, 21000]);
        let route = Route { fleet, ..Route::default() };
        assert_eq!(of(&route), (peers, Some("k".to_owned())));
        assert_eq!(of(&Route::default()), (BTreeMap::new(), None));
    }
}
