//! What protects those who are not the target: production itself, above all.

use tap_proto::v1::Exchange;

use crate::Plan;

pub(crate) const PRODUCTION: &str = "production";

/// Whether the target lies where the exchange was captured: a service of the same Kubernetes namespace, or the very
/// address that the recorded server had. Only captures of a cluster say so; on one machine everything is one place.
pub(crate) fn is_production(exchange: &Exchange, plan: &Plan) -> bool {
    let server = exchange.destination.as_ref();
    let namespace = server
        .map(|server| server.namespace.as_str())
        .filter(|namespace| !namespace.is_empty())
        .unwrap_or(&exchange.namespace);
    if namespace.is_empty() || plan.allow_namespaces.contains(namespace) {
        return false;
    }
    let host = plan.target.host();
    server.is_some_and(|server| server.ip == host) || namespace_of(host) == Some(namespace)
}

/// The namespace in the name of a service: `service.namespace`, `service.namespace.svc` and what follows.
fn namespace_of(host: &str) -> Option<&str> {
    let mut labels = host.trim_end_matches('.').split('.');
    let (_service, namespace) = (labels.next()?, labels.next()?);
    // A name of the outside has a domain there: shop.example.com.
    matches!(labels.next(), None | Some("svc")).then_some(namespace)
}

#[cfg(test)]
mod tests {
    use tap_proto::v1::Endpoint;

    use super::*;
    use crate::RawPlan;

    fn is_refused(target: &str, allowed: &[&str], namespace: &str, ip: &str) -> bool {
        let plan = Plan::validate(RawPlan {
            id: "r".into(),
            target: format!("http://{target}"),
            allow_namespaces: allowed.iter().map(|&name| name.to_owned()).collect(),
            ..RawPlan::default()
        })
        .unwrap();
        let exchange = Exchange {
            namespace: namespace.into(),
            destination: Some(Endpoint { ip: ip.into(), ..Endpoint::default() }),
            ..Exchange::default()
        };
        is_production(&exchange, &plan)
    }

    #[test]
    fn production_is_where_the_captures_come_from() {
        for target in
            ["cart.shop", "cart.shop:8080", "cart.shop.svc", "cart.shop.svc.cluster.local", "10.0.0.7"]
        {
            assert!(is_refused(target, &[], "shop", "10.0.0.7"), "{target}");
            assert!(!is_refused(target, &["shop"], "shop", "10.0.0.7"), "{target}");
        }
        for target in ["cart.staging", "cart", "shop", "shop.example.com", "10.0.0.8", "cart.staging.svc"] {
            assert!(!is_refused(target, &[], "shop", "10.0.0.7"), "{target}");
        }
    }

    #[test]
    fn one_machine_is_one_place() {
        assert!(!is_refused("127.0.0.1:8080", &[], "", "127.0.0.1"));
    }
}
