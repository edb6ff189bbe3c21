//! Waiting for servers: for those that cannot be reached by knocking at their SSH ports, one packet
//! every few seconds until one opens; for those that catch up by looking again, later and later.

use std::net::{TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use super::calls::{Calls, Woken};

/// The first pause between two knocks; it doubles.
const KNOCKS_AFTER: Duration = Duration::from_millis(500);
/// The longest pause between two knocks.
const KNOCKS_AFTER_MAX: Duration = Duration::from_secs(3);
/// The time that a server has to open.
const OPENS_WITHIN: Duration = Duration::from_secs(1);
/// The longest pause before the first knock at a server that opens and still cannot be used: it
/// changed its host key, or takes no orders of this version.
const IN_VAIN_MAX: Duration = Duration::from_secs(60);

/// The first pause before servers that catch up are looked at again; it doubles.
const LOOKS_AFTER: Duration = Duration::from_millis(250);
/// The longest such pause: what a person waits for a server that was mended.
const LOOKS_AFTER_MAX: Duration = Duration::from_secs(10);

/// Where a server's SSH is: host and port.
pub(super) type Door = (String, u16);

/// How the waiting went so far.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// How often in a row the same servers opened in vain.
    in_vain: u32,
    /// How often in a row servers were waited for that catch up.
    looked: u32,
    last: Vec<Door>,
}

impl Waiting {
    /// Waits a little for servers that are there and do not yet run what they shall, or for a call.
    pub(super) fn for_who_catches_up(&mut self, calls: &Calls) -> Woken {
        let pause = LOOKS_AFTER.saturating_mul(1 << self.looked.min(10)).min(LOOKS_AFTER_MAX);
        self.looked += 1;
        calls.wait(pause)
    }

    /// Waits until one of these opens, or there is a call.
    pub(super) fn for_any_of(&mut self, doors: &[Door], calls: &Calls) -> Woken {
        self.looked = 0;
        self.in_vain = if self.last == doors { self.in_vain + 1 } else { 0 };
        self.last = doors.to_vec();
        let mut pause = match self.in_vain {
            0 => KNOCKS_AFTER,
            in_vain => KNOCKS_AFTER.saturating_mul(1 << in_vain.min(10)).min(IN_VAIN_MAX),
        };
        loop {
            match calls.wait(pause) {
                Woken::InTime if any_opens(doors) => return Woken::InTime,
                Woken::InTime => {}
                woken => return woken,
            }
            // It did not open, so whatever was in vain before is over.
            pause = if pause > KNOCKS_AFTER_MAX { KNOCKS_AFTER } else { pause };
            pause = (pause * 2).min(KNOCKS_AFTER_MAX);
            self.in_vain = 0;
        }
    }
}

fn any_opens(doors: &[Door]) -> bool {
    thread::scope(|scope| {
        let each: Vec<_> = doors.iter().map(|door| scope.spawn(|| opens(door))).collect();
        // All are joined, whatever the first says.
        each.into_iter().map(|one| one.join().unwrap_or(false)).fold(false, |any, one| any | one)
    })
}

fn opens((host, port): &Door) -> bool {
    let addresses = (host.as_str(), *port).to_socket_addrs();
    let mut addresses = addresses.into_iter().flatten();
    addresses.any(|address| TcpStream::connect_timeout(&address, OPENS_WITHIN).is_ok())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_door_is_open_when_somebody_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let door = ("127.0.0.1".to_owned(), listener.local_addr().expect("an address").port());
        let (calls, mut waiting) = (Calls::default(), Waiting::default());
        assert_eq!(waiting.for_any_of(std::slice::from_ref(&door), &calls), Woken::InTime);
        assert_eq!(waiting.in_vain, 0);
        // The same one again: it opened, and was of no use.
        assert_eq!(waiting.for_any_of(std::slice::from_ref(&door), &calls), Woken::InTime);
        assert_eq!(waiting.in_vain, 1);
        drop(listener);
        assert!(!opens(&door));
    }
}
