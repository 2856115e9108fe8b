//! Every format out and in again, with the tools whose formats they are, and with files that are none.

#![expect(clippy::unwrap_used, reason = "a test panics")]

mod curl;
mod foreign;
mod har;
mod hostile;
mod packets;
mod round_trip;
mod sample;
mod tools;
mod wireshark;
