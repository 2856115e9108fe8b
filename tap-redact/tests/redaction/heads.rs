//! Targets, header fields, cookies, trailers.

use bytes::Bytes;
use tap_redact::Redaction;

use crate::sample::{
    base64, exchange, headers, redacted_header, redacted_target, redactor, token_of, with_rules,
};

#[test]
fn secrets_in_headers_become_tokens() {
    for name in [
        "Authorization",
        "proxy-authorization",
        "X-API-Key",
        "X-Auth-Token",
        "X-CSRF-Token",
        "X-My-Secret-Thing",
        "X-Customer-Email",
        "From",
    ] {
        let redacted = redacted_header(name, "s3cret-value");
        assert_eq!(redacted, token_of("s3cret-value"), "{name}");
    }
    for (name, value) in [
        ("Content-Type", "text/plain"),
        ("Host", "shop.example"),
        ("ETag", "\"token\""),
        ("Access-Control-Allow-Credentials", "true"),
        ("Sec-CH-UA-Mobile", "?0"),
        ("Referer", "http://shop.example/a?b=c#d"),
        ("X-Api-Key", ""),
    ] {
        assert_eq!(redacted_header(name, value), value, "{name}");
    }
}

#[test]
fn an_authorization_keeps_its_scheme() {
    assert_eq!(
        redacted_header("Authorization", "bearer  abc.def"),
        format!("bearer {}", token_of("abc.def"))
    );
    let basic = redacted_header("Authorization", "Basic YWxpY2VAZXhhbXBsZS5jb206czNjcmV0OjEyMw==");
    let expected = format!("{}:{}", token_of("alice@example.com"), token_of("s3cret:123"));
    assert_eq!(basic, format!("Basic {}", base64(expected.as_bytes())));
    assert!(redacted_header("Authorization", "Basic !!!").starts_with("Basic "));
    assert!(
        redacted_header("Authorization", "Digest username=\"bob\", realm=\"x\"").starts_with("Digest tok_")
    );
    // A word that is no scheme may be half of a password.
    assert!(redacted_header("Authorization", "hunter2 hunter3").starts_with("tok_"));
}

#[test]
fn cookies_keep_their_names() {
    let (a, b) = (token_of("one"), token_of("two=2"));
    assert_eq!(
        redacted_header("Cookie", "session=one;theme=two=2; empty=; \"lone\""),
        format!("session={a}; theme={}; empty=; \"{}\"", b.replace('=', "%3D"), token_of("lone"))
    );
    assert_eq!(
        redacted_header("Set-Cookie", "sid=one; Path=/; Max-Age=60;HttpOnly; SameSite=Lax; Weird=one"),
        format!("sid={a}; Path=/; Max-Age=60;HttpOnly; SameSite=Lax; Weird={a}")
    );
}

#[test]
fn targets_lose_credentials_and_named_parameters() {
    let t = token_of("s3cret");
    for (target, expected) in [
        ("/a/b?c=d&token=s3cret&e", format!("/a/b?c=d&token={t}&e")),
        ("/a?TOKEN=s3cret", format!("/a?TOKEN={t}")),
        ("/a?access%5Ftoken=s3cret", format!("/a?access%5Ftoken={t}")),
        ("/a?user[password]=s3cret&x=1", format!("/a?user[password]={t}&x=1")),
        ("/a?x=1;password=s3cret", format!("/a?x=1;password={t}")),
        ("/a?password=", "/a?password=".to_owned()),
        ("/a?password", "/a?password".to_owned()),
        ("/a;jsessionid=s3cret/b?x=1", format!("/a;jsessionid={t}/b?x=1")),
        (
            "http://bob:s3cret@host:80/a?api_key=s3cret",
            format!("http://{}:{t}@host:80/a?api_key={t}", token_of("bob")),
        ),
        ("/a?email=a%40b.example", format!("/a?email={}", token_of("a@b.example").replace('@', "%40"))),
        ("*", "*".to_owned()),
        ("/plain", "/plain".to_owned()),
        ("/a?next=//x&y=%zz", "/a?next=//x&y=%zz".to_owned()),
    ] {
        assert_eq!(redacted_target(target), expected, "{target}");
    }
    let whole = redacted_target("/a?password=s3;cr&et=1?x");
    assert_eq!(
        whole,
        format!("/a?password={}&et=1?x", token_of("s3;cr")),
        "a named value goes on to the `&`"
    );
}

