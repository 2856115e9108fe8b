//! The agent's metrics: the ledger, target by target, and the state of taps, spool and uplink.
//!
//! Everything is read when it is scraped; nothing is counted twice to be shown. docs/ledger.md explains the stages
//! and reasons.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use tokio::sync::watch;

use crate::{
    amount::Amount,
    budget::{Budget, Cause, Memory, Usage},
    capture::ProgramStats,
    ledger::{Account, Ledger, Reason},
    spool::Spool,
    taps::{TapState, TapStatus},
    uplink::UplinkStatus,
};

/// Where the metrics are read.
#[derive(Debug)]
pub struct AgentMetrics {
    pub ledger: Arc<Ledger>,
    /// One for each route, the agent's own collector first.
    pub spools: Vec<Arc<Spool>>,
    /// Of each.
    pub spool_limit: usize,
    pub uplinks: Vec<Arc<UplinkStatus>>,
    pub taps: watch::Receiver<Vec<TapStatus>>,
    /// What was looked for at the start, and the word for what was found.
    pub self_test: Vec<(&'static str, &'static str)>,
    pub usage: watch::Receiver<Usage>,
}

impl AgentMetrics {
    /// Puts the metrics into a registry.
    pub fn register(self, registry: &mut Registry) {
        registry.register_collector(Box::new(self));
    }
}

impl Collector for AgentMetrics {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        families.ledger(&self.ledger.accounts())?;
        families.taps(&self.taps.borrow())?;
        families.self_test(&self.self_test)?;
        families.programs(&self.ledger.programs())?;
        families.budget(*self.usage.borrow())?;
        families.gauge(
            "podtap_agent_spool_bytes",
            "Encoded exchanges that are not acknowledged.",
            self.spools.iter().map(|spool| spool.usage().bytes as u64).sum(),
        )?;
        families.gauge(
            "podtap_agent_spool_limit_bytes",
            "What the spool may hold, for each collector in use.",
            self.spool_limit as u64,
        )?;
        let sum = |of: fn(&UplinkStatus) -> u64| self.uplinks.iter().map(|uplink| of(uplink)).sum();
        families.gauge(
            "podtap_agent_uplink_connected",
            "1 while there is a stream to the agent's own collector.",
            self.uplinks.first().is_some_and(|uplink| uplink.is_connected()).into(),
        )?;
        families.counter(
            "podtap_agent_uplink_streams",
            "Streams that the collector has welcomed.",
            sum(UplinkStatus::streams),
        )?;
        families.counter(
            "podtap_agent_uplink_sent_batches",
            "Batches sent, each as often as it was.",
            sum(UplinkStatus::sent_batches),
        )?;
        families.counter(
            "podtap_agent_uplink_sent_bytes",
            "Bytes of batches sent, before compression.",
            sum(UplinkStatus::sent_bytes),
        )
    }
}

/// A family of metrics for each thing that is counted. OpenMetrics adds `_total` to the names of counters.
struct Families<'a>(DescriptorEncoder<'a>);

/// A number of an account, with the labels of its own.
type Value<'a> = (&'a str, Vec<(&'static str, &'static str)>, u64);

