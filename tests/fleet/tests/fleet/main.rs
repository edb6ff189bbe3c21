//! Real servers.

mod carried;
mod disks;
mod hands;
mod installed;
mod keys;
mod lab;
mod line;
mod machine;
mod operators;
mod partitions;
mod roles;
mod rootfs;
mod traces;
mod units;
mod visits;
