//! The one door: every task of the repository is `cargo xtask <command>`.

mod proto;

use std::path::Path;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Regenerate the Rust of the wire contract from proto/tap/v1.
    Proto,
}

fn main() -> Result<()> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository");
    match Cli::parse().command {
        Command::Proto => proto::generate(repository),
    }
}
