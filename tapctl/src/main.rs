//! tapctl.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    tapctl::main().await
}
