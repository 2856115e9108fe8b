//! How close does a replay come to `wrk` at the same nginx with the same number of connections, and how close to
//! their intended times are its sends at 5,000/s?
//!
//! Rounds of wrk, replay without comparison, replay with it, and wrk again, so that a machine that slows down
//! slows all of them; ratios to the mean of a round's two wrk runs, with their spread. Needs nginx and wrk; all
//! traffic is on the loopback.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and panics where it can't"
)]

use std::{
    convert::Infallible,
    env, fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use futures::stream;
use tap_proto::v1::{
    Body, Completeness, Exchange, Header, ReplayReport, Request, Response, body::Content, completeness::State,
};
use tap_replay::{Outcome, Plan, RawPlan, replay};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

const CONNECTIONS: u32 = 64;
const ROUNDS: usize = 5;
const BODY: &str =
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";

/// nginx in a directory of its own; ends when dropped.
struct Nginx {
    process: Child,
    port: u16,
}

impl Nginx {
    fn start(directory: &Path) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let root = directory.display();
        let configuration = format!(
            "daemon off; worker_processes auto; pid {root}/pid; error_log {root}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; keepalive_requests 1000000000; default_type text/plain;\n\
             client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;\n\
             uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;\n\
             server {{ listen 127.0.0.1:{port}; location / {{ return 200 '{BODY}'; }} }} }}\n"
        );
        let file = directory.join("nginx.conf");
        fs::write(&file, configuration).unwrap();
        let process =
            Command::new("nginx").arg("-c").arg(&file).stderr(Stdio::null()).spawn().expect("nginx");
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            thread::sleep(Duration::from_millis(20));
        }
        Self { process, port }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it at this signal, which is not what `kill` of a child sends.
        let _ = Command::new("kill").args(["-TERM", &self.process.id().to_string()]).status();
        let _ = self.process.wait();
    }
}

fn exchanges() -> Vec<Exchange> {
    let complete = Some(Completeness { state: State::Complete.into(), ..Completeness::default() });
    (0..1_000_u64)
        .map(|index| Exchange {
            agent: "bench".into(),
            flow: index % u64::from(CONNECTIONS) + 1,
            request: Some(Request {
                method: "GET".into(),
                path: format!("/item/{index}"),
                completeness: complete.clone(),
                ..Request::default()
            }),
            response: Some(Response {
                status: 200,
                headers: vec![Header {
                    name: "Content-Type".into(),
                    value: "text/plain".into(),
                    ..Header::default()
                }],
                body: Some(Body {
                    content: Some(Content::Text(BODY.into())),
                    size: BODY.len() as u64,
                    ..Body::default()
                }),
                completeness: complete.clone(),
                ..Response::default()
            }),
            ..Exchange::default()
        })
        .collect()
}

fn run(port: u16, seconds: u64, change: impl FnOnce(&mut RawPlan)) -> ReplayReport {
    let mut raw = RawPlan {
        id: "bench".into(),
        target: format!("http://127.0.0.1:{port}"),
        max_in_flight: CONNECTIONS,
        loop_forever: true,
        duration: Some(Duration::from_secs(seconds)),
        ..RawPlan::default()
    };
    change(&mut raw);
    let plan = Plan::validate(raw).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let exchanges = exchanges();
    let source = move || stream::iter(exchanges.clone().into_iter().map(Ok::<_, Infallible>));
    let (progress, _) = watch::channel(ReplayReport::default());
    let Outcome { report, .. } = runtime.block_on(replay(plan, source, progress, CancellationToken::new()));
    assert!(report.failed.is_empty(), "{report:?}");
    report
}

fn replay_rate(port: u16, seconds: u64, no_compare: bool) -> f64 {
    let report = run(port, seconds, |raw| {
        raw.arrival = "max".into();
        raw.no_compare = no_compare;
    });
    assert!(no_compare || report.matched == report.answered, "{report:?}");
    report.answered as f64 / seconds as f64
}

fn wrk_rate(port: u16, seconds: u64) -> f64 {
    let output = Command::new("wrk")
        .args(["-t2", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s")])
        .arg(format!("http://127.0.0.1:{port}/item/1"))
        .output()
        .expect("wrk");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Requests/sec:")).expect("wrk's rate");
    line.trim().parse().unwrap()
}

/// Median, least and greatest.
fn spread(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    format!("{:.2} ({:.2} to {:.2})", values[values.len() / 2], values[0], values[values.len() - 1])
}

fn main() {
    // Cargo asks every target what tests it has.
    if env::args().any(|argument| argument == "--list") {
        return;
    }
    let seconds = env::var("SECONDS_EACH").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let directory = env::temp_dir().join(format!("podtap-bench-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let nginx = Nginx::start(&directory);
    let (mut without, mut with, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let first = wrk_rate(nginx.port, seconds);
        let sent = replay_rate(nginx.port, seconds, true);
        let compared = replay_rate(nginx.port, seconds, false);
        let second = wrk_rate(nginx.port, seconds);
        let baseline = f64::midpoint(first, second);
        println!(
            "round {round}: wrk {first:.0}/s, replay {sent:.0}/s, compared {compared:.0}/s, wrk {second:.0}/s"
        );
        without.push(sent / baseline);
        with.push(compared / baseline);
        again.push(second / first);
    }
    println!(
        "{CONNECTIONS} connections, of wrk's rate: replay {}, compared {}",
        spread(without),
        spread(with)
    );
    println!("wrk again, of wrk: {}", spread(again));

    let report = run(nginx.port, 20 * seconds, |raw| raw.arrival = "constant(5000)".into());
    let error = report.send_error.unwrap();
    println!(
        "5,000/s for {} s: {} sent of {} selected, {} late; send error p50 {} µs, p99 {} µs, p99.9 {} µs, max {} µs",
        20 * seconds,
        report.sent,
        report.selected,
        report.late,
        error.p50_us,
        error.p99_us,
        error.p999_us,
        error.max_us
    );
    drop(nginx);
    let _ = fs::remove_dir_all(&directory);
}
