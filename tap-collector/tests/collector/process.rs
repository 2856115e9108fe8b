//! A collector in a process of its own: one that can be killed, and has an environment of its own.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{get, until};

#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Process {
    pub(crate) fn start_with(store: &Path, change: impl FnOnce(&mut Command)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tap-collector"));
        command
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--commit-interval", "10ms", "--log-format", "json", "--store"])
            .arg(store)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        change(&mut command);
        let mut child = command.spawn().unwrap();
        // Its first line names the ports; the rest goes on to this test's output.
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut first = String::new();
        log.read_line(&mut first).unwrap();
        let address = |name: &str| {
            let (_, rest) = first.split_once(&format!("\"{name}\":\"")).expect(&first);
            rest.split('"').next().unwrap().parse().unwrap()
        };
        let (grpc, admin) = (address("grpc"), address("admin"));
        std::thread::spawn(move || log.lines().map_while(Result::ok).for_each(|line| eprintln!("{line}")));
        Self { child, grpc, admin }
    }

    pub(crate) async fn until_ready(&self) {
        until("ready", async || get(self.admin, "/ready").await.0 == 200).await;
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for a proper end.
    pub(crate) async fn terminate(mut self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        until("its end", async || self.child.try_wait().unwrap().is_some()).await;
        assert!(self.child.wait().unwrap().success());
    }

    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let (_, metrics) = get(self.admin, "/metrics").await;
        metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
