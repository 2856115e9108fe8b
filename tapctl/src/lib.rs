//! The command line of Podtap.
