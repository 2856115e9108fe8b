//! Privileged and end-to-end tests.
