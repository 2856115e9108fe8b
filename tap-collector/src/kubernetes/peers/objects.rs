//! Pods, services and nodes, as little of them as the index needs, and what each claims.
//!
//! Only the fields that are named here are taken out of what the API server sends: a pod of some 10 KB becomes
//! some 300 bytes.

use std::net::IpAddr;

use k8s_openapi::{
    api::core::v1,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource;
use serde::Deserialize;

use super::index::{Claim, Kind, Millis, Peer, Place};

#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "v1::Pod")]
pub(super) struct Pod {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: PodSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodSpec {
    host_network: bool,
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    ports: Vec<ContainerPort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerPort {
    container_port: u16,
    host_port: u16,
    protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodStatus {
    phase: String,
    #[serde(rename = "hostIP")]
    host_ip: String,
    #[serde(rename = "hostIPs")]
    host_ips: Vec<Ip>,
    #[serde(rename = "podIP")]
    pod_ip: String,
    #[serde(rename = "podIPs")]
    pod_ips: Vec<Ip>,
    container_statuses: Vec<ContainerStatus>,
    init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Ip {
    ip: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ContainerStatus {
    state: ContainerState,
    last_state: ContainerState,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ContainerState {
    running: Option<Ran>,
    terminated: Option<Ran>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ran {
    started_at: Option<Time>,
    finished_at: Option<Time>,
}

#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "v1::Service")]
pub(super) struct Service {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: ServiceSpec,
    #[serde(default)]
    status: ServiceStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    #[serde(rename = "clusterIPs")]
    cluster_ips: Vec<String>,
    ports: Vec<ServicePort>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServicePort {
    port: u16,
    node_port: u16,
    protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ServiceStatus {
    load_balancer: LoadBalancer,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct LoadBalancer {
    ingress: Vec<Ip>,
}

#[derive(Clone, Debug, Deserialize, Resource)]
#[resource(inherit = "v1::Node")]
pub(super) struct Node {
    metadata: ObjectMeta,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeStatus {
    addresses: Vec<NodeAddress>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeAddress {
    address: String,
}

/// An object whose addresses are indexed.
pub(super) trait Claims {
    const KIND: Kind;

    /// `None` where it has no UID, which no API server leaves out.
    fn claim(&self, now: Millis) -> Option<Claim>;

    fn uid(&self) -> &str;

    /// When it ended, for one that was deleted at `now` or before.
    fn ended(&self, now: Millis) -> Millis;
}

impl Claims for Pod {
    const KIND: Kind = Kind::Pod;

    fn claim(&self, now: Millis) -> Option<Claim> {
        let Self { metadata, spec, status } = self;
        let peer = Peer {
            kind: Kind::Pod,
            namespace: metadata.namespace.as_deref()?.into(),
            pod: metadata.name.as_deref()?.into(),
            service: Box::default(),
            workload: tap_policy::workload(metadata).unwrap_or_default().into(),
        };
        let ports =
            || spec.containers.iter().flat_map(|container| &container.ports).filter(|port| port.is_tcp());
        let mut places = Vec::new();
        if spec.host_network {
            for ip in
                addresses([&status.pod_ip, &status.host_ip], status.pod_ips.iter().chain(&status.host_ips))
            {
                places.extend(ports().map(|port| Place::Socket(ip, port.container_port)));
            }
        } else {
            places.extend(addresses([&status.pod_ip], &status.pod_ips).into_iter().map(Place::Address));
            for ip in addresses([&status.host_ip], &status.host_ips) {
                let listening = ports().filter(|port| port.host_port != 0);
                places.extend(listening.map(|port| Place::Socket(ip, port.host_port)));
            }
        }
        places.sort_unstable();
        places.dedup();
        let is_over = matches!(status.phase.as_str(), "Succeeded" | "Failed");
        Some(Claim {
            uid: metadata.uid.as_deref()?.into(),
            peer,
            places,
            from: status.first_started(),
            until: is_over.then(|| self.ended(now)),
        })
    }

    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// When its last container ended, where all have; its address may have gone on to another pod since.
    fn ended(&self, now: Millis) -> Millis {
        self.status.last_finished().map_or(now, |finished| finished.min(now))
    }
}

impl ContainerPort {
    fn is_tcp(&self) -> bool {
        is_tcp(self.protocol.as_deref())
    }
}

impl PodStatus {
    fn containers(&self) -> impl Iterator<Item = &ContainerStatus> {
        self.container_statuses.iter().chain(&self.init_container_statuses)
    }

    /// A pod sends nothing before its first container starts, and has its address by then.
    fn first_started(&self) -> Option<Millis> {
        self.containers()
            .flat_map(|status| [&status.state, &status.last_state])
            .flat_map(|state| [&state.running, &state.terminated])
            .filter_map(|ran| millis(ran.as_ref()?.started_at.as_ref()))
            .min()
    }

    /// `None` while a container may run.
    fn last_finished(&self) -> Option<Millis> {
        let finished =
            |status: &ContainerStatus| millis(status.state.terminated.as_ref()?.finished_at.as_ref());
        if self.container_statuses.is_empty() {
            return None;
        }
        let finished: Option<Vec<Millis>> = self.container_statuses.iter().map(finished).collect();
        finished?.into_iter().max()
    }
}

impl Claims for Service {
    const KIND: Kind = Kind::Service;

    /// `externalIPs` are left out: who may make a service may claim any address by them.
    fn claim(&self, _now: Millis) -> Option<Claim> {
        let Self { metadata, spec, status } = self;
        let peer = Peer {
            kind: Kind::Service,
            namespace: metadata.namespace.as_deref()?.into(),
            pod: Box::default(),
            service: metadata.name.as_deref()?.into(),
            workload: Box::default(),
        };
        let ports = || spec.ports.iter().filter(|port| is_tcp(port.protocol.as_deref()));
        // "None" of a headless service is no address.
        let own = std::iter::once(&spec.cluster_ip).chain(&spec.cluster_ips).filter_map(|ip| parse(ip));
        let mut places: Vec<Place> = own.map(Place::Address).collect();
        for ip in status.load_balancer.ingress.iter().filter_map(|ingress| parse(&ingress.ip)) {
            places.extend(ports().map(|port| Place::Socket(ip, port.port)));
        }
        places.extend(ports().filter(|port| port.node_port != 0).map(|port| Place::NodePort(port.node_port)));
        places.sort_unstable();
        places.dedup();
        Some(Claim {
            uid: metadata.uid.as_deref()?.into(),
            peer,
            places,
            from: created(metadata),
            until: None,
        })
    }

    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn ended(&self, now: Millis) -> Millis {
        now
    }
}

impl Claims for Node {
    const KIND: Kind = Kind::Node;

    fn claim(&self, _now: Millis) -> Option<Claim> {
        let Self { metadata, status } = self;
        let peer = Peer {
            kind: Kind::Node,
            namespace: Box::default(),
            pod: Box::default(),
            service: Box::default(),
            workload: format!("Node/{}", metadata.name.as_deref()?).into(),
        };
        // Names among them are no addresses.
        let mut places: Vec<Place> = status
            .addresses
            .iter()
            .filter_map(|address| parse(&address.address))
            .map(Place::Address)
            .collect();
        places.sort_unstable();
        places.dedup();
        Some(Claim {
            uid: metadata.uid.as_deref()?.into(),
            peer,
            places,
            from: created(metadata),
            until: None,
        })
    }

    fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    fn ended(&self, now: Millis) -> Millis {
        now
    }
}

fn addresses<'a, const N: usize>(
    first: [&'a String; N],
    more: impl IntoIterator<Item = &'a Ip>,
) -> Vec<IpAddr> {
    first.into_iter().chain(more.into_iter().map(|more| &more.ip)).filter_map(|ip| parse(ip)).collect()
}

/// An IPv4-mapped address is given as IPv4, as in exchanges.
fn parse(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// TCP is the default.
fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

fn created(metadata: &ObjectMeta) -> Option<Millis> {
    millis(metadata.creation_timestamp.as_ref())
}

fn millis(time: Option<&Time>) -> Option<Millis> {
    time.map(|time| time.0.as_millisecond())
}
