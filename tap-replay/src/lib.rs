//! The replay engine: schedule, send, compare.
