//! `tapctl ledger`: what became of everything seen.

use std::io::Write;

use anyhow::Result;
use tap_proto::v1::{AgentLedger, GetLedgerRequest, GetLedgerResponse};

use super::{Session, Verdict};
use crate::{
    cli::{self, Output},
    connect::{Collector, explain},
    render::{escape, json, ledger},
};

pub(super) async fn run(session: Session<'_, impl Write>, arguments: cli::Ledger) -> Result<Verdict> {
    let Session { collector, output, style, out } = session;
    let cli::Ledger { agent, namespace, check } = arguments;
    let ledgers = fetch(&collector, agent, namespace.as_deref()).await?;
    match output {
        Output::Table if ledgers.agents.is_empty() => say_none(namespace.as_deref()),
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

/// The newest ledgers, of one agent or all, of one namespace or all.
pub(super) async fn fetch(
    collector: &Collector,
    agent: String,
    namespace: Option<&str>,
) -> Result<GetLedgerResponse> {
    let request = collector.request(GetLedgerRequest { agent });
    let mut ledgers =
        collector.ledgers().get_ledger(request).await.map_err(|status| explain(&status, ""))?.into_inner();
    if let Some(namespace) = namespace {
        keep_namespace(&mut ledgers.agents, namespace);
    }
    Ok(ledgers)
}

/// Says that there is nothing to show.
pub(super) fn say_none(namespace: Option<&str>) {
    match namespace {
        Some(namespace) => eprintln!("no agent has reported a pod of {}", escape::text(namespace)),
        None => eprintln!("no agent has reported"),
    }
}

/// Keeps the targets that are pods of the namespace, and the agents that have any.
///
/// What the table holds is known of a whole agent only, and so is left out.
fn keep_namespace(agents: &mut Vec<AgentLedger>, namespace: &str) {
    agents.retain_mut(|agent| {
        agent.in_table = None;
        agent.expired = None;
        let Some(ledger) = &mut agent.ledger else { return false };
        ledger.targets.retain(|target| {
            // A pod's target is called namespace/pod.
            target.target.split_once('/').is_some_and(|(of, _)| of == namespace)
        });
        ledger.policies.retain(|policy| policy.namespace == namespace);
        !ledger.targets.is_empty() || !ledger.policies.is_empty()
    });
}
