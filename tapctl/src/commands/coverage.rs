//! `tapctl coverage`: how much of the traffic at the hooks is what Podtap understands.

use std::io::Write;

use anyhow::Result;

use super::{Session, Verdict, ledger};
use crate::{
    cli::{self, Output},
    render::{coverage, json},
};

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Coverage) -> Result<Verdict> {
    let Session { collector, output, style, out } = session;
    let cli::Coverage { agent, namespace } = arguments;
    let ledgers = ledger::fetch(&collector, agent, namespace.as_deref()).await?;
    match output {
        Output::Table if ledgers.agents.is_empty() => ledger::say_none(namespace.as_deref()),
        Output::Table => out.write_all(coverage::render(&ledgers.agents, &style).as_bytes())?,
        Output::Json => out.write_all(json::pretty(&ledgers)?.as_bytes())?,
        Output::Jsonl => out.write_all(json::line(&ledgers)?.as_bytes())?,
    }
    Ok(Verdict::Good)
}
