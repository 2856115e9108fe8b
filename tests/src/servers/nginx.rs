//! nginx, with a configuration of one's own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{Cgroup, Running, free_port, until};

/// What its log says of each request, one a line.
const LOG_FORMAT: &str = "$status $request_length $bytes_sent $connection $connection_requests $request";

/// A running nginx in a directory of its own. It serves, on 127.0.0.1 and `[::1]`:
///
/// | path | answer |
/// |---|---|
/// | `/files/…` | what was put by [`Nginx::put`]; text is compressed for who accepts gzip |
/// | `/json` | a JSON document, whatever the method; a request body is read and discarded |
/// | `/upload` | `stored`, but only after the whole body was read: nginx passes it on to its own `/inner` |
/// | `/login` | an answer with a cookie |
/// | `/status/204`, `/404`, `/500` | an answer of that status |
/// | `/health` | `ok` |
#[derive(Debug)]
pub struct Nginx {
    // Before the directory: it writes there until it ends.
    running: Running,
    directory: TempDir,
    port: u16,
}

impl Nginx {
    /// Starts nginx in `cgroup`, and waits until it answers.
    pub fn start(cgroup: &Cgroup) -> Result<Self> {
        Self::launch(|program| cgroup.command(program))
    }

    /// Starts nginx in the cgroup of this process.
    pub fn start_untapped() -> Result<Self> {
        Self::launch(|program| Command::new(program))
    }

    fn launch(command: impl FnOnce(&str) -> Command) -> Result<Self> {
        let directory = TempDir::with_prefix("podtap-nginx-").context("make a directory for nginx")?;
        let path = directory.path();
        fs::create_dir(path.join("files")).context("make nginx's directory for files")?;
        fs::create_dir(path.join("temporary")).context("make nginx's directory for temporary files")?;
        let port = free_port()?;
        fs::write(path.join("nginx.conf"), configuration(path, port)).context("write nginx.conf")?;
        let mut command = command(&program());
        command
            .arg("-e")
            .arg(path.join("error.log"))
            .arg("-p")
            .arg(path)
            .arg("-c")
            .arg(path.join("nginx.conf"));
        let running = Running::start("nginx", path, &mut command)?;
        let mut nginx = Self { running, directory, port };
        until("nginx answers", || {
            nginx.running.check().map_err(|error| error.to_string())?;
            nginx.answers().map_err(|error| format!("{error}\n{}", nginx.errors()))
        })?;
        Ok(nginx)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// On IPv4.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// `http://127.0.0.1:<port><path>`
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// `http://[::1]:<port><path>`
    pub fn url_v6(&self, path: &str) -> String {
        format!("http://[::1]:{}{path}", self.port)
    }

    pub fn running(&mut self) -> &mut Running {
        &mut self.running
    }

    /// Puts a file at `/files/<name>`.
    pub fn put(&self, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
        fs::write(self.directory.path().join("files").join(name), content)
            .with_context(|| format!("write {name}"))
    }

    /// The lines of its access log but those of [`Nginx::start`]'s own question: one a request, as
    /// `status request_bytes response_bytes connection requests_on_it METHOD target HTTP/x.y`.
    pub fn requests(&self) -> Vec<String> {
        let log = fs::read(self.directory.path().join("access.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| !line.contains(" GET /health ")).map(str::to_owned).collect()
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.directory.path().join("error.log")).unwrap_or_default()
    }

    fn answers(&self) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        if answer.ends_with("ok\n") { Ok(()) } else { Err(std::io::Error::other(answer)) }
    }
}

/// Debian installs it where a user's PATH does not reach.
fn program() -> String {
    let fixed = "/usr/sbin/nginx";
    if Path::new(fixed).exists() { fixed.to_owned() } else { "nginx".to_owned() }
}

fn configuration(directory: &Path, port: u16) -> String {
    let directory = directory.display();
    // As root, workers would become a user who may not read the directory.
    let user = if nix::unistd::geteuid().is_root() { "user root;" } else { "" };
    format!(
        r#"
daemon off;
{user}
worker_processes 2;
worker_rlimit_nofile 4096;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 2048; }}
http {{
    log_format line '{LOG_FORMAT}';
    access_log {directory}/access.log line;
    client_body_temp_path {directory}/temporary;
    proxy_temp_path {directory}/temporary;
    fastcgi_temp_path {directory}/temporary;
    uwsgi_temp_path {directory}/temporary;
    scgi_temp_path {directory}/temporary;
    client_max_body_size 0;
    keepalive_requests 1000000;
    lingering_timeout 5s;
    sendfile on;
    tcp_nopush on;
    types {{ text/html html; text/plain txt; application/json json; }}
    default_type application/octet-stream;
    gzip on;
    if_modified_since before;
    gzip_min_length 1;
    gzip_types text/plain application/json;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        listen [::1]:{port} backlog=4096;
        location /files/ {{ alias {directory}/files/; }}
        location = /json {{
            default_type application/json;
            return 200 '{{"method":"$request_method","user":{{"email":"jane.doe@example.com","card":"4111 1111 1111 1111"}},"items":[1,2,3]}}\n';
        }}
        location = /upload {{
            proxy_pass http://127.0.0.1:{port}/inner;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
        location = /inner {{ default_type text/plain; return 200 "stored\n"; }}
        location = /health {{ default_type text/plain; return 200 "ok\n"; }}
        location = /login {{
            default_type text/plain;
            add_header Set-Cookie "session=s3cr3t-session-value; HttpOnly";
            return 200 "welcome\n";
        }}
        location = /status/204 {{ return 204; }}
        location = /status/500 {{ default_type text/plain; return 500 "broken\n"; }}
        location / {{ default_type text/plain; return 404 "no such page\n"; }}
    }}
}}
"#
    )
}
