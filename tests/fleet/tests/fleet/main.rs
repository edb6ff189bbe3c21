//! Real servers.

mod installed;
mod lab;
mod line;
mod rootfs;
mod traces;
mod units;
