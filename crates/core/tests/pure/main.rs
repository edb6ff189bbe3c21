//! The pure inside: tables of its decisions, properties of its functions, and old documents.

mod admission;
mod document;
mod engine;
mod golden;
mod make;
mod properties;
mod reconcile;
mod schedule;
mod schedules;
