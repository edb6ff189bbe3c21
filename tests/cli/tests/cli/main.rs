//! The real binary, told to do things.

mod bad_input;
mod bad_releases;
mod bundles;
mod canary;
mod commands;
mod config_files;
mod doctor;
mod eject;
mod full_disk;
mod hanging;
mod hooks;
mod https;
mod interrupts;
mod killed;
mod line;
mod rehearse;
mod restore;
mod runtimes;
mod schedules;
mod screens;
mod secrets;
mod secrets_killed;
mod several_servers;
mod shared_home;
mod together;
mod websocket;
