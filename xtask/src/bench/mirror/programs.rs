//! What is started for a case, and how it is set up.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};
use podtap_tests::{Cgroup, Running, free_port, until};

use super::stage::get;
use crate::process;

/// An agent that taps the cgroup, and a collector that mirrors what it stores at the shadow, if there is one.
pub(super) fn tap(
    binaries: &Path,
    path: &Path,
    cgroup: &Cgroup,
    shadow: Option<u16>,
) -> Result<(Running, Running)> {
    let (port, admin) = (free_port()?, free_port()?);
    let settings = path.join("collector.yaml");
    let mirrors = shadow
        .map(|port| format!("mirrors: [{{name: shadow, target: 'http://127.0.0.1:{port}'}}]\n"))
        .unwrap_or_default();
    let text = format!(
        "listen: 127.0.0.1:{port}\nadmin: {{listen: '127.0.0.1:0'}}\nstore: {store}\n{mirrors}",
        store = path.join("table").display(),
    );
    fs::write(&settings, text).context("write the collector's settings")?;
    let mut collector = Command::new(binaries.join("tap-collector"));
    let collector = Running::start("collector", path, collector.arg("--config").arg(&settings))?;
    let settings = path.join("agent.yaml");
    let text = format!(
        "agent: bench\ncollector: 'http://127.0.0.1:{port}'\nadmin: {{listen: '127.0.0.1:{admin}'}}\n\
         targets: [{{name: primary, cgroup: {cgroup}}}]\n",
        cgroup = cgroup.path().display(),
    );
    fs::write(&settings, text).context("write the agent's settings")?;
    let mut agent = Command::new(binaries.join("tap-agent"));
    let agent = Running::start("agent", path, agent.arg("--config").arg(&settings))?;
    until("the agent is ready", || {
        get(admin, "/ready")
            .map_err(|error| error.to_string())
            .and_then(|answer| if answer.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(agent.log()) })
    })?;
    Ok((agent, collector))
}

pub(super) fn nginx(
    name: &str,
    path: &Path,
    configuration: &str,
    command: impl FnOnce(&str) -> Command,
) -> Result<Running> {
    let program = process::find("nginx").context("nginx is not installed")?;
    let file = path.join(format!("{name}.conf"));
    fs::write(&file, configuration).with_context(|| format!("write {name}.conf"))?;
    let mut command = command(&program.to_string_lossy());
    command.arg("-e").arg(path.join(format!("{name}.errors"))).arg("-p").arg(path).arg("-c").arg(&file);
    Running::start(name, path, &mut command)
}

fn common(path: &Path, name: &str, server: &str) -> String {
    format!(
        "daemon off; user root; worker_processes 1; pid {path}/{name}.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {path}; proxy_temp_path {path};\n\
         fastcgi_temp_path {path}; uwsgi_temp_path {path}; scgi_temp_path {path};\n{server}\n}}\n",
        path = path.display(),
    )
}

pub(super) fn shadow_configuration(path: &Path, port: u16) -> String {
    let server = format!(
        "server {{ listen 127.0.0.1:{port}; location / {{ return 200 shadow; }} location = /requests {{ stub_status; }} }}"
    );
    common(path, "shadow", &server)
}

/// A file, and not a `return`: nginx mirrors only what gets as far as a handler of content.
pub(super) fn primary_configuration(path: &Path, port: u16, shadow: Option<u16>) -> String {
    let (upstream, mirror, location) = match shadow {
        None => (String::new(), "", ""),
        Some(shadow) => (
            format!("upstream shadow {{ server 127.0.0.1:{shadow}; keepalive 32; }}"),
            "mirror /mirror;",
            "location = /mirror { internal; proxy_pass http://shadow$request_uri; proxy_http_version 1.1; \
             proxy_set_header Connection \"\"; }",
        ),
    };
    let server = format!(
        "{upstream}\nserver {{ listen 127.0.0.1:{port}; root {files}; location / {{ {mirror} }} {location} }}",
        files = path.join("files").display(),
    );
    common(path, "primary", &server)
}

pub(super) fn envoy_configuration(entrance: u16, primary: u16, shadow: Option<u16>) -> String {
    let cluster = |name: &str, port: u16| {
        serde_json::json!({
            "name": name, "connect_timeout": "1s", "type": "STATIC",
            "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [
                {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}]}]},
        })
    };
    let mut route = serde_json::json!({"cluster": "primary"});
    let mut clusters = vec![cluster("primary", primary)];
    if let Some(shadow) = shadow {
        route["request_mirror_policies"] = serde_json::json!([{"cluster": "shadow"}]);
        clusters.push(cluster("shadow", shadow));
    }
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let hosts = serde_json::json!([{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}]);
    let configuration = serde_json::json!({"static_resources": {
        "listeners": [{
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": entrance}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": {
                "@type": manager, "stat_prefix": "http", "codec_type": "HTTP1",
                "route_config": {"virtual_hosts": hosts},
                "http_filters": [{"name": "router", "typed_config": {"@type": router}}],
            }}]}],
        }],
        "clusters": clusters,
    }});
    configuration.to_string()
}
