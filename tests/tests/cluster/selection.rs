//! Exactly the selected pods' exchanges arrive, and say whose they are.

use tap_proto::v1::{Endpoint, Exchange, Role};

use crate::{
    client::line,
    cluster::{Turn, nodes},
    installation::{Collector, place},
    namespace::{Namespace, Program, Server},
    programs::{assert_untouched, until_attached, until_detached},
};

fn lines(exchanges: &[Exchange]) -> Vec<String> {
    exchanges.iter().map(line).collect()
}

fn ends(exchange: &Exchange) -> (&Endpoint, &Endpoint) {
    (exchange.source.as_ref().unwrap(), exchange.destination.as_ref().unwrap())
}

#[test]
fn one_workload_of_one_namespace() {
    let _turn = Turn::shared();
    let collector = Collector::connect();
    let [near, far] = nodes();
    let (shop, other) = (Namespace::create("shop"), Namespace::create("other"));
    shop.deploy(Server { node: &near, ..Server::python("stock") });
    let stock = shop.cluster_ip("stock");
    let upstream = Program::Nginx { upstream: &stock };
    shop.deploy(Server { node: &far, labels: "tier: front", program: upstream, ..Server::nginx("cart") });
    other.deploy(Server { node: &far, labels: "tier: front", ..Server::nginx("cart") });
    let client = shop.client("client", &near);
    let cart = shop.pods("app=cart").remove(0);
    let unselected = [shop.pods("app=stock"), other.pods("app=cart"), vec![client.clone()]].concat();

    shop.policy("cart", "{selector: {matchLabels: {app: cart}}, labels: [tier, missing]}");
    shop.tapped("cart", 1);
    until_attached(&cart);
    unselected.iter().for_each(assert_untouched);

    // From the one node through a service to the other, and back to the first.
    let cart_url = format!("http://{}/", shop.cluster_ip("cart"));
    shop.ask(&client.name, &format!("{cart_url}own/"), 0..5);
    shop.ask(&client.name, &format!("{cart_url}upstream/"), 0..3);
    shop.ask(&client.name, &format!("http://{stock}/direct/"), 0..3);
    shop.ask(&client.name, &format!("http://{}/other/", other.cluster_ip("cart")), 0..3);

    let here = format!("namespace == \"{}\"", shop.name());
    let inbound = collector.stored(&format!("{here} && role == \"inbound\""), 8);
    let outbound = collector.stored(&format!("{here} && role == \"outbound\""), 3);
    let expected: Vec<_> = (0..5)
        .map(|n| format!("GET /own/{n} 200"))
        .chain((0..3).map(|n| format!("GET /upstream/{n} 200")))
        .collect();
    assert_eq!(lines(&inbound), expected);
    assert_eq!(lines(&outbound), expected[5..]);

    for exchange in inbound.iter().chain(&outbound) {
        assert_eq!(exchange.namespace, shop.name());
        assert_eq!(exchange.pod, cart.name);
        assert_eq!(exchange.pod_uid, cart.uid);
        assert_eq!(exchange.target, format!("{}/{}", shop.name(), cart.name));
        assert_eq!(exchange.container, "server");
        assert_eq!(exchange.workload, "Deployment/cart");
        assert_eq!(exchange.node, far);
        assert_eq!(exchange.labels.len(), 1, "{:?}", exchange.labels);
        assert_eq!(exchange.labels["tier"], "front");
    }
    for exchange in &inbound {
        let (source, destination) = ends(exchange);
        assert_eq!(exchange.role(), Role::Inbound);
        assert_eq!((&*source.namespace, &*source.pod), (shop.name(), &*client.name), "{}", place(exchange));
        assert_eq!(source.workload, "Pod/client");
        assert_eq!(source.ip, client.ip);
        assert_eq!((&*destination.pod, destination.port), (&*cart.name, 8080));
        assert_eq!(destination.workload, "Deployment/cart");
    }
    for exchange in &outbound {
        let (source, destination) = ends(exchange);
        assert_eq!((&*source.pod, &*source.workload), (&*cart.name, "Deployment/cart"));
        // The socket knows the service, not which of its pods was chosen.
        assert_eq!(
            (&*destination.namespace, &*destination.service),
            (shop.name(), "stock"),
            "{destination:?}"
        );
        assert_eq!((&*destination.ip, destination.port), (&*stock, 80));
    }
    let elsewhere = format!("namespace == \"{}\"", other.name());
    assert_eq!(collector.search(&elsewhere).iter().map(place).collect::<Vec<_>>(), Vec::<String>::new());

    let totals = collector.settled(shop.name());
    assert_eq!(totals.stored.exchanges, 11, "{totals:#?}");
    unselected.iter().for_each(assert_untouched);
    shop.kubectl().run(&["delete", "tappolicy", "cart"]).unwrap();
    until_detached(&cart);
}

#[test]
fn an_empty_selector_is_every_pod_of_its_namespace() {
    let _turn = Turn::shared();
    let collector = Collector::connect();
    let [near, far] = nodes();
    let (own, other) = (Namespace::create("all"), Namespace::create("none"));
    own.deploy(Server { node: &near, ..Server::nginx("web") });
    other.deploy(Server { node: &near, ..Server::nginx("web") });
    let client = own.client("client", &far);

    own.policy("everything", "{selector: {}}");
    own.tapped("everything", 2);
    own.ask(&client.name, &format!("http://{}/own/", own.cluster_ip("web")), 0..2);
    own.ask(&client.name, &format!("http://{}/other/", other.cluster_ip("web")), 0..2);

    // Both ends of what stays here are tapped, and the one end of what leaves.
    let here = format!("namespace == \"{}\"", own.name());
    assert_eq!(collector.stored(&format!("{here} && role == \"inbound\""), 2).len(), 2);
    let outbound = collector.stored(&format!("{here} && role == \"outbound\""), 4);
    assert!(outbound.iter().all(|exchange| exchange.pod == client.name && exchange.workload == "Pod/client"));
    assert_eq!(collector.search(&format!("namespace == \"{}\"", other.name())).len(), 0);
    other.pods("app=web").iter().for_each(assert_untouched);
    collector.settled(own.name());
}
