//! An exchange with something in every field that a condition can read.

use tap_proto::v1::{
    Body, Completeness, Endpoint, Exchange, Header, Request, Response, Role, body::Content,
    completeness::State,
};

pub(crate) fn header(name: &str, value: &str) -> Header {
    Header { name: name.to_owned(), value: value.to_owned(), ..Header::default() }
}

pub(crate) fn complete() -> Option<Completeness> {
    Some(Completeness { state: State::Complete.into(), ..Completeness::default() })
}

pub(crate) fn exchange() -> Exchange {
    Exchange {
        id: "01901234-0000-7000-8000-000000000000".to_owned(),
        role: Role::Inbound.into(),
        // 2026-01-31T12:00:00.5Z, a Saturday.
        time: Some(prost_types::Timestamp { seconds: 1_769_860_800, nanos: 500_000_000 }),
        duration: Some(prost_types::Duration { seconds: 0, nanos: 250_000_000 }),
        target: "shop/cart-1".to_owned(),
        node: "n1".to_owned(),
        namespace: "shop".to_owned(),
        workload: "Deployment/cart".to_owned(),
        pod: "cart-1".to_owned(),
        container: "app".to_owned(),
        labels: [("app".to_owned(), "cart".to_owned())].into(),
        source: Some(Endpoint {
            ip: "10.0.0.9".to_owned(),
            port: 40_000,
            workload: "Deployment/web".to_owned(),
            ..Endpoint::default()
        }),
        destination: Some(Endpoint {
            ip: "10.0.0.7".to_owned(),
            port: 8080,
            service: "cart".to_owned(),
            ..Endpoint::default()
        }),
        flow: 5,
        flow_index: 2,
        request: Some(Request {
            method: "POST".to_owned(),
            scheme: "http".to_owned(),
            host: "shop.example:8080".to_owned(),
            path: "/cart/12/items/7".to_owned(),
            query: "a=1&b=2".to_owned(),
            version: "HTTP/1.1".to_owned(),
            headers: vec![
                header("Host", "Shop.example:8080"),
                header("Content-Type", "application/json"),
                header("X-Twice", "one"),
                header("x-twice", "two"),
            ],
            body: Some(Body {
                content: Some(Content::Text("{\"quantity\":2}".to_owned())),
                size: 14,
                ..Body::default()
            }),
            completeness: complete(),
            ..Request::default()
        }),
        response: Some(Response {
            status: 201,
            reason: "Created".to_owned(),
            version: "HTTP/1.1".to_owned(),
            completeness: complete(),
            ..Response::default()
        }),
        ..Exchange::default()
    }
}
