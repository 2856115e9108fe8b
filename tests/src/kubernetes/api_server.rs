//! A Kubernetes API server of a test's own: etcd and kube-apiserver, without nodes or controllers.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, bail};

use super::{ClusterTool, Kubectl, build_hint};
use crate::skip;

/// In the name of each state directory, before the pid of the process to which it belongs.
const PREFIX: &str = "podtap-api-";

/// Why Kubernetes can't be had on this machine, where `cargo xtask test` has found that.
const WITHOUT_KUBERNETES: &str = "PODTAP_WITHOUT_KUBERNETES";

/// A running API server on a free port of 127.0.0.1, with all that it stored removed on drop.
///
/// It needs no root. No controllers run: there are no service accounts, owners are not collected, and what a test
/// creates stays as it is. The credentials in its kubeconfig may do everything; `--as` makes others.
#[derive(Debug)]
pub struct ApiServer {
    tool: ClusterTool,
}

impl ApiServer {
    /// Starts one and waits until it is ready, which takes about six seconds.
    pub fn start() -> Result<Self> {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        if ClusterTool::binaries().is_none() {
            bail!(build_hint());
        }
        end_orphans()?;
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("{PREFIX}{}-{serial}", process::id()));
        let server = Self { tool: ClusterTool::new(&directory)? };
        server.tool.run(&["api", "up"], [""; 0]).context("start an API server")?;
        Ok(server)
    }

    /// The same; where Kubernetes is not built, the test is skipped, or fails where `CI` is set, unless it was found that
    /// this machine can't build it.
    pub fn start_or_skip() -> Option<Self> {
        if let Some(why) = env::var_os(WITHOUT_KUBERNETES) {
            eprintln!("not run: {}", why.display());
            return None;
        }
        if ClusterTool::binaries().is_none() {
            skip(build_hint());
            return None;
        }
        Some(Self::start().expect("an API server starts"))
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.tool.directory().join("kubeconfig")
    }

    pub fn kubectl(&self) -> Kubectl {
        Kubectl::new(&self.kubeconfig())
    }

    /// Ends the API server at once, as a crash would; etcd keeps what was stored.
    pub fn kill(&self) -> Result<()> {
        self.tool.run(&["kill"], ["kube-apiserver"]).map(drop)
    }

    /// Starts it again on the same port, after [`ApiServer::kill`]. It is not ready at once.
    pub fn revive(&self) -> Result<()> {
        self.tool.run(&["revive"], ["kube-apiserver"]).map(drop)
    }

    /// Makes etcd forget everything but the newest state. A watch from an older version is answered with
    /// 410 Gone, once [`ApiServer::kill`] and [`ApiServer::revive`] have emptied the API server's own cache too.
    pub fn compact(&self) -> Result<()> {
        let ready = self.read("ready")?;
        let etcd = ready.trim().rsplit(' ').next().context("the address of etcd")?.to_owned();
        let etcdctl = |arguments: &[&str]| -> Result<String> {
            let mut command = Command::new("etcdctl");
            command.env("ETCDCTL_API", "3").arg("--endpoints").arg(&etcd).args(arguments);
            let output = command.output().with_context(|| format!("run {command:?}"))?;
            if !output.status.success() {
                bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            }
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        let status = etcdctl(&["get", "/", "--limit=1", "--write-out=fields"])?;
        let revision = status
            .lines()
            .find_map(|line| line.strip_prefix("\"Revision\" : "))
            .with_context(|| format!("no revision in {status}"))?;
        etcdctl(&["compact", "--physical", revision.trim()]).map(drop)
    }

    /// A line of JSON for each request that it got, in their order: `user.username`, `verb`, `objectRef.resource`,
    /// `requestURI` and so on. Lists and watches are told apart by `verb`.
    pub fn audit(&self) -> Result<String> {
        self.read("audit.log")
    }

    fn read(&self, name: &str) -> Result<String> {
        let path = self.tool.directory().join(name);
        fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Err(error) = self.tool.run(&["api", "down"], [""; 0]) {
            eprintln!("the API server in {} stays behind: {error:#}", self.tool.directory().display());
        }
    }
}

/// Ends the servers of processes that were killed before they could do it.
fn end_orphans() -> Result<()> {
    let temporary = env::temp_dir();
    for entry in fs::read_dir(&temporary).with_context(|| format!("list {}", temporary.display()))? {
        let path = entry.context("read a directory entry")?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(owner) = owner.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        if !Path::new("/proc").join(owner.to_string()).exists() {
            // Another test may do the same at this moment.
            let _ = ClusterTool::new(&path)?.run(&["api", "down"], [""; 0]);
        }
    }
    Ok(())
}
