//! Bad HTTP of all kinds through a real socket: other flows do not notice, and nothing is made up.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use podtap_tests::{Cgroup, Nginx};
use tap_proto::v1::completeness::State;

use crate::{
    client::line,
    rig::{Rig, lines},
    traffic::{exchange, throw},
};

/// What no server should be sent.
fn malformed() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        &b"\r\n\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost a\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nshort",
        b"GET / HTTP/1.1\r\nHost: a\r\n folded: yes\r\n\tand: more\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x85mask",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n\x16\x03\x01",
    ]
    .map(<[u8]>::to_vec)
    .into();
    all.push([&b"GET /"[..], &vec![b'a'; 200_000], b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat());
    all.push([&b"GET / HTTP/1.1\r\n"[..], &b"X: y\r\n".repeat(20_000), b"\r\n"].concat());
    all.push((0..100_000u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
    all
}

#[test]
fn bad_requests_disturb_nobody_else() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("malformed").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let mut agent = rig.tap(&cgroup);

    let malformed = malformed();
    thread::scope(|scope| {
        scope.spawn(|| malformed.iter().for_each(|request| throw(nginx.address(), request)));
        for number in 0..50 {
            exchange(nginx.address(), format!("GET /json?good-{number} HTTP/1.0\r\n\r\n").as_bytes());
        }
    });

    let good = rig.stored(r#"request.query.startsWith("good-")"#, 50);
    for (number, exchange) in good.iter().enumerate() {
        assert_eq!(line(exchange), format!("GET /json?good-{number} 200"));
    }
    agent.check().unwrap();
    let panicked = agent.log().contains("panicked");
    assert!(!panicked, "{}", agent.log());
    rig.settle(agent);
    let smuggled = rig.client.search(r#"request.path == "/smuggled""#);
    for exchange in smuggled {
        let state = exchange.request.as_ref().unwrap().completeness.as_ref().unwrap().state();
        assert_ne!(state, State::Complete, "a smuggled request passes for a real one: {exchange:#?}");
    }
}

/// A server that answers each connection with the next of `answers`, whatever it is asked.
fn serve(answers: Vec<Vec<u8>>) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(&answer);
        }
    });
    (address, server)
}

#[test]
fn bad_responses_are_never_complete() {
    let answers: Vec<Vec<u8>> = [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\nnonsense",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nabcdefg",
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
        b"HTTP/1.1 xyz\r\n\r\n",
        b"nonsense",
        b"",
    ]
    .map(<[u8]>::to_vec)
    .into();
    let count = answers.len();
    let rig = Rig::new();
    let cgroup = Cgroup::create("responses").unwrap();
    let agent = rig.tap(&cgroup);
    let (address, server) = serve(answers);

    // The client is the tapped side: the server runs in this process.
    for number in 0..count {
        // Curl refuses most of these; what it says is not the matter here.
        let _ = cgroup
            .command("curl")
            .args(["-s", "--max-time", "20", "--noproxy", "*"])
            .arg(format!("http://{address}/bad-{number}"))
            .output()
            .unwrap();
    }
    server.join().unwrap();

    rig.settle(agent);
    let exchanges = rig.client.search(r#"role == "outbound""#);
    assert!(!exchanges.is_empty());
    for exchange in &exchanges {
        let request = exchange.request.as_ref().unwrap();
        // What does not decode is complete as a message, and has no content.
        let undecodable = request.path == "/bad-4";
        if let Some(response) = &exchange.response {
            let state = response.completeness.as_ref().unwrap().state();
            assert!(undecodable || state != State::Complete, "{exchange:#?}");
            if undecodable {
                let body = response.body.as_ref().unwrap();
                assert!(body.content.is_none() && !body.dropped.is_empty(), "{body:#?}");
            }
        }
    }
}

#[test]
fn a_flow_that_was_open_before_the_tap_joins() {
    let rig = Rig::new();
    let cgroup = Cgroup::create("midstream").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let mut stream = TcpStream::connect(nginx.address()).unwrap();
    ask(&mut stream, "early");
    let agent = rig.tap(&cgroup);
    ask(&mut stream, "late");
    ask(&mut stream, "later");
    let exchanges = rig.stored("", 2);
    assert_eq!(lines(&exchanges), ["GET /status/204?late 204", "GET /status/204?later 204"]);
    let states = exchanges
        .iter()
        .map(|exchange| exchange.request.as_ref().unwrap().completeness.as_ref().unwrap().state());
    // Whether the first is a request or a part of one can't be known.
    assert_eq!(states.collect::<Vec<_>>(), [State::JoinedMidstream, State::Complete]);
    rig.settle(agent);
}

fn ask(stream: &mut TcpStream, query: &str) {
    // In one segment: what a joined connection carries is told by how a segment begins.
    let request = format!("GET /status/204?{query} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}
