//! The gate of this agent: [`tap_export`] with what the agent knows of its targets. Takes
//! [`Redacted`](tap_redact::Redacted) and nothing else; nothing in this crate makes a [`v1::Exchange`] in another way.

use tap_flow::Exchange;
use tap_proto::v1;
use tap_redact::Redacted;

use crate::{clock::WallClock, registry::Details};

/// Of every live capture: the clock of `bpf_ktime_get_boot_ns`.
const CLOCK: &str = "CLOCK_BOOTTIME";

/// Whose exchange it is.
#[derive(Clone, Copy, Debug)]
pub struct Attribution<'a> {
    /// Of the target.
    pub name: &'a str,
    pub details: &'a Details,
    /// `None` where it is not known, or does not apply.
    pub container: Option<&'a str>,
}

/// Turns redacted exchanges of one ring into messages of the wire contract.
#[derive(Debug)]
pub struct Exporter {
    node: String,
    exporter: tap_export::Exporter,
}

impl Exporter {
    /// `agent` and `epoch` name the run of the agent; `ring` is the number of the ring within it.
    pub fn new(agent: &str, epoch: u64, ring: usize) -> Self {
        Self { node: agent.to_owned(), exporter: tap_export::Exporter::new(agent, epoch, ring, CLOCK) }
    }

    /// `clock` tells the wall-clock time of the capture's clock.
    pub fn export(
        &self,
        exchange: Redacted<Exchange>,
        target: &Attribution<'_>,
        clock: &WallClock,
    ) -> v1::Exchange {
        let Attribution { name, details, container } = *target;
        let Details { workload, namespace, pod, pod_uid, labels, containers: _, plan: _, policies: _ } =
            details;
        let attribution = tap_export::Attribution {
            target: name,
            node: &self.node,
            namespace,
            workload,
            pod,
            pod_uid,
            container: container.unwrap_or_default(),
            labels,
        };
        self.exporter.export(exchange, &attribution, |instant| clock.wall(instant))
    }
}
