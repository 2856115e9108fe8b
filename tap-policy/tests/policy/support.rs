//! Policies in a line, and exchanges to try them on.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use tap_flow::{
    Body, CgroupId, Completeness, Exchange, FlowKey, Headers, Request, Role, Span, TapId, Version,
};
use tap_policy::{Policy, Problem, TapPolicy};

/// A policy of the namespace `shop` with this spec, made in this second of a day.
pub(crate) fn try_policy(name: &str, second: u8, spec: &str) -> Result<Policy, Vec<Problem>> {
    let yaml = format!(
        "{{apiVersion: podtap.dev/v1alpha1, kind: TapPolicy, metadata: {{name: {name}, namespace: shop, uid: u-{name}, \
         generation: 3, creationTimestamp: '2026-01-02T03:04:{second:02}Z'}}, spec: {spec}}}"
    );
    let policy: TapPolicy = serde_yaml_ng::from_str(&yaml).unwrap();
    Policy::compile(&policy)
}

pub(crate) fn policy(name: &str, second: u8, spec: &str) -> Arc<Policy> {
    Arc::new(try_policy(name, second, spec).unwrap())
}

pub(crate) fn problems(spec: &str) -> Vec<Problem> {
    try_policy("p", 0, spec).unwrap_err()
}

/// A request to port 8080 from 10.0.0.2, at which the pod is the server or the client.
pub(crate) fn exchange(role: Role, client_port: u16, headers: &[(&str, &str)]) -> Exchange {
    let server = SocketAddr::from(([10, 0, 0, 1], 8080));
    let client = SocketAddr::from(([10, 0, 0, 2], client_port));
    let (local, remote) = match role {
        Role::Inbound => (server, client),
        Role::Outbound => (client, server),
    };
    Exchange {
        flow: FlowKey { tap: TapId(1), local, remote },
        cgroup: CgroupId(2),
        flow_serial: 0,
        index: 0,
        role,
        request: Some(Request {
            method: Bytes::from_static(b"GET"),
            target: Bytes::from_static(b"/cart"),
            version: Version::Http11,
            headers: headers.iter().copied().collect(),
            body: Body::default(),
            trailers: Headers::default(),
            completeness: Completeness::Complete,
            span: Span::default(),
        }),
        response: None,
        wire_bytes: 100,
    }
}
