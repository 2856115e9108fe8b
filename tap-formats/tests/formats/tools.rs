//! Other tools, where they are.

use std::process::{Command, Stdio};

/// Whether a program is there. Its absence is an error where `CI` is set.
pub(crate) fn has(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{program} is missing: `cargo xtask setup` installs it");
    eprintln!("skipped: {program} is missing");
    false
}
