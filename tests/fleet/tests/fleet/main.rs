//! Real servers.

mod away;
mod bad_releases;
mod carried;
mod clocks;
mod disks;
mod hands;
mod installed;
mod keys;
mod lab;
mod leaving;
mod line;
mod machine;
mod managers;
mod moved_killed;
mod operators;
mod partitions;
mod renewal;
mod replace;
mod roles;
mod rootfs;
mod traces;
mod traffic;
mod transfers;
mod units;
mod visits;
mod whole_file;
