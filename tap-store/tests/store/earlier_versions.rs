//! A table that an earlier version made.

use std::{collections::HashSet, fs};

use tap_store::Store;
use tempfile::TempDir;

use crate::sample::{agent, batch, ids, store, url};

const ADDED: &str = "redaction_key";

/// The first commit of a table, as a version made it that did not know the column.
fn earlier_table() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(store(&folder));
    let commit = folder.path().join("exchanges/_delta_log/00000000000000000000.json");
    let edited = fs::read_to_string(&commit).unwrap().lines().fold(String::new(), |text, line| {
        let mut action: serde_json::Value = serde_json::from_str(line).unwrap();
        if let Some(metadata) = action.get_mut("metaData") {
            let mut schema: serde_json::Value =
                serde_json::from_str(metadata["schemaString"].as_str().unwrap()).unwrap();
            let columns = schema["fields"].as_array_mut().unwrap();
            let before = columns.len();
            columns.retain(|column| column["name"] != ADDED);
            assert_eq!(columns.len(), before - 1);
            metadata["schemaString"] = schema.to_string().into();
        }
        text + &action.to_string() + "\n"
    });
    fs::write(commit, edited).unwrap();
    folder
}

#[test]
fn gets_the_columns_that_are_new_when_it_is_opened_to_write() {
    let folder = earlier_table();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let reader = Store::open_read_only(&url(&folder)).await.unwrap();
        assert!(ids(&reader).await.is_empty());

        // Two at once.
        let (first, second) = (url(&folder), url(&folder));
        let (first, second) = tokio::join!(Store::open(&first), Store::open(&second));
        let (first, second) = (first.unwrap(), second.unwrap());
        let mut sent = batch("a", 1, 0..3);
        sent.exchanges[1].redaction_key = "2026-11".to_owned();
        first.append(vec![(agent("a", 1), sent)]).await.unwrap();
        second.append(vec![(agent("b", 1), batch("b", 1, 3..5))]).await.unwrap();

        let stored = crate::sample::search_all(&reader, "", tap_proto::v1::Order::OldestFirst, 100).await;
        let keys: Vec<_> = stored.iter().map(|exchange| exchange.redaction_key.as_str()).collect();
        assert_eq!(keys, ["", "2026-11", "", "", ""]);
    });
    let log = fs::read_dir(folder.path().join("exchanges/_delta_log")).unwrap();
    let commits: Vec<_> = log
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let schemas: HashSet<String> = (commits.iter().flat_map(|commit| commit.lines()))
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap().get("metaData").cloned())
        .map(|metadata| metadata["schemaString"].to_string())
        .collect();
    assert_eq!(schemas.len(), 2, "as it was, and as it is");
}
