//! A server whose onward sees another time of day.
//!
//! All servers have the clock of this machine's kernel, and Linux has no name space for it. So the
//! time is moved in front of programs, by libfaketime, for the units whose names begin with
//! `onward-`. It does not reach programs that are linked statically, so the agent has to be an
//! ordinary build; nor systemd and its timers. Clocks that only measure go on as they are.

use crate::{Fleet, Line};

/// Puts libfaketime in front of the units. Not of all units: programs that wait by systemd's own
/// event loop do not work with it, so those that onward starts are left out too.
const SETUP: &str = r#"
set -e
if ! dpkg -s libfaketime > /dev/null 2>&1; then
  apt-get update -qq -o Acquire::Retries=3
  DEBIAN_FRONTEND=noninteractive apt-get install -o Acquire::Retries=3 -qq -y --no-install-recommends libfaketime
fi > /dev/null
library=$(dpkg -L libfaketime | grep '/libfaketime\.so\.1$')
mkdir -p /etc/systemd/system/onward-.service.d
printf '[Service]\nEnvironment=LD_PRELOAD=%s FAKETIME=%s FAKETIME_DONT_FAKE_MONOTONIC=1 FAKETIME_SKIP_CMDS=systemd-run,systemctl,busctl,journalctl\n' \
  "$library" "$OFFSET" > /etc/systemd/system/onward-.service.d/skew.conf
systemctl daemon-reload
"#;

impl Fleet {
    /// Moves the time of day of the units `onward-*` of a server by so many seconds. Those that run
    /// see it once they are started again. It needs the Internet the first time.
    ///
    /// # Panics
    /// When that fails.
    pub fn skew(&self, index: usize, seconds: i64) {
        self.run(index, &script(seconds));
    }
}

impl Line {
    /// As [`Fleet::skew`].
    ///
    /// # Panics
    /// When that fails.
    pub fn skew(&self, server: &str, seconds: i64) {
        self.run(server, &script(seconds));
    }
}

fn script(seconds: i64) -> String {
    format!("OFFSET={seconds:+}; {SETUP}")
}
