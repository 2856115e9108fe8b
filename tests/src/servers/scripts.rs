//! A Python and a Node server, both of which answer alike; see `tests/programs`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::{Cgroup, Running, until};

/// `http.server` of Python's standard library, with a thread for each connection.
#[derive(Debug)]
pub struct PythonServer(ScriptServer);

/// `node:http`.
#[derive(Debug)]
pub struct NodeServer(ScriptServer);

/// A program that prints `listening on <port>`.
#[derive(Debug)]
struct ScriptServer {
    // Before the directory: it writes its log there.
    _running: Running,
    _directory: TempDir,
    port: u16,
}

impl PythonServer {
    pub fn start(cgroup: &Cgroup) -> Result<Self> {
        ScriptServer::start("python3", "server.py", cgroup).map(Self)
    }

    pub fn url(&self, path: &str) -> String {
        self.0.url(path)
    }
}

impl NodeServer {
    pub fn start(cgroup: &Cgroup) -> Result<Self> {
        ScriptServer::start("node", "server.mjs", cgroup).map(Self)
    }

    pub fn url(&self, path: &str) -> String {
        self.0.url(path)
    }
}

impl ScriptServer {
    fn start(interpreter: &str, script: &str, cgroup: &Cgroup) -> Result<Self> {
        let directory = TempDir::with_prefix("podtap-server-").context("make a directory for a server")?;
        let mut command: Command = cgroup.command(interpreter);
        command.arg(program(script));
        let mut running = Running::start(script, directory.path(), &mut command)?;
        let port = until(&format!("{script} listens"), || {
            running.check().map_err(|error| error.to_string())?;
            let log = running.log();
            let port = log.lines().find_map(|line| line.strip_prefix("listening on ")?.parse().ok());
            port.ok_or(log)
        })?;
        Ok(Self { _running: running, _directory: directory, port })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

/// A script of `tests/programs`, in the clone whose tests run: clones may share a target directory.
pub fn program(name: &str) -> PathBuf {
    let package = env::var_os("CARGO_MANIFEST_DIR").expect("Cargo runs the tests");
    Path::new(&package).join("programs").join(name)
}
