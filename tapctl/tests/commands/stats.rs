//! `tapctl stats`: what it asks for, and what it prints.

use tap_proto::v1::{StatsBucket, StatsGroup, StatsOrder, StatsResponse, StatsSummary};

use super::{
    collector::{Collector, Served},
    json, tapctl,
};

fn statistics() -> StatsResponse {
    let summary = |exchanges| Some(StatsSummary { exchanges, rate: 1.5, ..StatsSummary::default() });
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let bucket = StatsBucket { start_time: time(1_700_000_000), summary: summary(7) };
    StatsResponse {
        groups: vec![StatsGroup {
            key: vec!["Deployment/cart".into(), "/cart/{id}".into()],
            summary: summary(7),
            buckets: vec![bucket.clone()],
        }],
        total: summary(7),
        buckets: vec![bucket],
        start_time: time(1_700_000_000),
        end_time: time(1_700_003_600),
        ..StatsResponse::default()
    }
}

async fn collector() -> Collector {
    Collector::start(Served { statistics: statistics(), ..Served::default() }).await
}

#[tokio::test]
async fn stats_asks_for_what_was_said() {
    let collector = collector().await;
    let by = ["--by", "workload,path_template", "--sort", "errors", "--limit", "7"];
    let arguments =
        [&["stats", "true", "-n", "shop", "--step", "1m", "--percentile", "50,p99.9"], &by[..]].concat();
    let (_, table) = tapctl(&collector, &arguments).await.unwrap();
    assert!(table.starts_with("TIME") && table.contains("Deployment/cart"), "{table}");
    let request = collector.served(|served| served.stats[0].clone());
    assert_eq!(request.filter, "(true\n) && namespace == \"shop\"");
    assert_eq!(request.group_by, ["workload", "path_template"]);
    assert_eq!((request.order(), request.limit), (StatsOrder::Errors, 7));
    assert_eq!(request.percentiles, [50.0, 99.9]);
    assert_eq!(request.step, Some(prost_types::Duration { seconds: 60, nanos: 0 }));
}

#[tokio::test]
async fn every_form_is_printed() {
    let collector = collector().await;
    let by = ["--by", "workload,path_template"];
    let print =
        async |more: &[&str]| tapctl(&collector, &[&["stats"], &by[..], more].concat()).await.unwrap().1;
    assert_eq!(json(&print(&["-o", "json"]).await)["groups"][0]["key"][1], "/cart/{id}");
    assert_eq!(print(&["-o", "jsonl"]).await.lines().count(), 1);
    let csv = print(&["--csv"]).await;
    assert_eq!(csv.lines().nth(1).unwrap(), "group,,Deployment/cart,/cart/{id},7,0,0,0,0,0,1.5,,,");
    // A plot finds its own step: an hour, as the collector says, in at most 120 buckets.
    let plot = print(&["--plot"]).await;
    assert!(
        plot.contains("Deployment/cart  /cart/{id}: 7 exchanges, 1.50/s") && plot.contains('█'),
        "{plot}"
    );
    let request = collector.served(|served| served.stats.last().unwrap().clone());
    assert_eq!(request.step, Some(prost_types::Duration { seconds: 30, nanos: 0 }));
    assert_eq!(request.limit, 4);
}

#[tokio::test]
async fn an_unknown_name_is_an_error() {
    let collector = collector().await;
    let error = tapctl(&collector, &["stats", "--by", "colour"]).await.unwrap_err().to_string();
    assert_eq!(error, "group_by: `colour` is nothing to group by");
}
