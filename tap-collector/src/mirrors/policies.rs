//! The mirrors of TapPolicies, as the API server knows them. Every replica follows them: each mirrors what it stores.

use std::collections::BTreeMap;

use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    runtime::watcher::Event,
};
use tap_policy::{MirrorSpec, MirrorTls, Policy, SampleKey, TapPolicy};
use tap_replay::mirror::{By, Scope, Settings, Tls};

use super::Mirrors;
use crate::{kubernetes::watch::watch, metrics::Metrics};

/// As many as have a status.
const MAX_POLICIES: usize = 10_000;

/// Policies that have mirrors, by namespace and name.
#[derive(Debug, Default)]
struct Mirroring {
    /// With the listing in which each was seen last.
    policies: BTreeMap<(String, String), (Vec<MirrorSpec>, u64)>,
    listing: u64,
    is_listed: bool,
}

impl Mirrors {
    /// Keeps the mirrors as the policies say, for as long as it is polled. While the API server is away they stay as they are.
    pub(crate) async fn follow(&self, client: &Client, metrics: &Metrics) {
        let policies = Api::<DynamicObject>::all_with(client.clone(), &ApiResource::erase::<TapPolicy>(&()));
        let mut mirroring = Mirroring::default();
        watch(policies, "mirrors", metrics, |event| {
            if mirroring.handle(event) {
                self.replace(|entry| entry.scope.is_some(), mirroring.wanted());
            }
        })
        .await;
    }
}

impl Mirroring {
    /// Whether something may have changed.
    fn handle(&mut self, event: &Event<DynamicObject>) -> bool {
        match event {
            Event::Init => self.listing += 1,
            Event::InitApply(policy) => {
                self.apply(policy);
            }
            Event::InitDone => {
                let listing = self.listing;
                self.policies.retain(|_, (_, seen)| *seen == listing);
                self.is_listed = true;
                return true;
            }
            Event::Apply(policy) => return self.apply(policy) && self.is_listed,
            Event::Delete(policy) => {
                return name(policy).is_some_and(|name| self.policies.remove(&name).is_some());
            }
        }
        false
    }

    fn apply(&mut self, policy: &DynamicObject) -> bool {
        let Some(name) = name(policy) else { return false };
        let mirrors = mirrors(policy);
        let before = self.policies.get(&name).map(|(mirrors, _)| mirrors.as_slice()).unwrap_or_default();
        let changed = before != mirrors;
        if mirrors.is_empty() {
            self.policies.remove(&name);
        } else if self.policies.contains_key(&name) || self.policies.len() < MAX_POLICIES {
            self.policies.insert(name, (mirrors, self.listing));
        }
        changed
    }

    fn wanted(&self) -> impl Iterator<Item = (String, Settings, Option<Scope>)> {
        self.policies.iter().flat_map(|((namespace, policy), (mirrors, _))| {
            mirrors.iter().enumerate().map(move |(position, mirror)| {
                let several = if mirrors.len() > 1 { format!("/{position}") } else { String::new() };
                let name = format!("{namespace}/{policy}{several}");
                let scope = Scope { namespace: namespace.clone(), policy: policy.clone() };
                (name.clone(), settings(name, mirror), Some(scope))
            })
        })
    }
}

/// Of a policy that is not valid, none: no agent keeps anything for it.
fn mirrors(policy: &DynamicObject) -> Vec<MirrorSpec> {
    let spec = &policy.data["spec"];
    if spec.get("mirror").is_none() && spec.get("mirrors").is_none() {
        return Vec::new();
    }
    let policy = TapPolicy::read(policy.metadata.clone(), spec).ok();
    let compiled = policy.and_then(|policy| Policy::compile(&policy).ok());
    compiled.map(|policy| policy.mirrors().to_vec()).unwrap_or_default()
}

fn settings(name: String, mirror: &MirrorSpec) -> Settings {
    let MirrorSpec {
        target,
        percent,
        by,
        header,
        hosts,
        prefixes,
        rewrite,
        filter,
        methods,
        keep_host,
        shadow_host,
        max_rate,
        max_in_flight,
        timeout,
        max_lag,
        compare,
        tls,
    } = mirror.clone();
    let MirrorTls { ca, server_name } = tls;
    let by = match by {
        SampleKey::Connection => By::Connection,
        SampleKey::TraceId => By::TraceId,
        SampleKey::Header => By::Header,
    };
    Settings {
        name,
        target,
        percent,
        by,
        header,
        hosts,
        prefixes,
        rewrite,
        filter: filter.unwrap_or_default(),
        methods,
        keep_host,
        shadow_host,
        max_rate,
        max_in_flight,
        timeout,
        max_lag,
        compare,
        // No policy chooses among the collector's files.
        tls: Tls { ca, ca_file: None, server_name },
    }
}

fn name(policy: &DynamicObject) -> Option<(String, String)> {
    Some((policy.metadata.namespace.clone()?, policy.metadata.name.clone()?))
}