impl Families<'_> {
    fn ledger(&mut self, accounts: &[Account]) -> fmt::Result {
        type Read = fn(&Account) -> u64;
        let counters: [(&str, &str, Read); 10] = [
            ("podtap_agent_seen_bytes", "TCP payload at the kernel hooks.", |account| account.seen.bytes),
            ("podtap_agent_seen_segments", "TCP segments at the kernel hooks.", |account| {
                account.seen.segments
            }),
            ("podtap_agent_assembled_exchanges", "Exchanges out of reassembly.", |account| {
                account.assembled.exchanges
            }),
            ("podtap_agent_assembled_bytes", "TCP payload of the assembled exchanges.", |account| {
                account.assembled.bytes
            }),
            ("podtap_agent_stored_exchanges", "Exchanges durable at the collector.", |account| {
                account.stored.exchanges
            }),
            ("podtap_agent_stored_bytes", "TCP payload of the stored exchanges.", |account| {
                account.stored.bytes
            }),
            ("podtap_agent_flows", "Connections that were seen to begin or were joined.", |account| {
                account.flows.all
            }),
            ("podtap_agent_shed_flows", "Connections that were left out to keep to a budget.", |account| {
                account.flows.shed
            }),
            ("podtap_agent_gaps", "Holes in the byte streams that were given up.", |account| {
                account.flows.gaps
            }),
            ("podtap_agent_gap_bytes", "Bytes of the holes.", |account| account.flows.gap_bytes),
        ];
        for (name, help, read) in counters {
            self.family(
                name,
                help,
                MetricType::Counter,
                accounts.iter().map(|account| (account.name.as_str(), vec![], read(account))),
            )?;
        }
        let opaque = accounts.iter().flat_map(|account| {
            let flows = &account.flows;
            [("tls", flows.tls), ("http2", flows.http2), ("other", flows.other)]
                .map(|(protocol, count)| (account.name.as_str(), vec![("protocol", protocol)], count))
        });
        self.family(
            "podtap_agent_opaque_flows",
            "Connections that are not HTTP/1.",
            MetricType::Counter,
            opaque,
        )?;
        let coverage = accounts.iter().flat_map(|account| {
            let shares = account.coverage.by_protocol();
            shares.map(|(protocol, bytes)| (account.name.as_str(), vec![("protocol", protocol)], bytes))
        });
        self.family(
            "podtap_agent_coverage_bytes",
            "TCP payload that passed the filters, by what its connection speaks.",
            MetricType::Counter,
            coverage,
        )?;
        let gauges: [(&str, &str, Read); 2] = [
            ("podtap_agent_pending_exchanges", "Exchanges on the way to the collector.", |account| {
                account.pending.exchanges
            }),
            ("podtap_agent_pending_bytes", "TCP payload on the way to the collector.", |account| {
                account.pending.bytes
            }),
        ];
        for (name, help, read) in gauges {
            self.family(
                name,
                help,
                MetricType::Gauge,
                accounts.iter().map(|account| (account.name.as_str(), vec![], read(account))),
            )?;
        }
        type ReadAmount = fn(&Amount) -> u64;
        let losses: [(&str, &str, ReadAmount); 3] = [
            ("podtap_agent_lost_exchanges", "Exchanges not stored, by reason.", |amount| amount.exchanges),
            ("podtap_agent_lost_bytes", "TCP payload in no stored exchange, by reason.", |amount| {
                amount.bytes
            }),
            ("podtap_agent_lost_segments", "TCP segments not copied, by reason.", |amount| amount.segments),
        ];
        for (name, help, read) in losses {
            let values = accounts.iter().flat_map(|account| {
                account.losses.iter().map(move |(Reason { stage, word }, amount)| {
                    (account.name.as_str(), vec![("stage", stage.as_str()), ("reason", *word)], read(amount))
                })
            });
            self.family(name, help, MetricType::Counter, values)?;
        }
        Ok(())
    }

    fn taps(&mut self, taps: &[TapStatus]) -> fmt::Result {
        let values = taps.iter().map(|tap| {
            let state = match tap.state {
                TapState::Awaited { .. } => "awaited",
                TapState::Failed { .. } => "failed",
                TapState::Attached => "attached",
                TapState::Ended => "ended",
            };
            (tap.name.as_str(), vec![("state", state)], 1)
        });
        self.family("podtap_agent_target_state", "1 for the state of each target.", MetricType::Gauge, values)
    }

    fn programs(&mut self, programs: &[ProgramStats]) -> fmt::Result {
        let name = "podtap_agent_program_runs";
        let help = "Runs of the kernel programs, while kernel.bpf_stats_enabled is on.";
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for ProgramStats { name, runs, .. } in programs {
            ConstCounter::new(*runs).encode(encoder.encode_family(&[("program", *name)])?)?;
        }
        let name = "podtap_agent_program_run_seconds";
        let help = "How long the kernel programs ran, while kernel.bpf_stats_enabled is on.";
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for ProgramStats { name, time, .. } in programs {
            ConstCounter::new(time.as_secs_f64()).encode(encoder.encode_family(&[("program", *name)])?)?;
        }
        let name = "podtap_agent_program_verified_instructions";
        let help = "Instructions that the verifier went through, of a million; 0 before Linux 5.16.";
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for ProgramStats { name, verified_instructions, .. } in programs {
            let value = u64::from(*verified_instructions);
            gauge(value).encode(encoder.encode_family(&[("program", *name)])?)?;
        }
        Ok(())
    }

    fn self_test(&mut self, results: &[(&'static str, &'static str)]) -> fmt::Result {
        let help =
            "1 for what was found at the start of each way to send, and of redirection past the hooks.";
        let name = "podtap_agent_self_test";
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (path, result) in results {
            gauge(1).encode(encoder.encode_family(&[("path", *path), ("result", *result)])?)?;
        }
        Ok(())
    }

    fn budget(&mut self, usage: Usage) -> fmt::Result {
        let Usage { budget, memory, cpu, shedding } = usage;
        let causes = [Cause::Memory, Cause::Cpu].map(|cause| {
            let share = shedding.filter(|(_, of)| *of == cause).map_or(0.0, |(share, _)| share);
            ([("budget", cause.as_str())], share)
        });
        self.floats(
            "podtap_agent_shedding_ratio",
            "Share of connections that are left out to keep to a budget.",
            causes,
        )?;
        let Memory { process, rings, flows, spools } = memory;
        let parts = [("process", process), ("rings", rings), ("flows", flows), ("spools", spools)];
        self.floats(
            "podtap_agent_memory_bytes",
            "Memory as the budget counts it.",
            parts.map(|(part, bytes)| ([("part", part)], bytes as f64)),
        )?;
        self.float("podtap_agent_cpu_cores", "Cores in use, of all threads.", Some(cpu))?;
        let Budget { memory, cpu } = budget;
        let memory = memory.map(|bytes| bytes as f64);
        self.float("podtap_agent_memory_budget_bytes", "Memory that the agent may use.", memory)?;
        self.float("podtap_agent_cpu_budget_cores", "Cores that the agent may use.", cpu)
    }

    /// A gauge that is there where it has a value.
    fn float(&mut self, name: &str, help: &str, value: Option<f64>) -> fmt::Result {
        let Some(value) = value else { return Ok(()) };
        ConstGauge::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    /// A gauge with one label.
    fn floats(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, &'static str); 1], f64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        gauge(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        ConstCounter::new(value).encode(self.0.encode_descriptor(name, help, None, MetricType::Counter)?)
    }

    /// A metric with the label `target`, and others.
    fn family<'a>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl Iterator<Item = Value<'a>>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        for (target, labels, value) in values {
            let labels: Vec<_> = [("target", target)].into_iter().chain(labels).collect();
            let metric = encoder.encode_family(&labels)?;
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(metric)?,
                _ => gauge(value).encode(metric)?,
            }
        }
        Ok(())
    }
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX))
}
