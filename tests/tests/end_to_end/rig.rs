//! A collector with its table in a temporary directory, and an agent that sends to it.

use podtap_tests::{Agent, AgentOptions, Cgroup, Collector, until};
use tap_proto::v1::Exchange;
use tempfile::TempDir;

use crate::client::{Client, Totals};

pub(crate) struct Rig {
    pub(crate) client: Client,
    pub(crate) collector: Collector,
    pub(crate) directory: TempDir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with_settings("")
    }

    /// With these lines as the collector's settings.
    pub(crate) fn with_settings(lines: &str) -> Self {
        let directory = TempDir::with_prefix("podtap-test-").unwrap();
        let collector = Collector::start_with(directory.path(), lines).unwrap();
        let client = Client::new(&collector.url());
        Self { client, collector, directory }
    }

    /// The settings of an agent that sends to this collector.
    pub(crate) fn agent(&self) -> AgentOptions {
        AgentOptions::new("agent", &self.collector.url())
    }

    /// Taps one cgroup as the target `web`.
    pub(crate) fn tap(&self, cgroup: &Cgroup) -> Agent {
        Agent::start(&self.agent().target("web", cgroup)).unwrap()
    }

    /// Waits until the table holds `count` exchanges that match; gives them, oldest first.
    pub(crate) fn stored(&self, filter: &str, count: usize) -> Vec<Exchange> {
        let stored =
            until(&format!("{count} exchanges of {filter:?}"), || match self.client.try_search(filter) {
                Ok(exchanges) if exchanges.len() >= count => Ok(exchanges),
                Ok(exchanges) => {
                    let lines: Vec<_> = exchanges.iter().take(60).map(crate::client::line).collect();
                    Err(format!(
                        "{} exchanges: {lines:#?}; ledger {:#?}",
                        exchanges.len(),
                        self.client.totals()
                    ))
                }
                Err(status) => Err(status.to_string()),
            })
            .unwrap();
        assert_eq!(stored.len(), count, "more exchanges than there were: {:#?}", lines(&stored));
        stored
    }

    /// Ends the agent in order, and checks that its account balances to the last byte.
    pub(crate) fn settle(&self, agent: Agent) -> Totals {
        agent.terminate().unwrap();
        self.settled()
    }

    /// Waits for the last ledger of every agent, and checks that it balances to the last byte.
    pub(crate) fn settled(&self) -> Totals {
        until("the agents' final ledger", || match self.client.ledgers() {
            Ok(ledgers) if ledgers.is_empty() => Err("no ledger".to_owned()),
            Ok(ledgers) if ledgers.iter().flat_map(|agent| &agent.ledger).all(|ledger| ledger.r#final) => {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        })
        .unwrap();
        let totals = self.client.totals().unwrap();
        totals.assert_balanced();
        assert_eq!(
            totals.pending,
            crate::client::Sum::default(),
            "nothing is on the way any more: {totals:#?}"
        );
        totals
    }
}

/// One line for each exchange, in their order.
pub(crate) fn lines(exchanges: &[Exchange]) -> Vec<String> {
    exchanges.iter().map(crate::client::line).collect()
}
