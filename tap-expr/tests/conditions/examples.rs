//! Conditions as a user writes them: what they match, what is refused and how it is said.

use crate::sample::exchange;
use tap_expr::{Condition, Field, Operator, Predicate, Value};
use tap_proto::v1::{Body, Exchange, Header, body::Content};

fn met(source: &str, exchange: &Exchange) -> bool {
    Condition::parse(source).unwrap_or_else(|error| panic!("{source}: {error}")).matches(exchange)
}

fn refused(source: &str) -> String {
    let error = Condition::parse(source).err().unwrap_or_else(|| panic!("{source} was accepted"));
    let message = error.to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn conditions_that_hold() {
    let exchange = exchange();
    for source in [
        "",
        " \n\t",
        "true",
        "request.method == 'POST'",
        "\"POST\" == request.method",
        "request.method in ['GET', 'POST']",
        "request.path.startsWith('/cart') && response.status == 201",
        "request.path.endsWith('/7') && request.path.contains('items')",
        "request.path.matches('^/cart/[0-9]+/items')",
        "request.query.contains('a=1') || false",
        "request.host.lowerAscii() == 'shop.example:8080'",
        "request.headers['Content-Type'] == 'application/json'",
        "request.headers['content-type'].startsWith('application/')",
        "request.headers.host == 'Shop.example:8080'",
        "'X-TWICE' in request.headers",
        "!('x-none' in request.headers)",
        "request.headers['x-twice'] == 'one, two'",
        "has(request.headers.host) && !has(request.headers.none)",
        "has(response.status) && has(request.body) && has(request.body.text)",
        "size(request.headers) == 3",
        "request.headers.exists(name, name.startsWith('x-'))",
        "request.headers.all(name, size(name) > 3)",
        "request.headers.exists_one(name, request.headers[name] == 'one, two')",
        "request.headers.filter(name, name.contains('-')).size() == 2",
        "['a', 'b'].map(x, x + 'c') [1] == 'bc'",
        "[1, 2, 3].map(x, x > 1, x * 2).exists(x, x == 6)",
        "size(response.headers) == 0",
        "request.body.text.contains('\"quantity\":2')",
        "request.body.json.quantity == 2 && request.body.json['quantity'] < 2.5",
        "request.body.size == 14 && size(request.body.text) == 14",
        "request.body.bytes == b'{\"quantity\":2}'",
        "response.body.text == '' && response.body.size == 0",
        "response.status >= 200 && response.status < 300",
        "response.status / 100 == 2",
        "response.status > 200.5",
        "role == 'inbound'",
        "node == 'n1' && namespace == 'shop' && workload == 'Deployment/cart' && pod == 'cart-1'",
        "container == 'app' && target == 'shop/cart-1'",
        "labels['app'] == 'cart' && labels.app == 'cart' && 'app' in labels",
        "source.ip == '10.0.0.9' && source.port == 40000 && source.workload == 'Deployment/web'",
        "destination.port in [80, 8080] && destination.service == 'cart'",
        "destination.host == 'shop.example' && destination.host in ['shop.example', 'other']",
        "time >= timestamp('2026-01-31T12:00:00Z') && time < timestamp('2026-01-31T13:00:00+00:00')",
        "time + duration('1h') > timestamp('2026-01-31T13:00:00Z')",
        "time.getHours() == 12 && time.getFullYear() == 2026 && time.getDayOfWeek() == 6",
        "duration > duration('100ms') && duration <= duration('0.25s')",
        "duration.getMilliseconds() == 250 && duration.getSeconds() == 0",
        "id.startsWith('0190') && flow == 5 && flow_index == 2",
        "complete && request.complete && response.complete",
        "request.version == 'HTTP/1.1' && request.scheme == 'http'",
        "request.method == 'GET' ? false : response.status == 201",
        "int('12') + 1 == 13 && double('1.5') < 2 && string(response.status) == '201'",
        "-response.status == -201 && 7 % 4 == 3",
        "request.headers['none'] == 'x' || true",
        "!(request.headers['none'] == 'x' && false)",
        "namespace=='shop'&&(namespace) in ['shop']&&'namespace' != namespace && source . namespace == ''",
        "// a namespace\nnamespace == 'shop'",
        "// a comment\nrequest.method == 'POST'",
        "r'\\d' == '\\\\d' && '''a'b''' == \"a'b\"",
    ] {
        assert!(met(source, &exchange), "{source}");
    }
}

#[test]
fn conditions_that_do_not_hold() {
    let exchange = exchange();
    for source in [
        "false",
        "request.method == 'post'",
        "request.headers['none'] == 'x'",
        "request.headers['none'] != 'x'",
        "!(request.headers['none'] == 'x')",
        "response.status / 0 == 1",
        "[1][3] == 1",
        "int(request.path) == 1",
        "timestamp(request.path) > time",
        "9223372036854775807 + response.status > 0",
        "'x' in []",
        "[].exists(x, x == 'a')",
    ] {
        assert!(!met(source, &exchange), "{source}");
    }
}

#[test]
fn what_is_absent_is_neither_true_nor_false() {
    let mut unanswered = exchange();
    unanswered.response = None;
    unanswered.duration = None;
    for source in [
        "response.status == 200",
        "response.status != 200",
        "!(response.status == 200)",
        "response.headers['x'] == ''",
        "duration > duration('0s')",
        "complete",
        "response.complete || has(response.status)",
    ] {
        assert!(!met(source, &unanswered), "{source}");
    }
    assert!(met("!has(response.status) && !complete", &unanswered));
    assert!(met("response.status == 200 || request.method == 'POST'", &unanswered));
}

#[test]
fn a_dropped_or_binary_body_has_no_text() {
    let mut dropped = exchange();
    let body = Body { size: 10, dropped: "opaque".to_owned(), ..Body::default() };
    dropped.request.as_mut().unwrap().body = Some(body);
    assert!(met(
        "!has(request.body.text) && request.body.dropped == 'opaque' && request.body.size == 10",
        &dropped
    ));
    assert!(!met("request.body.text == ''", &dropped));
    assert!(!met("!request.body.text.contains('x')", &dropped));
    let mut binary = exchange();
    binary.request.as_mut().unwrap().body =
        Some(Body { content: Some(Content::Binary(vec![0xff, 0].into())), size: 2, ..Body::default() });
    assert!(met("request.body.bytes == b'\\xff\\x00' && !has(request.body.text)", &binary));
}

/// An order with something of every type.
fn order() -> Exchange {
    let mut order = exchange();
    let json = r#"{"id": "o-1", "items": [{"sku": "a", "price": 12.5}, {"sku": "b", "price": 3}], "total": 15.5,
        "paid": true, "coupon": null, "by-hand": {"x": [1, [2]]}, "big": 18446744073709551615}"#;
    order.request.as_mut().unwrap().body =
        Some(Body { content: Some(Content::Text(json.to_owned())), size: 1, ..Body::default() });
    order
}

