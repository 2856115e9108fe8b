//! A bucket: `s3s-fs`, an S3 server that keeps objects as files of a directory, behind an [`S3Front`].

use std::{
    env, fs,
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::Command,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::s3_front::{Conduct, S3Front};
use crate::{Running, free_port, until};

const BUCKET: &str = "captures";
const ACCESS_KEY: &str = "podtap-tests";
/// Of a server on the loopback device, whose bucket is deleted with the test.
const SECRET_KEY: &str = "not-a-secret";

/// A running server with one bucket. Dropped, it ends and its objects are deleted.
#[derive(Debug)]
pub struct S3Server {
    front: S3Front,
    running: Option<Running>,
    port: u16,
    directory: TempDir,
}

impl S3Server {
    /// Starts a server with an empty bucket on the loopback device, and waits until it listens.
    pub fn start() -> Result<Self> {
        Self::start_at(Ipv4Addr::LOCALHOST)
    }

    /// The same with its front at another address of this machine.
    pub fn start_at(address: Ipv4Addr) -> Result<Self> {
        let directory = TempDir::with_prefix("podtap-s3-").context("make a directory for the S3 server")?;
        fs::create_dir_all(directory.path().join("buckets").join(BUCKET)).context("make the bucket")?;
        let port = free_port()?;
        let front = S3Front::start(address, (Ipv4Addr::LOCALHOST, port).into())?;
        let mut server = Self { front, running: None, port, directory };
        server.restart()?;
        Ok(server)
    }

    /// Whether the server is on this machine.
    pub fn is_installed() -> bool {
        program().is_ok()
    }

    /// Ends the server, as a crash would. Its objects stay.
    pub fn stop(&mut self) -> Result<()> {
        self.running.take().context("the S3 server does not run")?.kill()
    }

    /// Starts it again, on the same port and objects.
    pub fn restart(&mut self) -> Result<()> {
        let mut command = Command::new(program()?);
        command
            .args(["--host", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY])
            .arg(self.directory.path().join("buckets"))
            .env("RUST_LOG", "warn");
        let mut running = Running::start("s3", self.directory.path(), &mut command)?;
        until("the S3 server listens", || {
            running.check().map_err(|error| error.to_string())?;
            TcpStream::connect(("127.0.0.1", self.port)).map(drop).map_err(|error| error.to_string())
        })?;
        self.running = Some(running);
        Ok(())
    }

    /// `s3://<bucket>/<prefix>`
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// Where its objects of that prefix are, as files.
    pub fn folder(&self, prefix: &str) -> PathBuf {
        self.directory.path().join("buckets").join(BUCKET).join(prefix)
    }

    /// What a client's environment needs to use the bucket by way of the server's own front.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_by(&self.front)
    }

    /// The same by way of another front.
    pub fn environment_by(&self, front: &S3Front) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", front.address());
        [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    pub fn front(&self) -> &S3Front {
        &self.front
    }

    /// Another front at an address of this machine, which refuses everything that would change an object.
    pub fn read_only_front(&self, address: Ipv4Addr) -> Result<S3Front> {
        let front = S3Front::start(address, (Ipv4Addr::LOCALHOST, self.port).into())?;
        front.conduct(Conduct::ReadOnly);
        Ok(front)
    }
}

/// On PATH, or where `cargo xtask setup` puts it.
fn program() -> Result<PathBuf> {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cache")))
        .map(|cache| cache.join("podtap/bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(cache)
        .map(|directory| directory.join("s3s-fs"))
        .find(|program| program.exists())
        .context("s3s-fs is not installed: `cargo xtask setup` builds it")
}
