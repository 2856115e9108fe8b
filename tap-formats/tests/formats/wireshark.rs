//! tshark dissects what is written as the same HTTP, on sound TCP.

use std::process::Command;

use tap_formats::pcap;
use tap_proto::v1;

use crate::{
    sample::{binary, exchange, header, text},
    tools,
};

fn tshark(file: &std::path::Path, arguments: &[&str]) -> Vec<Vec<String>> {
    let output = Command::new("tshark")
        .args(["-r", file.to_str().unwrap(), "-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE"])
        .args(["-T", "fields", "-E", "separator=|"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

fn written(exchanges: &[v1::Exchange]) -> tempfile::NamedTempFile {
    let mut writer = pcap::Writer::new(Vec::new());
    for exchange in exchanges {
        writer.write(exchange).unwrap();
    }
    let file = tempfile::NamedTempFile::with_suffix(".pcapng").unwrap();
    std::fs::write(file.path(), writer.finish().unwrap()).unwrap();
    file
}

#[test]
fn wireshark_sees_the_same_http_on_sound_tcp() {
    if !tools::has("tshark", "--version") {
        return;
    }
    let mut large = exchange(2, 1);
    large.response.as_mut().unwrap().body = binary(&vec![0xab; 10_000]);
    let mut chunked = exchange(1, 1);
    chunked.response.as_mut().unwrap().trailers = vec![header("X-Sum", "1")];
    let mut v6 = exchange(3, 0);
    v6.source.as_mut().unwrap().ip = "2001:db8::9".into();
    let mut outbound = exchange(4, 0);
    outbound.role = v1::Role::Outbound.into();
    let mut waited = exchange(5, 0);
    waited.response.as_mut().unwrap().interim_statuses = vec![100];
    let unknown = v1::Exchange { source: None, destination: None, ..exchange(6, 0) };
    let get = {
        let mut get = exchange(7, 0);
        let request = get.request.as_mut().unwrap();
        (request.method, request.body) = ("GET".into(), None);
        request.headers.retain(|header| header.name == "Host");
        get.response.as_mut().unwrap().body = text("plain");
        get
    };
    let exchanges = [exchange(1, 0), exchange(2, 0), v6, outbound, waited, unknown, get, chunked, large];
    let file = written(&exchanges);

    let requests = tshark(
        file.path(),
        &[
            "-Y",
            "http.request",
            "-e",
            "http.request.method",
            "-e",
            "http.request.full_uri",
            "-e",
            "http.file_data",
        ],
    );
    let wanted: Vec<Vec<String>> = exchanges
        .iter()
        .map(|exchange| {
            let request = exchange.request.as_ref().unwrap();
            let body = if request.body.is_some() { "{\"n\": 12}" } else { "" };
            let uri = format!("http://{}{}?{}", request.host, request.path, request.query);
            vec![request.method.clone(), uri, body.to_owned()]
        })
        .collect();
    let data = |mut rows: Vec<Vec<String>>| {
        // Newer versions print the bytes in hexadecimal.
        for row in &mut rows {
            if let Some(data) = row.get_mut(2)
                && data.as_str() == "7b226e223a2031327d"
            {
                "{\"n\": 12}".clone_into(data);
            }
        }
        rows
    };
    assert_eq!(data(requests), wanted);

    let responses = tshark(
        file.path(),
        &["-Y", "http.response", "-e", "http.response.code", "-e", "http.response.phrase"],
    );
    let finals = responses.iter().filter(|row| row[0] != "100").count();
    assert_eq!((responses.len(), finals), (exchanges.len() + 1, exchanges.len()));
    assert!(responses.iter().all(|row| row[0] == "100" || row[1] == "Created"), "{responses:?}");

    // Nothing that tshark would warn of: checksums, sequence numbers, malformed packets, times.
    let sound = tshark(file.path(), &["-e", "frame.number"]).len();
    for wrong in [
        "tcp.checksum.status == 0",
        "ip.checksum.status == 0",
        "tcp.analysis.flags",
        "_ws.malformed",
        "frame.time_delta < 0",
    ] {
        assert_eq!(
            tshark(file.path(), &["-Y", wrong, "-e", "frame.number"]),
            Vec::<Vec<String>>::new(),
            "{wrong}"
        );
    }
    assert!(sound > exchanges.len() * 6, "{sound}");
    // Exchanges of one flow are on one connection: seven flows.
    let streams: std::collections::BTreeSet<_> =
        tshark(file.path(), &["-e", "tcp.stream"]).into_iter().collect();
    assert_eq!(streams.len(), 7);
    // And times are the recorded ones.
    let times = tshark(file.path(), &["-Y", "http.request", "-e", "frame.time_epoch"]);
    assert!(times[0][0].starts_with("1795251600.001001"), "the end of the request: {times:?}");
    let comments = tshark(file.path(), &["-Y", "frame.comment", "-e", "frame.comment"]);
    assert_eq!(comments.len(), exchanges.len());
    assert!(comments[0][0].contains(&exchanges[0].id), "{comments:?}");
}