#[test]
fn bodies_are_read_as_json() {
    let order = order();
    for source in [
        "request.body.json.id == 'o-1' && request.body.json.id.startsWith('o-') && request.body.json.paid",
        "request.body.json.items[1].sku == 'b' && request.body.json['by-hand'].x[1][0] == 2",
        "request.body.json.items.exists(item, item.price > 12) && size(request.body.json.items) == 2",
        "request.body.json.items.all(item, item.sku in ['a', 'b'] && item.price < 13)",
        "request.body.json.items.map(item, item.sku).exists(sku, sku == 'b')",
        "request.body.json.items.filter(item, item.price < 5)[0].sku == 'b'",
        "request.body.json['by-hand'].exists(name, name == 'x') && 'coupon' in request.body.json",
        "2.0 + double(request.body.json.total) == 17.5 && int(request.body.json.items[1].price) == 3",
        "1 in request.body.json['by-hand'].x && !(3 in request.body.json['by-hand'].x)",
        "has(request.body.json) && has(request.body.json.items) && has(request.body.json.coupon)",
        "!has(request.body.json.none) && !has(request.body.json.none.deeper) && !has(response.body.json)",
        "request.body.json.id.matches('^o-[0-9]+$') && request.body.json.id.size() == 3",
        "request.body.json.total != 'x' && request.body.json.coupon != 1 && request.body.json.big > 1e19",
        "request.body.json.items[0].sku != request.body.json.items[1].sku",
        "request.body.json.paid ? request.body.json.total > 15 : false",
    ] {
        assert!(met(source, &order), "{source}");
    }
    // What is not there, or of another type, is unknown.
    for source in [
        "request.body.json.none == 'x'",
        "request.body.json.none != 'x'",
        "!(request.body.json.none == 'x')",
        "request.body.json.id < 5",
        "!(request.body.json.id < 5)",
        "!(request.body.json.total > 'a')",
        "!request.body.json.id",
        "request.body.json.items[2].sku != 'x'",
        "request.body.json.items[-1].sku != 'x'",
        "request.body.json.id.x != 'x'",
        "request.body.json.total.contains('1')",
        "!request.body.json.total.contains('1')",
        "request.body.json.items == request.body.json.items",
        "request.body.json.coupon == 0",
        "response.body.json.id != 'x'",
    ] {
        assert!(!met(source, &order), "{source}");
    }
    for (source, expected) in [
        ("request.body.json", "line 1, column 1: a condition is true or false, but this is a JSON value"),
        ("request.body.json.a > time", "line 1, column 21: a JSON value can't be compared with a timestamp"),
        ("request.body.json.a + 1 > 2", "line 1, column 21: a JSON value and an int can't be combined so"),
        ("request.body.json[true] == 1", "line 1, column 18: a JSON value can't be indexed by a bool"),
        ("request.body.json.a.nothing()", "line 1, column 28: unknown function `nothing`"),
    ] {
        assert_eq!(refused(source), expected, "{source}");
    }
}

