//! Listening sockets that a service manager holds and gives to each proxy that it starts.
//!
//! systemd says in `LISTEN_FDS` how many it gives, from descriptor 3 on, and in `LISTEN_FDNAMES`
//! what they are called: `http` and `https`. They stay open when the proxy ends, so connections wait
//! for the next one.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

use crate::serve::Error;
use crate::sockets;

/// The name of the socket that speaks plain HTTP.
pub const HTTP: &str = "http";
/// The name of the socket that speaks TLS.
pub const HTTPS: &str = "https";

/// The sockets that were given to this process, by their names.
#[derive(Debug, Default)]
pub struct Inherited {
    /// Speaks plain HTTP.
    pub http: Option<TcpListener>,
    /// Speaks TLS.
    pub https: Option<TcpListener>,
}

/// Takes the sockets that the service manager gave to this process; `None` when it gave none. They
/// are taken once: a second call finds none.
///
/// # Errors
/// When one is no listening TCP socket, has another name than `http` or `https`, or one of the two
/// names twice.
pub fn inherited() -> Result<Option<Inherited>, Error> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut given = ListenFd::from_env();
    let count = given.len();
    if count == 0 {
        return Ok(None);
    }
    let mut take = |at| -> io::Result<TcpListener> {
        let listener = given.take_tcp_listener(at)?;
        let listener = listener.filter(|own| sockets::is_listening(own));
        listener.ok_or_else(|| io::Error::other("it doesn't listen"))
    };
    let listeners = (0..count).map(&mut take).collect::<io::Result<Vec<_>>>();
    let named = listeners.and_then(|listeners| name(&names, listeners));
    named.map(Some).map_err(|source| Error::Io { what: "take the sockets it was given", source })
}

fn name(names: &str, listeners: Vec<TcpListener>) -> io::Result<Inherited> {
    let mut inherited = Inherited::default();
    let mut names = names.split(':');
    for listener in listeners {
        let name = names.next().unwrap_or_default();
        let place = match name {
            HTTP => &mut inherited.http,
            HTTPS => &mut inherited.https,
            other => {
                let text = format!("one is called {other:?}, not {HTTP} or {HTTPS}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
        };
        if place.replace(listener).is_some() {
            let text = format!("two are called {name:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    }
    Ok(inherited)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(count: usize) -> Vec<TcpListener> {
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect()
    }

    #[test]
    fn sockets_are_found_by_their_names() {
        let all = sockets(2);
        let first = all[0].local_addr().unwrap();
        let found = name("https:http", all).unwrap();
        assert_eq!(found.https.unwrap().local_addr().unwrap(), first);
        assert!(found.http.is_some());
    }

    #[test]
    fn a_socket_that_nobody_knows_is_refused() {
        for names in ["", "http:http", "http:metrics", "http"] {
            let refused = name(names, sockets(2)).unwrap_err();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput, "{names}");
        }
        assert!(name("http", sockets(1)).unwrap().https.is_none());
    }
}
