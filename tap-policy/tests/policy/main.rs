//! Policies from the object that a user writes to the decision on an exchange.

mod compile;
mod crd;
mod merge;
mod sample;
mod support;
