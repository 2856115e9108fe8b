//! tapctl as a plugin of kubectl: on PATH under this name, it is `kubectl tap`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    tapctl::main().await
}
