//! Real servers.

mod lab;
mod line;
mod rootfs;
mod traces;
