//! Servers in Python and Node; see `tests/programs`.

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

/// A shop with customers, sessions and cards, in Python.
#[derive(Debug)]
pub struct Shop(ScriptServer);

/// A program that prints `listening on <port>`.
#[derive(Debug)]
struct ScriptServer {
    // Before the directory: it writes its log there.
    running: Running,
    _directory: TempDir,
    port: u16,
}

impl PythonServer {
    pub fn start(cgroup: &Cgroup) -> Result<Self> {
        ScriptServer::start("server.py", cgroup.command("python3"), &[]).map(Self)
    }

    pub fn url(&self, path: &str) -> String {
        self.0.url(path)
    }
}

impl NodeServer {
    pub fn start(cgroup: &Cgroup) -> Result<Self> {
        ScriptServer::start("server.mjs", cgroup.command("node"), &[]).map(Self)
    }

    pub fn url(&self, path: &str) -> String {
        self.0.url(path)
    }
}

impl Shop {
    pub fn start(cgroup: &Cgroup, data: &Path) -> Result<Self> {
        ScriptServer::start("shop.py", cgroup.command("python3"), &[data]).map(Self)
    }

    pub fn start_untapped(data: &Path) -> Result<Self> {
        ScriptServer::start("shop.py", Command::new("python3"), &[data]).map(Self)
    }

    pub fn url(&self, path: &str) -> String {
        self.0.url(path)
    }

    /// The bodies of its answers, in the order in which it gave them.
    pub fn answers(&self) -> Vec<String> {
        let log = self.0.running.log();
        log.lines().filter_map(|line| line.strip_prefix("answer ")).map(str::to_owned).collect()
    }
}

impl ScriptServer {
    fn start(script: &str, mut command: Command, arguments: &[&Path]) -> Result<Self> {
        let directory = TempDir::with_prefix("podtap-server-").context("make a directory for a server")?;
        command.arg(program(script)).args(arguments);
        let mut running = Running::start(script, directory.path(), &mut command)?;
        let port = until(&format!("{script} listens"), || {
            running.check().map_err(|error| error.to_string())?;
            let log = running.log();
            let port = log.lines().find_map(|line| line.strip_prefix("listening on ")?.parse().ok());
            port.ok_or(log)
        })?;
        Ok(Self { running, _directory: directory, port })
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
