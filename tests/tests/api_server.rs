//! The API server that other packages' tests stand on.

use podtap_tests::{ApiServer, until};

#[test]
fn comes_back_with_what_it_stored_and_forgets_its_history() {
    let Some(server) = ApiServer::start_or_skip() else { return };
    let kubectl = server.kubectl();
    kubectl.run(&["create", "namespace", "kept"]).unwrap();
    let before =
        kubectl.run(&["get", "namespace", "kept", "-o", "jsonpath={.metadata.resourceVersion}"]).unwrap();
    kubectl.run(&["create", "namespace", "newer"]).unwrap();

    server.kill().unwrap();
    assert!(kubectl.run(&["get", "namespaces"]).is_err());
    server.revive().unwrap();
    let names =
        until("it is back", || kubectl.run(&["get", "namespaces", "-o", "name"]).map_err(|e| e.to_string()))
            .unwrap();
    assert!(names.contains("namespace/kept") && names.contains("namespace/newer"), "{names}");

    server.compact().unwrap();
    server.kill().unwrap();
    server.revive().unwrap();
    until("it is back", || kubectl.run(&["get", "namespaces"]).map_err(|e| e.to_string())).unwrap();
    let watch = format!("/api/v1/namespaces?watch=1&timeoutSeconds=5&resourceVersion={before}");
    let event = kubectl.run(&["get", "--raw", &watch]);
    let said = event.unwrap_or_else(|error| error.to_string());
    assert!(said.contains("410") || said.contains("Expired"), "{said}");

    let audit = server.audit().unwrap();
    let line = audit.lines().find(|line| line.contains(&format!("resourceVersion={before}\\u0026"))).unwrap();
    assert!(line.contains(r#""verb":"watch""#) && line.contains(r#""resource":"namespaces""#), "{line}");
}
