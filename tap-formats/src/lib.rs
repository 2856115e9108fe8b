//! Captured exchanges in the formats of other tools.

#![forbid(unsafe_code)]
