//! Collectors that are killed at random under load: nothing acknowledged is lost, nothing is stored twice, no tail misses
//! anything. Checked by another engine over the table, not by Podtap's own reader.
//!
//! For `PODTAP_KILLS_SECONDS` (20 unless set), with the kills of `PODTAP_KILLS_SEED` (a new seed each time unless set; it is in
//! every failure).

use std::{
    collections::HashSet,
    env,
    io::{self, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use podtap_tests::{Agent, AgentOptions, Cgroup, Nginx, S3Server, program, until};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Runtime;

use crate::{
    collectors::{QUICK, Replica, found},
    follower::Follower,
    spooled::{Signals, Spool},
};

const COLLECTORS: usize = 3;
const SPOOLED_AGENTS: u64 = 2;
/// Between two kills, and until a killed collector is back.
const KILL_EVERY: std::ops::Range<u64> = 300..2500;
const AWAY: std::ops::Range<u64> = 0..1500;

/// What Kubernetes' Service is to agents: one address, and behind it any collector that is alive.
struct Balancer {
    address: SocketAddr,
}

impl Balancer {
    fn start(collectors: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let mut turn = 0;
            for client in listener.incoming().map_while(Result::ok) {
                turn += 1;
                let alive =
                    (0..collectors.len()).map(|i| collectors[(turn + i) % collectors.len()]).find_map(
                        |collector| TcpStream::connect_timeout(&collector, Duration::from_secs(1)).ok(),
                    );
                if let Some(server) = alive {
                    carry(&client, &server);
                    carry(&server, &client);
                }
            }
        });
        Self { address }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Until either side is gone.
fn carry(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    });
}

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn killed_collectors_lose_and_double_nothing() {
    let duration = Duration::from_secs(number("PODTAP_KILLS_SECONDS").unwrap_or(20));
    let seed = number("PODTAP_KILLS_SEED").unwrap_or_else(|| rand::rng().next_u64());
    // Past the capture of output, for a run that fails.
    let _ = writeln!(io::stderr(), "PODTAP_KILLS_SEED={seed}");
    let mut random = ChaCha8Rng::seed_from_u64(seed);

    let server = S3Server::start().unwrap();
    let mut replicas: Vec<_> = (0..COLLECTORS).map(|_| Replica::start(&server, "prod", QUICK)).collect();
    let urls: Vec<_> = replicas.iter().map(Replica::url).collect();
    let addresses = urls.iter().map(|url| url.trim_start_matches("http://").parse().unwrap()).collect();
    let balancer = Balancer::start(addresses);
    let runtime = Runtime::new().unwrap();

    // A tail from before the first exchange: its first page is the table's first rows.
    let signals = Arc::new(Signals::default());
    let follower = Follower::default();
    let mut first = Spool::new("node-0", 1);
    let following = runtime.spawn(follower.clone().run(urls.clone()));
    let first = runtime.block_on(async {
        while follower.tailed().ids.is_empty() {
            // Twice as long as one needs: rows that came before the tail are not the tail's.
            let _ = first.stream(&urls[0], 5, &signals).await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        first
    });
    let before_tail = first.ids.clone();
    let mut agents = vec![runtime.spawn(first.run(urls.clone(), Arc::clone(&signals), random.next_u64()))];
    for number in 1..=SPOOLED_AGENTS {
        let spool = Spool::new(&format!("node-{number}"), 1);
        agents.push(runtime.spawn(spool.run(urls.clone(), Arc::clone(&signals), random.next_u64())));
    }

    // A real agent, tapping a real server.
    let cgroup = Cgroup::create("kills").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    let agent = Agent::start(&AgentOptions::new("real", &balancer.url()).target("web", &cgroup)).unwrap();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));

    let kills = thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                get(nginx.address(), &format!("/json?{}", sent.load(Ordering::Relaxed)));
                sent.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(10));
            }
        });
        let end = Instant::now() + duration;
        let mut kills = 0;
        while Instant::now() < end {
            thread::sleep(Duration::from_millis(random.random_range(KILL_EVERY)));
            let replica = &mut replicas[random.random_range(0..COLLECTORS)];
            replica.collector.kill().unwrap();
            kills += 1;
            thread::sleep(Duration::from_millis(random.random_range(AWAY)));
            replica.collector.restart().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        kills
    });

    signals.finish.store(true, Ordering::Relaxed);
    let mut made = HashSet::new();
    for agent in agents {
        made.extend(runtime.block_on(agent).unwrap().ids);
    }
    agent.terminate().unwrap();
    let sent = sent.into_inner();
    assert!(kills > 2 && made.len() > 100 && sent > 100, "{kills} kills, {} made, {sent} sent", made.len());

    let stored = table(&server);
    let ids: HashSet<_> = stored.iter().map(|(_, id, _)| id.as_str()).collect();
    assert_eq!(ids.len(), stored.len(), "stored twice: {:?}", repeated(&stored));
    let lost: Vec<_> = made.iter().filter(|id| !ids.contains(id.as_str())).collect();
    assert!(
        lost.is_empty(),
        "{} of {} are lost, as {:?}",
        lost.len(),
        made.len(),
        &lost[..lost.len().min(5)]
    );
    // The real agent's: each request once, none but those.
    let mut queries: Vec<usize> = stored
        .iter()
        .filter(|(agent, _, _)| agent == "real")
        .map(|(_, _, query)| query.parse().unwrap())
        .collect();
    queries.sort_unstable();
    assert_eq!(queries, (0..sent).collect::<Vec<_>>());
    assert_eq!(stored.len(), made.len() + sent, "exchanges that nobody made");

    // Podtap's own reader says the same, and so does the tail.
    let own = runtime.block_on(found(&urls[0])).unwrap();
    assert_eq!(own.len(), stored.len());
    until("the tail's end", || {
        let tailed = follower.tailed();
        let missing =
            stored.iter().filter(|(_, id, _)| !tailed.ids.contains(id) && !before_tail.contains(id)).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} are missing in the tail")) }
    })
    .unwrap();
    assert_eq!(follower.tailed().repeated, Vec::<String>::new(), "tailed twice");
    following.abort();
    let _ = writeln!(
        io::stderr(),
        "{kills} kills, {} streams, {} tails, {} exchanges",
        signals.streams.load(Ordering::Relaxed),
        follower.tailed().resumed + 1,
        stored.len()
    );
}

/// Agent, id and query of each row of the table, by Polars.
fn table(server: &S3Server) -> Vec<(String, String, String)> {
    let output = Command::new(python())
        .arg(program("table.py"))
        .arg(server.url("prod/exchanges"))
        .args(["agent", "id", "query"])
        .envs(server.environment())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| {
            let mut columns = line.split('\t').map(str::to_owned);
            (columns.next().unwrap(), columns.next().unwrap(), columns.next().unwrap())
        })
        .collect()
}

/// A Python with Polars: `PODTAP_PYTHON`, or where `cargo xtask setup` puts it.
fn python() -> PathBuf {
    let home = || env::home_dir().map(|home| home.join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home).unwrap();
    env::var_os("PODTAP_PYTHON").map_or_else(|| cache.join("podtap/python/bin/python3"), PathBuf::from)
}

fn repeated(stored: &[(String, String, String)]) -> Vec<&str> {
    let mut seen = HashSet::new();
    stored.iter().map(|(_, id, _)| id.as_str()).filter(|id| !seen.insert(*id)).take(5).collect()
}

fn get(address: SocketAddr, target: &str) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    io::copy(&mut stream, &mut io::sink()).unwrap();
}
