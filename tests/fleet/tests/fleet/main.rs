//! Real servers.

mod lab;
mod rootfs;
mod traces;
