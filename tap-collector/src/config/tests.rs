use super::*;

fn settings(arguments: &[&str]) -> Settings {
    Settings::try_parse_from([&["tap-collector"], arguments].concat()).unwrap()
}

#[test]
fn defaults_are_safe() {
    let config = settings(&[]).validate().unwrap();
    assert!(config.listen.ip().is_loopback());
    assert!(config.admin_listen.ip().is_loopback());
    assert!(config.allow_replay_targets.is_empty());
    assert_eq!(config.store.scheme(), "file");
    assert!(config.store.path().ends_with("/podtap-data/"));
    assert_eq!(config.commit_bytes, 16 << 20);
}

#[test]
fn flags_win_over_the_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        file.path(),
        "listen: '[::]:7070'\ncommit: {bytes: 2097152, interval: 2s}\nqueue: {bytes: 8MiB}\n\
         retention: {max_age: 7d, max_bytes: 1GiB, namespaces: {shop: {max_age: 1d}}}\n\
         replay: {allow_targets: ['http://staging:8080']}\n",
    )
    .unwrap();
    let path = file.path().to_str().unwrap();
    let flags = ["--config", path, "--commit-interval", "500ms", "--retention-max-age=2d"];
    let config = settings(&flags).validate().unwrap();
    assert_eq!(config.listen.to_string(), "[::]:7070");
    assert_eq!(config.commit_bytes, 2 << 20);
    assert_eq!(config.queue_bytes, 8 << 20);
    assert_eq!(config.commit_interval, Duration::from_millis(500));
    assert_eq!(config.allow_replay_targets.len(), 1);
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(config.retention.max_age, Some(2 * day));
    assert_eq!(config.retention.max_bytes, Some(1 << 30));
    assert_eq!(config.retention.namespaces["shop"], day);
}

#[test]
fn all_errors_are_reported_together() {
    let errors = settings(&[
        "--listen=7070",
        "--store=ftp://bucket",
        "--commit-interval=0s",
        "--commit-bytes=1",
        "--queue-bytes=2XB",
        "--retention-max-age=forever",
        "--retention-max-bytes=1",
        "--retention-grace=0s",
        "--allow-replay-target=staging",
        "--kubernetes-namespace=Not-A-Name",
        "--kubernetes-lease=",
        "--log=a=b=c",
        "--log-format=xml",
    ])
    .validate()
    .unwrap_err();
    let names: Vec<_> =
        errors.iter().map(|error| error.to_string().split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(
        names,
        [
            "listen",
            "store",
            "commit.interval",
            "commit.bytes",
            "queue.bytes",
            "retention.max_age",
            "retention.max_bytes",
            "retention.grace",
            "replay.allow_targets",
            "kubernetes.namespace",
            "kubernetes.lease",
            "log.filter",
            "log.format"
        ]
    );
}

#[test]
fn a_cluster_is_used_only_where_it_is_asked_for() {
    let config = |arguments: &[&str]| settings(arguments).validate().unwrap();
    assert_eq!(config(&[]).kubernetes, None);
    assert_eq!(config(&["--kubernetes-namespace=podtap-system"]).kubernetes, None);
    let defaults = KubernetesConfig { namespace: None, lease: "podtap-collector".to_owned() };
    assert_eq!(config(&["--kubernetes"]).kubernetes, Some(defaults));
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "kubernetes: {enabled: true, namespace: podtap-system, lease: a}\n").unwrap();
    let path = file.path().to_str().unwrap();
    let from_file = config(&["--config", path, "--kubernetes-lease=b"]);
    let expected = KubernetesConfig { namespace: Some("podtap-system".to_owned()), lease: "b".to_owned() };
    assert_eq!(from_file.kubernetes.as_ref(), Some(&expected));
    assert!(from_file.to_string().contains("kubernetes.namespace=podtap-system kubernetes.lease=b"));
}

#[test]
fn an_unknown_key_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "commit: {intervall: 2s}\n").unwrap();
    let errors = settings(&["--config", file.path().to_str().unwrap()]).validate().unwrap_err();
    assert!(errors[0].to_string().contains("intervall"), "{}", errors[0]);
}

#[test]
fn the_effective_settings_show_no_credentials() {
    let refused = settings(&["--store=s3://key:secret@bucket/x?token=secret"]).validate().unwrap_err();
    let told = refused[0].to_string();
    assert!(told.contains("s3://redacted@bucket/x") && !told.contains("secret@"), "{told}");
    assert!(!told.contains("token"), "{told}");
    let mut config = settings(&[]).validate().unwrap();
    config.store = Url::parse("s3://key:secret@bucket/x?token=secret").unwrap();
    assert!(!config.to_string().contains("secret"), "{config}");
    config.store = Url::parse("s3://bucket/x").unwrap();
    assert!(config.to_string().contains("store=s3://bucket/x "), "{config}");
}

#[test]
fn the_settings_of_the_manifests_are_valid() {
    let manifests = fs::read_to_string("../deploy/manifests/podtap.yaml").unwrap();
    let text = manifests
        .split("\n---\n")
        .map(|object| serde_yaml_ng::from_str::<serde_yaml_ng::Value>(object).unwrap())
        .find_map(|object| Some(object.get("data")?.get("collector.yaml")?.as_str()?.to_owned()))
        .unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let config = settings(&["--config", file.path().to_str().unwrap()]).validate().unwrap();
    assert_eq!(config.listen.to_string(), "[::]:7070");
    assert!(config.kubernetes.is_some());
}
