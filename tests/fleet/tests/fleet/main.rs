//! Real servers.

mod installed;
mod lab;
mod line;
mod machine;
mod rootfs;
mod traces;
mod units;
