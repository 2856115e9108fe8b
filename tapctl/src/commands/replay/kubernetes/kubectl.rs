//! kubectl: what its user has set up (contexts, logins, proxies) holds here, too.

use std::process::Stdio;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdout, Command},
    sync::mpsc,
};

/// Of a log or a list of pods.
const MAX_OUTPUT: u64 = 32 * 1024 * 1024;
const MAX_COMPLAINT: u64 = 4 * 1024;
/// What is longer is several lines. A line of a report is half as long.
const MAX_LINE: u64 = 16 * 1024;
/// Lines that wait to be looked at; kubectl waits for more room.
const LINES: usize = 64;
/// An API server that does not answer is asked again.
const REQUEST_TIMEOUT: &str = "--request-timeout=30s";

/// Runs kubectl in one namespace.
#[derive(Clone, Debug)]
pub(super) struct Kubectl {
    context: Option<String>,
    namespace: String,
}

/// Lines as they come; kubectl is killed on drop.
#[derive(Debug)]
pub(super) struct Following {
    _kubectl: Child,
    line_rx: mpsc::Receiver<String>,
}

impl Kubectl {
    pub(super) fn new(context: Option<String>, namespace: String) -> Self {
        Self { context, namespace }
    }

    /// What it prints. What it complains of is the error.
    pub(super) async fn run(&self, arguments: &[&str], input: Option<&[u8]>) -> Result<String> {
        let mut command = self.command(arguments);
        command.arg(REQUEST_TIMEOUT).stderr(Stdio::piped());
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = start(&mut command)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let write = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A kubectl that does not read to the end says why itself.
                let _ = stdin.write_all(input).await;
            }
        };
        let mut output = Vec::new();
        let mut complaint = Vec::new();
        let read = async {
            let mut stdout = stdout.context("kubectl's output")?.take(MAX_OUTPUT);
            stdout.read_to_end(&mut output).await.context("read what kubectl prints")
        };
        let listen = async {
            if let Some(mut stderr) = stderr {
                let _ = (&mut stderr).take(MAX_COMPLAINT).read_to_end(&mut complaint).await;
                // It must not wait for a reader.
                let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
            }
        };
        let ((), length, ()) = tokio::join!(write, read, listen);
        if length? as u64 == MAX_OUTPUT {
            bail!("kubectl {}: more than {MAX_OUTPUT} bytes", arguments.join(" "));
        }
        let status = child.wait().await.context("wait for kubectl")?;
        if !status.success() {
            let complaint = String::from_utf8_lossy(&complaint);
            bail!("kubectl {}: {}", arguments.join(" "), complaint.trim());
        }
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    pub(super) async fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.run(&[arguments, &["--output=json"]].concat(), None).await?;
        serde_json::from_str(&output).with_context(|| format!("kubectl {}: not JSON", arguments.join(" ")))
    }

    /// Creates objects; gives the server's own of each.
    pub(super) async fn create(&self, objects: &[Value]) -> Result<Vec<Value>> {
        let mut created = Vec::new();
        for object in objects {
            let text = serde_json::to_vec(object).context("write the object")?;
            let output = self.run(&["create", "--filename=-", "--output=json"], Some(&text)).await?;
            created.push(serde_json::from_str(&output).context("what kubectl created")?);
        }
        Ok(created)
    }

    /// Its lines, for as long as it runs.
    pub(super) fn follow(&self, arguments: &[&str]) -> Result<Following> {
        let mut command = self.command(arguments);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        let mut kubectl = start(&mut command)?;
        let stdout = kubectl.stdout.take().context("kubectl's output")?;
        let (line_tx, line_rx) = mpsc::channel(LINES);
        tokio::spawn(read_lines(stdout, line_tx));
        Ok(Following { _kubectl: kubectl, line_rx })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        if let Some(context) = &self.context {
            command.arg("--context").arg(context);
        }
        command.arg("--namespace").arg(&self.namespace).args(arguments);
        // Ctrl-C is for this program alone, which says what then becomes of the Job.
        command.process_group(0).kill_on_drop(true).stdout(Stdio::piped());
        command
    }
}

impl Following {
    /// None at the end. What has come is not lost where the caller does not wait for it.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.line_rx.recv().await
    }
}

/// Until kubectl, or whoever wants its lines, has ended.
async fn read_lines(stdout: ChildStdout, line_tx: mpsc::Sender<String>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut stdout).take(MAX_LINE).read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(line.trim_ascii_end()).into_owned();
        line.clear();
        if line_tx.send(text).await.is_err() {
            return;
        }
    }
}

fn start(command: &mut Command) -> Result<Child> {
    command.spawn().context("run kubectl, which --kubernetes needs on PATH")
}
