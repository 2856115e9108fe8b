//! The commands are run by a real shell, and what curl sends is compared with what was captured.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener},
    process::Command,
    thread,
};

use tap_flow::Limits;
use tap_formats::{Fit, Unfit, curl, gor};
use tap_proto::v1;

use crate::{
    sample::{binary, essence, exchange, header, items, text},
    tools,
};

fn command(exchange: &v1::Exchange) -> Result<String, Unfit> {
    let mut writer = curl::Writer::new(Vec::new());
    match writer.write(exchange).unwrap() {
        Fit::Whole => {}
        Fit::Partly(unfit) | Fit::Not(unfit) => return Err(unfit),
    }
    let command = String::from_utf8(writer.finish().unwrap()).unwrap();
    assert_eq!(command.matches('\n').count(), 1, "one line: {command}");
    assert!(!command.trim_end().chars().any(tap_formats::terminal::is_unsafe), "{command:?}");
    Ok(command)
}

/// What a server receives of a command.
fn sent_by(command: &str, listener: &TcpListener) -> Vec<u8> {
    let listener = listener.try_clone().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut received = Vec::new();
        let mut buffer = [0; 65_536];
        loop {
            let head = received.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4);
            if let Some(head) = head {
                let text = String::from_utf8_lossy(&received[..head]).to_ascii_lowercase();
                let length = text.split("\r\ncontent-length: ").nth(1);
                let length =
                    length.map_or(0, |rest| rest.split('\r').next().unwrap().parse::<usize>().unwrap());
                if received.len() >= head + length {
                    break;
                }
            }
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the request is whole: {}", String::from_utf8_lossy(&received));
            received.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
        received
    });
    let mut script = tempfile::NamedTempFile::new().unwrap();
    script.write_all(command.as_bytes()).unwrap();
    // No proxy, no configuration of whoever runs the test.
    let shell =
        Command::new("bash").arg(script.path()).env_clear().env("PATH", "/usr/bin:/bin").output().unwrap();
    assert!(shell.status.success(), "{command}\n{}", String::from_utf8_lossy(&shell.stderr));
    server.join().unwrap()
}

#[test]
fn a_shell_and_curl_send_what_was_captured() {
    if !tools::has("bash", "--version") || !tools::has("curl", "--version") {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let request = |change: &dyn Fn(&mut v1::Request)| {
        let mut exchange = exchange(1, 0);
        let request = exchange.request.as_mut().unwrap();
        request.host = address.to_string();
        request.headers = vec![header("Host", &address.to_string())];
        change(request);
        exchange
    };
    let all_bytes: Vec<u8> = (0..=255).collect();
    let exchanges = [
        request(&|it| (it.method, it.body) = ("GET".into(), None)),
        request(&|it| (it.method, it.body) = ("HEAD".into(), None)),
        request(&|it| (it.method, it.body, it.path) = ("OPTIONS".into(), None, "*".into())),
        request(&|it| it.query = String::new()),
        request(&|it| it.path = "/a/../{b}/[c]/$(id)`id`'\"!*?~;&|<>\\".into()),
        request(&|it| it.path = "/caf\u{e9}#x".into()),
        request(&|it| it.body = text("@/etc/passwd")),
        request(&|it| {
            it.body = text("'; echo \"$HOME\" `id` \\n !! %s\n\ttwo\r\nlines \u{1b}[31m \u{202e}7\u{9b}1")
        }),
        request(&|it| it.body = binary(&all_bytes)),
        request(&|it| it.body = text(&"long \u{1f435} ".repeat(40_000))),
        request(&|it| it.body = text("a=b&c")),
        request(&|it| {
            it.headers.extend([
                header("X-Empty", ""),
                header("X-Quote", "it's \"$HOME\" \\ `id` \t!"),
                header("User-Agent", "tap"),
                header("Accept", "a/b"),
                header("Content-Type", "text/plain; charset=\"utf-8\""),
                header("x-twice", "1"),
                header("x-twice", "2"),
                v1::Header {
                    name: "X-Raw".into(),
                    value: "caf\u{fffd}".into(),
                    raw_value: b"caf\xe9 7".to_vec(),
                },
            ]);
        }),
        request(&|it| (it.method, it.body) = ("DELETE".into(), text("x"))),
        request(&|it| (it.method, it.body) = ("PATCH".into(), None)),
        request(&|it| {
            it.headers = vec![header("Host", "other.example"), header("Content-Length", "0")];
            it.body = None;
        }),
    ];
    for exchange in &exchanges {
        let command = command(exchange).unwrap();
        let sent = sent_by(&command, &listener);
        // Both by the reader that is made for messages as they are on the wire.
        let parse = |message: &[u8]| {
            let record = [b"1 a 5\n", message, "\n\u{1f435}\u{1f648}\u{1f649}\n".as_bytes()].concat();
            let limits = Limits { body_bytes: 1 << 24, ..Limits::default() };
            let (read, _) = items(|sink| gor::read(record.as_slice(), &limits, sink)).unwrap();
            let mut essence = essence(&read[0].exchange);
            // curl has an order of its own: Host comes first.
            essence.headers[0].sort();
            essence
        };
        let stored = tap_formats::stored::exchange(v1::Exchange { response: None, ..exchange.clone() });
        let mut wanted = essence(&stored);
        wanted.headers[0].sort();
        assert_eq!(parse(&sent), wanted, "{command}");
    }
}

#[test]
fn what_curl_cannot_send_is_left_out() {
    let request = |change: &dyn Fn(&mut v1::Request)| {
        let mut exchange = exchange(1, 0);
        change(exchange.request.as_mut().unwrap());
        command(&exchange)
    };
    assert_eq!(request(&|it| it.method = "CONNECT".into()), Err(Unfit::Unsendable));
    assert_eq!(request(&|it| it.method = "HEAD".into()), Err(Unfit::Unsendable));
    assert_eq!(request(&|it| it.method = "GET; id".into()), Err(Unfit::InvalidHead));
    assert_eq!(request(&|it| it.headers.push(header("@/etc/passwd", "x"))), Err(Unfit::InvalidHead));
    assert_eq!(request(&|it| it.headers.push(header("X", "a\nB: c"))), Err(Unfit::InvalidHead));
    assert_eq!(request(&|it| it.headers.push(header("X", &"x".repeat(200_000)))), Err(Unfit::TooLong));
    assert_eq!(request(&|it| it.body.as_mut().unwrap().content = None), Err(Unfit::RequestIncomplete));
    let nowhere = v1::Exchange { destination: None, ..exchange(1, 0) };
    let mut nowhere = nowhere;
    nowhere.request.as_mut().unwrap().host = "-oX evil".into();
    assert_eq!(command(&nowhere), Err(Unfit::NoHost));
    // A host that is none goes to the address that was captured.
    let mut hostile = exchange(1, 0);
    hostile.request.as_mut().unwrap().host = "a@b/c".into();
    assert!(command(&hostile).unwrap().contains("'http://10.0.0.1:8080/cart/0"));
    assert_eq!(command(&v1::Exchange { request: None, ..exchange(1, 0) }), Err(Unfit::NoRequest));
}
