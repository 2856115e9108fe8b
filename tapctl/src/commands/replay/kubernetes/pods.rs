//! What the API server says of the pods of a replay. Pure.

use serde_json::Value;

use super::job::{INDEX, SHARD_LABEL};

/// One pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pod {
    pub name: String,
    pub shard: usize,
    pub phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not started; why, where that is known.
    Waiting(String),
    Running,
    /// Its container has ended; how.
    Ended(String),
}

/// The pods of a list that stand for one of `shards`.
pub(super) fn of_list(list: &Value, shards: usize) -> Vec<Pod> {
    let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
    items.iter().filter_map(of_object).filter(|pod| pod.shard < shards).collect()
}

fn of_object(object: &Value) -> Option<Pod> {
    let Value::Object(_) = object else { return None };
    let (metadata, status) = (&object["metadata"], &object["status"]);
    let shard = metadata["annotations"][INDEX].as_str().or(metadata["labels"][SHARD_LABEL].as_str())?;
    let state = &status["containerStatuses"][0]["state"];
    let phase = if let Some(terminated) = state["terminated"].as_object() {
        let reason = terminated.get("reason").and_then(Value::as_str).unwrap_or("ended");
        let code = terminated.get("exitCode").and_then(Value::as_i64).unwrap_or_default();
        Phase::Ended(format!("{reason}, exit status {code}"))
    } else if matches!(status["phase"].as_str(), Some("Failed" | "Succeeded")) {
        // Evicted, for one: without a container.
        let of = |field: &str| status[field].as_str().unwrap_or_default();
        Phase::Ended(format!("{} {}", of("reason"), of("message")).trim().to_owned())
    } else if state["running"].is_object() {
        Phase::Running
    } else {
        let waiting = &state["waiting"];
        let condition = status["conditions"]
            .as_array()
            .and_then(|conditions| conditions.iter().find(|condition| condition["status"] == "False"));
        let source = if waiting.is_object() { Some(waiting) } else { condition };
        let text = |field: &str| source.and_then(|source| source[field].as_str()).unwrap_or_default();
        Phase::Waiting(format!("{} {}", text("reason"), text("message")).trim().to_owned())
    };
    Some(Pod { name: metadata["name"].as_str()?.to_owned(), shard: shard.parse().ok()?, phase })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn phases(objects: Value) -> Vec<(usize, Phase)> {
        of_list(&json!({"items": objects}), 3).into_iter().map(|pod| (pod.shard, pod.phase)).collect()
    }

    #[test]
    fn pods_are_told_by_their_index_and_state() {
        let pod = |index: &str, status: Value| json!({"metadata": {"name": "p", "annotations": {INDEX: index}}, "status": status});
        let container = |state: Value| json!({"phase": "Running", "containerStatuses": [{"state": state}]});
        let terminated = json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}});
        let waiting = json!({"waiting": {"reason": "ErrImageNeverPull", "message": "no image"}});
        let unschedulable = json!({"phase": "Pending", "conditions": [
            {"type": "Initialized", "status": "True"},
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes"},
        ]});
        let evicted = json!({"phase": "Failed", "reason": "Evicted", "message": "low on memory"});
        let found = phases(json!([
            pod("0", container(terminated)),
            pod("1", container(waiting)),
            pod("2", container(json!({"running": {}}))),
            pod("0", unschedulable),
            pod("1", evicted),
        ]));
        let waits = |text: &str| Phase::Waiting(text.to_owned());
        assert_eq!(
            found,
            [
                (0, Phase::Ended("OOMKilled, exit status 137".to_owned())),
                (1, waits("ErrImageNeverPull no image")),
                (2, Phase::Running),
                (0, waits("Unschedulable 0/2 nodes")),
                (1, Phase::Ended("Evicted low on memory".to_owned())),
            ]
        );
        let labelled = json!([{"metadata": {"name": "p", "labels": {SHARD_LABEL: "2"}}}]);
        assert_eq!(phases(labelled), [(2, waits(""))]);
    }

    #[test]
    fn what_is_no_pod_of_ours_is_left_out() {
        let strange = json!([null, 7, {}, {"metadata": {"name": "p"}}, {"metadata": {"name": "p", "annotations": {INDEX: "3"}}},
            {"metadata": {"name": "p", "annotations": {INDEX: "-1"}}}, {"metadata": {"annotations": {INDEX: "0"}}}]);
        assert!(phases(strange).is_empty());
        assert!(of_list(&Value::Null, 3).is_empty());
    }
}
