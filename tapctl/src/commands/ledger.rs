//! `tapctl ledger`: what became of everything seen.

use std::io::Write;

use anyhow::Result;
use tap_proto::v1::GetLedgerRequest;

use super::{Session, Verdict};
use crate::{
    cli::{self, Output},
    connect::explain,
    render::{json, ledger},
};

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Ledger) -> Result<Verdict> {
    let Session { collector, output, style, out } = session;
    let cli::Ledger { agent, check } = arguments;
    let request = collector.request(GetLedgerRequest { agent });
    let ledgers =
        collector.ledgers().get_ledger(request).await.map_err(|status| explain(&status, ""))?.into_inner();
    match output {
        Output::Table if ledgers.agents.is_empty() => eprintln!("no agent has reported"),
        Output::Table => out.write_all(ledger::render(&ledgers.agents, &style).as_bytes())?,
        Output::Json => out.write_all(json::pretty(&ledgers)?.as_bytes())?,
        Output::Jsonl => out.write_all(json::line(&ledgers)?.as_bytes())?,
    }
    let balanced = ledger::balances(&ledgers.agents);
    if !balanced && output == Output::Table {
        eprintln!(
            "under traffic the parts are read one after another: only at rest a difference means something"
        );
    }
    Ok(if check && !balanced { Verdict::Bad } else { Verdict::Good })
}