#[test]
fn a_body_that_is_no_document_has_none() {
    for text in
        ["", "{", "{\"a\": 1} x", "\u{1}", &"[".repeat(100_000), &format!("[{}1]", "1,".repeat(600_000))]
    {
        let mut exchange = exchange();
        exchange.request.as_mut().unwrap().body =
            Some(Body { content: Some(Content::Text(text.to_owned())), size: 1, ..Body::default() });
        assert!(!met("has(request.body.json)", &exchange), "{}", &text[..text.len().min(20)]);
        assert!(met("request.body.json.a == 1 || request.method == 'POST'", &exchange));
    }
}

#[test]
fn errors_say_where_and_what() {
    for (source, expected) in [
        (
            "request.methd == 'GET'",
            "line 1, column 9: unknown field `methd` of `request`; did you mean `method`?",
        ),
        (
            "true &&\n  request.methd == 'GET'",
            "line 2, column 11: unknown field `methd` of `request`; did you mean `method`?",
        ),
        (
            "'é' == request . methd",
            "line 1, column 18: unknown field `methd` of `request`; did you mean `method`?",
        ),
        ("reqest.method == 'GET'", "line 1, column 1: unknown variable `reqest`; did you mean `request`?"),
        ("xyzzy", "line 1, column 1: unknown variable `xyzzy`"),
        ("request.path", "line 1, column 1: a condition is true or false, but this is a string"),
        (
            "request",
            "line 1, column 1: `request` is not a value: choose a field of it, e.g. `request.method`",
        ),
        ("response.status == '200'", "line 1, column 17: an int can't be compared with a string"),
        (
            "request.path.startWith('/')",
            "line 1, column 23: unknown function `startWith`; did you mean `startsWith`?",
        ),
        (
            "startsWith(request.path)",
            "line 1, column 11: unknown function `startsWith`; it is called on a value, as in `request.path.startsWith(…)`",
        ),
        ("request.path.matches('(')", "line 1, column 22: the pattern can't be used: error: unclosed group"),
        (
            "request.path.matches(request.query)",
            "line 1, column 22: the pattern of `matches` must be written out",
        ),
        ("request.path && true", "line 1, column 1: each side of `&&` must be a bool, but this is a string"),
        (
            "time > timestamp('yesterday')",
            "line 1, column 18: not a timestamp between the years 1 and 9999: write it as \"2026-01-31T12:00:00Z\"",
        ),
        (
            "duration > duration('5 apples')",
            "line 1, column 21: not a duration: write it as \"250ms\", \"1.5s\" or \"1h30m\"",
        ),
        ("has(request)", "line 1, column 4: `has` takes a field, as in `has(response.status)`"),
        (
            "request.body == null",
            "line 1, column 8: `request.body` is not a value: choose a field of it, e.g. `request.body.text`",
        ),
        ("[1, 'a'].exists(x, true)", "line 1, column 5: a list holds one type: a string after an int"),
        ("{'a': 1}['a'] == 1", "line 1, column 1: maps can't be written in a condition"),
        ("request.method == ", "line 1, column 19: unexpected end of the condition"),
        ("request.method == 'GET", "line 1, column 19: the string is not closed"),
        ("request.method = 'GET'", "line 1, column 16: unexpected `= `"),
        ("true false", "line 1, column 6: unexpected `false`"),
        ("true namespace", "line 1, column 6: unexpected `namespace`"),
        ("namespace.x", "line 1, column 11: a string has no field `x`"),
        ("(true", "line 1, column 6: unexpected end of the condition"),
        ("request.path.size", "line 1, column 14: a string has no field `size`"),
        ("request.?path == ''", "line 1, column 8: unsupported syntax '.?'"),
    ] {
        assert_eq!(refused(source), expected, "{source}");
    }
}

