//! What was captured, asked as a user would ask, and how to go on by hand.

use std::process::Command;

use anyhow::{Context as _, Result, bail};
use podtap_tests::{binary, check_interrupted, until};

use super::stage::Stage;
use crate::{process::line, setup::Tools};

/// Everything but wrk's load, which would fill the screen.
const BY_HAND: &str = r#"role == "inbound" && request.path != "/files/small.txt""#;

/// The request with an e-mail address, a card number and credentials.
const ORDER: &str = r#"role == "inbound" && request.path == "/upload" && request.headers["content-type"] == "application/json""#;

pub(super) fn heading(text: &str) {
    println!("\n== {text}");
}

/// The table, one exchange in full, the ledger, and the same by gRPC.
pub(super) fn captures(stage: &Stage, tools: &Tools) -> Result<()> {
    heading("What was captured");
    show(stage.tapctl()?.args(["search", BY_HAND, "--oldest-first"]))?;

    heading("One exchange in full: what redaction replaced is marked");
    let found = output(stage.tapctl()?.args(["search", ORDER, "--limit", "1", "-o", "jsonl"]))?;
    let found: serde_json::Value = serde_json::from_str(found.trim()).context("read tapctl's JSON")?;
    let id = found["id"].as_str().context("an exchange has an id")?;
    show(stage.tapctl()?.args(["get", id]))?;

    heading("The ledger: everything seen is stored, or lost by name");
    // The agent sends it every few seconds; under way, its parts are of different moments.
    until("the ledger is at rest", || {
        let ledger = stage.tapctl().and_then(|mut tapctl| output(tapctl.args(["ledger", "--check"])));
        ledger.map_err(|error| format!("{error:#}"))
    })?;
    show(stage.tapctl()?.args(["ledger", "--check"]))?;

    heading("The same by gRPC; the server describes itself, no .proto file is needed");
    let address = stage.collector_address();
    show(Command::new(&tools.grpcurl).args(["-plaintext", &address, "list"]))?;
    let search = r#"{"filter": "response.status >= 500", "summary": true, "page_size": 1}"#;
    show(Command::new(&tools.grpcurl).args([
        "-plaintext",
        "-d",
        search,
        &address,
        "tap.v1.CaptureService/Search",
    ]))
}

/// Sends what was captured at the second server.
pub(super) fn replay(stage: &Stage) -> Result<()> {
    heading("Replay at the second server: only safe methods, with the recorded pauses");
    let before = stage.second.requests().len();
    show(stage.tapctl()?.args(["replay", BY_HAND, "--target", &stage.second.url("")]))?;
    println!("The second server got {} requests.", stage.second.requests().len() - before);
    Ok(())
}

/// The lines to type next.
pub(super) fn next_steps(stage: &Stage, tools: &Tools, keep: bool) -> Result<()> {
    heading(if keep {
        "Go on by hand; Ctrl-C ends it"
    } else {
        "To go on by hand, run `cargo xtask demo --keep`, and then, with its ports"
    });
    let tapctl = binary("tapctl")?;
    let tapctl = tapctl.display();
    let grpcurl = tools.grpcurl.display();
    let (url, address) = (stage.collector_url(), stage.collector_address());
    println!("  curl '{}'", stage.nginx.url("/json?by=hand"));
    println!("  export PODTAP_COLLECTOR={url}");
    println!("  {tapctl} search 'request.query == \"by=hand\"'");
    println!("  {tapctl} tail");
    println!("  {tapctl} ledger");
    println!("  {tapctl} replay --since 10m --speed 10 --target {}", stage.second.url(""));
    println!("  {grpcurl} -plaintext {address} list");
    println!(
        "  {grpcurl} -plaintext -d '{{\"filter\": \"request.method == \\\"POST\\\"\"}}' {address} tap.v1.CaptureService/Search"
    );
    println!("  bpftool cgroup show {}", stage.cgroup.path().display());
    Ok(())
}

/// Shows a command as a user would type it, and what it prints.
fn show(command: &mut Command) -> Result<()> {
    check_interrupted()?;
    println!("$ {}", typed(command));
    let status = command.status().with_context(|| format!("run {}", line(command)))?;
    check_interrupted()?;
    if !status.success() {
        bail!("{}: {status}", line(command));
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("run {}", line(command)))?;
    if !output.status.success() {
        bail!("{}: {}\n{}", line(command), output.status, String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8(output.stdout).context("read what it prints")
}

/// The line without the directories of our own binaries.
fn typed(command: &Command) -> String {
    let whole = line(command);
    let name = std::path::Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
    match whole.split_once(' ') {
        Some((_, arguments)) => format!("{name} {arguments}"),
        None => name.into_owned(),
    }
}
