//! What does the table take and give on one core: appends, one exchange by its id, a search by columns, a search by
//! what bodies say; and the searches beside DuckDB on the same files?
//!
//! A day of a shop's traffic in as many commits as keep each at 5,000 exchanges, then rounds in which the store and
//! DuckDB take turns. Rates are of time on processors, so that a busy machine does not stretch them; latencies are by the
//! wall clock. DuckDB is the PyPI package, with one thread; without it the comparison is skipped, with the reason.
//!
//! `cargo bench -p tap-store --bench table`. Environment: `PODTAP_BENCH_EXCHANGES` (200,000), `PODTAP_BENCH_ROUNDS` (5),
//! `PODTAP_BENCH_STORE` (a URL; by default a directory that is removed), `PODTAP_PYTHON` (python3; `cargo xtask setup` makes one that has DuckDB).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark prints, and panics where it can't"
)]

#[path = "shop/measure.rs"]
mod measure;
#[path = "shop/traffic.rs"]
mod traffic;

use std::{
    env,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use measure::{Stopwatch, Took, is_measured, setting, spread};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tap_expr::Condition;
use tap_proto::v1::{Batch, Order};
use tap_store::{AgentEpoch, Query, Store};
use url::Url;

const COMMIT_EXCHANGES: u64 = 5000;
const GETS: usize = 50;

/// A search, and the same as DuckDB knows it.
struct Search {
    name: &'static str,
    condition: &'static str,
    hour: Option<u64>,
    sql: &'static str,
}

const SEARCHES: [Search; 4] = [
    Search {
        name: "path prefix, status, 1 h of 24",
        condition: "request.path.startsWith('/cart/') && response.status == 500",
        hour: Some(13),
        sql: "starts_with(path, '/cart/') AND status = 500",
    },
    Search {
        name: "path prefix, status, all day",
        condition: "request.path.startsWith('/cart/1') && response.status == 500",
        hour: None,
        sql: "starts_with(path, '/cart/1') AND status = 500",
    },
    Search {
        name: "bodies, pattern with a literal",
        condition: r#"response.body.text.matches('"warning":"W47[0-9]*0"')"#,
        hour: None,
        sql: r#"regexp_matches(response_body_text, '"warning":"W47[0-9]*0"')"#,
    },
    Search {
        name: "bodies, pattern of classes",
        condition: "response.body.text.matches('[0-9A-F]{6}00\",\"title\":\"w[a-z]+ w[a-z]+ w[a-z]+ *\"')",
        hour: None,
        sql: "regexp_matches(response_body_text, '[0-9A-F]{6}00\",\"title\":\"w[a-z]+ w[a-z]+ w[a-z]+ *\"')",
    },
];

struct Ingest {
    took: Took,
    /// Of the answers' bodies.
    body_bytes: u64,
    ids: Vec<String>,
}

async fn ingest(store: &Store, count: u64) -> Ingest {
    let mut random = StdRng::seed_from_u64(1);
    let mut took = Took { wall: 0.0, processor: 0.0 };
    let (mut body_bytes, mut ids) = (0, Vec::new());
    let agent = AgentEpoch { agent: "node-1".to_owned(), epoch: 1 };
    for (index, first) in (0..count).step_by(COMMIT_EXCHANGES as usize).enumerate() {
        let numbers = first..count.min(first + COMMIT_EXCHANGES);
        let exchanges: Vec<_> = numbers.map(|number| traffic::exchange(number, count, &mut random)).collect();
        for exchange in &exchanges {
            let body = exchange.response.as_ref().and_then(|response| response.body.as_ref());
            body_bytes += body.map_or(0, |body| body.size);
            if random.random_range(0..count) < 2 * GETS as u64 {
                ids.push(exchange.id.clone());
            }
        }
        let batch = Batch { sequence: index as u64 + 1, exchanges, ledger: None };
        let stopwatch = Stopwatch::start();
        store.append(vec![(agent.clone(), batch)]).await.unwrap();
        let append = stopwatch.read();
        took = Took { wall: took.wall + append.wall, processor: took.processor + append.processor };
    }
    ids.truncate(GETS);
    Ingest { took, body_bytes, ids }
}

/// How many exchanges are found over all pages, and how long the first page and all of them took.
async fn search(store: &Store, search: &Search) -> (usize, f64, Took) {
    let hour = |hour: u64| -> SystemTime { UNIX_EPOCH + Duration::from_secs(traffic::START + hour * 3600) };
    let stopwatch = Stopwatch::start();
    let (mut found, mut first_page, mut page_token) = (0, None, None);
    loop {
        let query = Query {
            condition: Condition::parse(search.condition).unwrap(),
            start: search.hour.map(hour),
            end: search.hour.map(|it| hour(it + 1)),
            order: Order::NewestFirst,
            page_size: 1000,
            page_token,
            summary: true,
        };
        let page = store.search(query).await.unwrap();
        first_page.get_or_insert_with(|| stopwatch.read().wall);
        found += page.exchanges.len();
        page_token = page.next_page_token;
        if page_token.is_none() {
            return (found, first_page.unwrap_or_default(), stopwatch.read());
        }
    }
}

/// DuckDB's count, and its time on processors; the reason where it can't run.
fn duckdb(files: &[String], search: &Search) -> Result<(usize, f64), String> {
    let time = search.hour.map_or(String::new(), |hour| {
        let micros = |hour: u64| (traffic::START + hour * 3600) * 1_000_000;
        format!("AND epoch_us(time) >= {} AND epoch_us(time) < {}", micros(hour), micros(hour + 1))
    });
    let script = format!(
        "import duckdb, json, sys, time\n\
         c = duckdb.connect()\n\
         c.execute('SET threads = 1')\n\
         c.execute('SET enable_progress_bar = false')\n\
         files = json.load(sys.stdin)\n\
         sql = sys.argv[1]\n\
         start = time.process_time()\n\
         n = c.execute('SELECT count(*) FROM read_parquet($files) WHERE ' + sql, {{'files': files}}).fetchone()[0]\n\
         print(n, time.process_time() - start)\n"
    );
    let python = env::var("PODTAP_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let input = tempfile::tempfile().unwrap();
    serde_json::to_writer(&input, files).unwrap();
    std::io::Seek::rewind(&mut &input).unwrap();
    let mut command = Command::new(python);
    command.args(["-c", &script, &format!("{} {time}", search.sql)]).stdin(input);
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        return Err(error.lines().last().unwrap_or_default().to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let (count, seconds) = text.trim().split_once(' ').ok_or("no count")?;
    Ok((count.parse().map_err(|_| "no count")?, seconds.parse().map_err(|_| "no time")?))
}

/// The files of the table as it is, and their bytes together.
async fn files(url: &Url) -> (Vec<String>, i64) {
    let table = deltalake::open_table(url.join("exchanges/").unwrap()).await.unwrap();
    let bytes = table.snapshot().unwrap().log_data().iter().map(|file| file.size()).sum();
    let files = table.get_file_uris().unwrap().map(|uri| uri.trim_start_matches("file://").to_owned());
    (files.collect(), bytes)
}

async fn run() {
    let count = setting("PODTAP_BENCH_EXCHANGES", if is_measured() { 200_000 } else { 10_000 });
    let rounds = setting("PODTAP_BENCH_ROUNDS", if is_measured() { 5 } else { 1 }).max(1);
    let folder = tempfile::tempdir().unwrap();
    let url = match env::var("PODTAP_BENCH_STORE") {
        Ok(url) => Url::parse(&url).unwrap(),
        Err(_) => Url::from_directory_path(folder.path()).unwrap(),
    };
    let store = Store::open(&url).await.unwrap();

    let Ingest { took, body_bytes, ids } = ingest(&store, count).await;
    let (paths, bytes) = files(&url).await;
    println!(
        "append: {count} exchanges, {:.0}/s of a core, {:.0}/s by the wall; {:.0} bytes an exchange on disk, {:.0} of them would be bodies; {} files",
        count as f64 / took.processor,
        count as f64 / took.wall,
        bytes as f64 / count as f64,
        body_bytes as f64 / count as f64,
        paths.len(),
    );

    // A store that has read nothing yet, then the same again.
    for temperature in ["cold", "warm"] {
        let store = Store::open_read_only(&url).await.unwrap();
        if temperature == "warm" {
            for id in &ids {
                store.get(id).await.unwrap();
            }
        }
        let mut took = Vec::new();
        for id in &ids {
            let stopwatch = Stopwatch::start();
            assert_eq!(&store.get(id).await.unwrap().unwrap().id, id);
            took.push(stopwatch.read().wall * 1000.0);
        }
        let (median, least, most) = spread(took);
        println!("get, {temperature}: {median:.1} ms ({least:.1} to {most:.1}) for {} ids", ids.len());
    }

    println!(
        "search: first page by the wall, all pages on processors, DuckDB on processors, ratio DuckDB / store (least to most)"
    );
    for it in &SEARCHES {
        let (mut pages, mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (mut found, mut skipped) = (0, None);
        for _ in 0..rounds {
            let (count, first_page, took) = search(&store, it).await;
            found = count;
            pages.push(first_page * 1000.0);
            ours.push(took.processor);
            match duckdb(&paths, it) {
                Ok((count, seconds)) => {
                    assert_eq!(count, found, "DuckDB counts differently: {}", it.name);
                    theirs.push(seconds);
                    ratios.push(seconds / took.processor);
                }
                Err(reason) => skipped = Some(reason),
            }
        }
        let (page, ..) = spread(pages);
        let (seconds, ..) = spread(ours);
        let comparison = match skipped {
            Some(reason) => format!("DuckDB skipped: {reason}"),
            None => {
                let (ratio, least, most) = spread(ratios);
                format!("{:.0} ms, {ratio:.2} ({least:.2} to {most:.2})", spread(theirs).0 * 1000.0)
            }
        };
        println!(
            "  {:32} {found:7} found, {page:6.0} ms, {:6.0} ms, {comparison}; {:.0} MB of bodies/s of a core",
            it.name,
            seconds * 1000.0,
            body_bytes as f64 / 1e6 / seconds,
        );
    }
}

fn main() {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
        .block_on(run());
}