#[test]
fn limits_are_refused_before_they_hurt() {
    let deep = |open: &str, close: &str, n: usize| format!("{}true{}", open.repeat(n), close.repeat(n));
    assert!(refused(&"a".repeat(5000)).contains("5000 bytes"));
    assert!(refused(&deep("(", ")", 1000)).contains("nested deeper"));
    assert!(refused(&"(".repeat(4096)).contains("nested deeper"));
    assert!(refused(&deep("[", "]", 500)).contains("nested deeper"));
    assert!(refused(&format!("true{}", " && true".repeat(500))).contains("operators"));
    assert!(refused(&format!("1{} == 1", "+1".repeat(300))).contains("nested deeper"));
    assert!(refused(&format!("{}true", "true ? true : ".repeat(100))).contains("nested"));
    assert!(refused("request.path.matches('(a{1000}){1000}')").contains("too large"));
    assert!(refused("[1].exists(a, [1].exists(b, [1].exists(c, true)))").contains("nested deeper than 2"));
    assert!(met(&deep("(", ")", 24), &exchange()));
    assert!(met(&deep("!", "", 500), &exchange()));
    assert!(met(&format!("true{}", " && true".repeat(250)), &exchange()));
}

#[test]
fn the_work_on_one_exchange_is_bounded() {
    let mut large = exchange();
    let request = large.request.as_mut().unwrap();
    request.body =
        Some(Body { content: Some(Content::Text("a".repeat(65_536))), size: 65_536, ..Body::default() });
    request.headers = (0..1000)
        .map(|i| Header { name: format!("x-{i}"), value: "v".repeat(50), raw_value: "".into() })
        .collect();
    assert!(met("!request.body.text.matches('a*b') && !request.body.text.contains('b')", &large));
    // Seconds by itself, were it searched to the end.
    let mut state = 1_u32;
    let noise = (0..65_536).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if state >> 31 == 0 { 'a' } else { 'b' }
    });
    let mut noisy = large.clone();
    noisy.request.as_mut().unwrap().body =
        Some(Body { content: Some(Content::Text(noise.collect())), size: 65_536, ..Body::default() });
    assert!(!met("!request.body.text.matches('[ab]*a[ab]{1000}c')", &noisy));
    assert!(met("!request.body.text.matches('[ab]*a[ab]{3}c')", &noisy));
    let hostile =
        "request.headers.all(a, request.headers.all(b, !request.body.text.matches('a*a*a*b'))) || true";
    assert!(!met(hostile, &large), "it is not known whether the whole is true");
}

#[test]
fn predicates_of_common_conditions() {
    let compare = |field, operator, value| Predicate::Compare { field, operator, value };
    let string = |text: &str| Value::String(text.to_owned());
    let method = compare(Field::Method, Operator::Equal, string("GET"));
    let cart = Predicate::StartsWith { field: Field::Path, prefix: "/cart".to_owned() };
    let failed = compare(Field::Status, Operator::GreaterOrEqual, Value::Integer(500));
    for (source, expected, exact) in [
        ("", Predicate::True, true),
        ("request.method == 'GET'", method.clone(), true),
        ("'GET' == request.method", method.clone(), true),
        ("500 <= response.status", failed.clone(), true),
        (
            "request.method == 'GET' && request.path.startsWith('/cart') && response.status >= 500",
            Predicate::And(vec![method.clone(), cart.clone(), failed.clone()]),
            true,
        ),
        ("request.method == 'GET' && request.body.text.contains('x')", method.clone(), false),
        ("request.method == 'GET' || request.body.text.contains('x')", Predicate::True, false),
        (
            "request.method == 'GET' || response.status >= 500",
            Predicate::Or(vec![method.clone(), failed]),
            true,
        ),
        ("!(request.method != 'GET')", method, true),
        (
            "!(request.method == 'GET' || response.status >= 500)",
            Predicate::And(vec![
                compare(Field::Method, Operator::NotEqual, string("GET")),
                compare(Field::Status, Operator::Less, Value::Integer(500)),
            ]),
            true,
        ),
        (
            "request.host in ['a', 'b']",
            Predicate::Or(vec![
                compare(Field::Host, Operator::Equal, string("a")),
                compare(Field::Host, Operator::Equal, string("b")),
            ]),
            true,
        ),
        ("!request.path.startsWith('/cart')", Predicate::True, false),
        (
            "time >= timestamp('1970-01-01T00:00:01Z')",
            compare(Field::Time, Operator::GreaterOrEqual, Value::Integer(1_000_000_000)),
            true,
        ),
        (
            "duration > duration('250ms')",
            compare(Field::Duration, Operator::Greater, Value::Integer(250_000_000)),
            true,
        ),
        ("role == 'inbound'", compare(Field::Role, Operator::Equal, string("inbound")), true),
        ("false", Predicate::Or(vec![]), true),
        ("response.status > 499.5", Predicate::True, false),
        ("source.port == destination.port", Predicate::True, false),
    ] {
        let condition = Condition::parse(source).unwrap();
        assert_eq!(condition.predicate(), expected, "{source}");
        assert_eq!(condition.predicate_is_exact(), exact, "{source}");
    }
}
