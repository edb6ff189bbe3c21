//! The real binary, told to do things.

mod bad_input;
mod bad_releases;
mod bundles;
mod canary;
mod doctor;
mod full_disk;
mod interrupts;
mod killed;
mod line;
mod rehearse;
mod restore;
mod screens;
mod secrets;
mod secrets_killed;
mod shared_home;
mod together;
mod websocket;
