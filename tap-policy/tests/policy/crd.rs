//! The committed definition is that of the types.

use std::path::Path;

use serde_json::Value;

#[test]
fn the_committed_definition_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds/podtap.dev_tappolicies.yaml");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == tap_policy::crd_yaml().unwrap(), "run `cargo xtask crd` and commit");
}

/// Every node of a schema.
fn walk<'a>(path: &str, schema: &'a Value, each: &mut dyn FnMut(&str, &'a Value)) {
    each(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        walk(&format!("{path}.{name}"), property, each);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            walk(&format!("{path}[]"), &schema[inner], each);
        }
    }
}

#[test]
fn the_schema_is_structural_and_explains_itself() {
    let crd = serde_json::to_value(tap_policy::crd()).unwrap();
    let version = &crd["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    assert!(version["subresources"]["status"].is_object());
    walk("", schema, &mut |path, schema| {
        let has_type = schema["type"].is_string() || schema["x-kubernetes-int-or-string"] == true;
        assert!(has_type, "{path} has no type");
        assert!(schema["nullable"].is_null(), "{path} may be null");
        let values = schema["enum"].as_array().into_iter().flatten();
        assert!(values.clone().all(|value| !value.is_null()), "{path} has null among its values");
        assert!(schema["x-kubernetes-validations"].is_null(), "{path}: old servers' kubectl refuses rules");
        assert!(schema["$ref"].is_null(), "{path} refers to another schema");
        // The API server warns of formats that it does not know.
        if let Some(format) = schema["format"].as_str() {
            assert!(["int32", "int64", "double", "date-time"].contains(&format), "{path}: {format}");
        }
    });
    for (name, property) in schema["properties"]["spec"]["properties"].as_object().unwrap() {
        assert!(property["description"].is_string(), "kubectl explain has nothing on spec.{name}");
    }
    assert_eq!(schema["properties"]["spec"]["required"], serde_json::json!(["selector"]));
    assert_eq!(crd["spec"]["names"]["shortNames"], serde_json::json!(["tap"]));
}
