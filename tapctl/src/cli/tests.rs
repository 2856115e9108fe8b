use super::*;

fn read(line: &str) -> Result<Cli, clap::Error> {
    Cli::read(line.split_whitespace()).map(|(cli, _)| cli)
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn global_options_stand_anywhere() {
    let cli = read("tapctl search -o jsonl --collector http://x:1 --since 5m").unwrap();
    assert_eq!(cli.output, Output::Jsonl);
    assert_eq!(cli.collector, "http://x:1");
    let Command::Search(search) = cli.command else { panic!("{cli:?}") };
    assert_eq!(search.range.since, Some(Moment::Ago(Duration::from_secs(300))));
    assert_eq!(search.limit, 50);
}

#[test]
fn a_replay_must_name_its_target() {
    let error = read("tapctl replay --since 5m").unwrap_err();
    assert!(error.to_string().contains("--target"), "{error}");
}

#[test]
fn methods_are_allowed_one_by_one_or_as_a_list() {
    let cli = read("tapctl replay --target http://x --allow-method POST,PUT --allow-method DELETE").unwrap();
    let Command::Replay(replay) = cli.command else { panic!("{cli:?}") };
    assert_eq!(replay.allow_methods, ["POST", "PUT", "DELETE"]);
}

#[test]
fn as_a_plugin_it_calls_itself_what_was_typed() {
    let usage = |program: &str| read(&format!("{program} get")).unwrap_err().to_string();
    assert!(usage("/usr/local/bin/kubectl-tap").contains("Usage: kubectl tap get"));
    assert!(usage("/usr/local/bin/tapctl").contains("Usage: tapctl get"));
}

#[test]
fn the_namespace_is_a_condition_after_the_filter() {
    let condition = |filter: &str, namespace: Option<&str>| {
        let selection =
            Selection { filter: filter.into(), namespace: namespace.map(Into::into), ..Selection::default() };
        selection.condition()
    };
    assert_eq!(condition("a || b", None), "a || b");
    assert_eq!(condition("", Some("shop")), r#"namespace == "shop""#);
    assert_eq!(condition("a || b", Some("sh\"op")), "(a || b\n) && namespace == \"sh\\\"op\"");
}

#[test]
fn ids_may_be_shortened_to_their_time() {
    assert!(parse_id("019aa6b2-5b3e-7c41-9d0e-6f1a2b3c4d5e").is_ok());
    assert!(parse_id("019AA6B2-5b3e").is_ok());
    for id in ["019aa6b2", "hello", "019aa6b2x5b3e", "019aa6b2-5b3e-7c41-9d0e-6f1a2b3c4d5e0", "019aa6b2-5b3é"]
    {
        assert!(parse_id(id).is_err(), "{id}");
    }
}