#[test]
fn urls_in_headers_are_redacted_as_targets() {
    let t = token_of("s3cret");
    for (name, value, expected) in [
        ("Referer", "https://h/p?token=s3cret", format!("https://h/p?token={t}")),
        ("Location", "https://h/cb#access_token=s3cret&x=1", format!("https://h/cb#access_token={t}&x=1")),
        ("Location", "/app#/cb?token=s3cret", format!("/app#/cb?token={t}")),
        ("Location", "//bob@h/", format!("//{}@h/", token_of("bob"))),
        ("Refresh", "5; URL=/x?sid=s3cret", format!("5; URL=/x?sid={t}")),
        ("Link", "</a?token=s3cret>; rel=next, </b>", format!("</a?token={t}>; rel=next, </b>")),
    ] {
        assert_eq!(redacted_header(name, value), expected, "{name}");
    }
}

#[test]
fn trailers_and_responses_are_redacted_too() {
    let mut exchange = exchange();
    exchange.request.as_mut().unwrap().trailers = headers(&[("X-Auth-Token", "one")]);
    let response = exchange.response.as_mut().unwrap();
    response.headers = headers(&[("Set-Cookie", "a=one"), ("Set-Cookie", "b=two")]);
    response.trailers = headers(&[("X-Session-Token", "one")]);
    let redacted = redactor().redact(exchange);
    let places: Vec<&str> = redacted.redactions().iter().map(|redaction| redaction.place.as_str()).collect();
    assert_eq!(
        places,
        [
            "request.trailers.x-auth-token",
            "response.headers.set-cookie.a",
            "response.headers.set-cookie.b",
            "response.trailers.x-session-token"
        ]
    );
    let response = redacted.get().response.as_ref().unwrap();
    assert_eq!(response.trailers.at(0).unwrap().value, token_of("one").as_bytes());
}

#[test]
fn configured_names_are_added() {
    let redactor = with_rules("headers: [X-Tenant]\nquery: [tenant-id]\nfields: [tenantId]\n");
    let mut exchange = exchange();
    let request = exchange.request.as_mut().unwrap();
    request.target = Bytes::from_static(b"/?TENANT_ID=t1&x=t1");
    request.headers = headers(&[("x-tenant", "t1"), ("Cookie", "a=t1")]);
    let redacted = redactor.redact(exchange);
    let token = token_of("t1");
    let request = redacted.get().request.as_ref().unwrap();
    assert_eq!(request.target, format!("/?TENANT_ID={token}&x=t1"));
    assert_eq!(request.headers.at(0).unwrap().value, token.as_bytes());
    assert_eq!(
        redacted.redactions()[0],
        Redaction {
            rule: "field.tenantid".to_owned(),
            place: "request.target.TENANT_ID".to_owned(),
            action: "token".to_owned(),
            count: 1
        }
    );
}

#[test]
fn bytes_that_are_no_text_are_redacted() {
    let mut exchange = exchange();
    let request = exchange.request.as_mut().unwrap();
    request.target = Bytes::from_static(b"/\xff?token=\xfe\xfd&\xff=\xff");
    request.headers = [("X-Api-Key", b"\xff\xfe")].into_iter().collect();
    let redacted = redactor().redact(exchange);
    let request = redacted.get().request.as_ref().unwrap();
    assert!(request.target.starts_with(b"/\xff?token=tok_") && request.target.ends_with(b"&\xff=\xff"));
    assert!(request.headers.at(0).unwrap().value.starts_with(b"tok_"));
}

#[test]
fn what_was_done_is_bounded() {
    let mut exchange = exchange();
    let many: Vec<String> = (0..200).map(|i| format!("c{}{}=v", i % 26, "x".repeat(i))).collect();
    exchange.request.as_mut().unwrap().headers = headers(&[("Cookie", &many.join("; "))]);
    let redacted = redactor().redact(exchange);
    assert!(redacted.redactions().len() <= 65);
    assert_eq!(redacted.redactions().iter().map(|redaction| redaction.count).sum::<u32>(), 200);
}
