//! Real servers.

mod carried;
mod installed;
mod lab;
mod line;
mod machine;
mod rootfs;
mod traces;
mod units;
