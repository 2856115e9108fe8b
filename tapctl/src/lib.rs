//! The command line of Podtap: what was captured, what was lost, replays of it, and what redaction does.
//!
//! Speaks gRPC to a collector, or to the collector's query services over a table in this process, and keeps nothing. Captured text is hostile until shown otherwise: nothing of
//! it reaches a terminal but through [`render::escape`].
//!
//! Exit status: 0 done, 1 failed, 64 wrong usage.

#![forbid(unsafe_code)]

pub mod cli;
mod commands;
mod connect;
pub mod input;
mod program;
pub mod render;
mod stored;

pub use commands::{Verdict, WrongUsage, run};
pub use program::main;
