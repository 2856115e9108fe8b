//! kubectl, as a user would use it.

use std::{
    env,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};

use super::ClusterTool;

/// kubectl for one cluster, and perhaps as another user.
#[derive(Clone, Debug)]
pub struct Kubectl {
    kubeconfig: PathBuf,
    options: Vec<String>,
}

impl Kubectl {
    pub fn new(kubeconfig: &Path) -> Self {
        Self { kubeconfig: kubeconfig.to_owned(), options: Vec::new() }
    }

    /// The same with further options for each call, such as `--as` or `--namespace`.
    #[must_use]
    pub fn with(&self, options: &[&str]) -> Self {
        let mut kubectl = self.clone();
        kubectl.options.extend(options.iter().map(|&option| option.to_owned()));
        kubectl
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// What it prints; an error with what it complains of where it fails.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        self.finish(arguments, "")
    }

    /// `kubectl apply` of objects as YAML or JSON.
    pub fn apply(&self, objects: &str) -> Result<String> {
        self.finish(&["apply", "-f", "-"], objects)
    }

    /// Gives `input` to a command that reads `-`.
    pub fn finish(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut command = self.command(arguments);
        let Output { status, stdout, stderr } =
            feed(&mut command, input).with_context(|| format!("run {command:?}"))?;
        if !status.success() {
            bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&stderr).trim());
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }

    /// A command to go on with.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.env("KUBECONFIG", &self.kubeconfig).args(&self.options).args(arguments);
        command
    }
}

/// The one on PATH, or the one that comes with the cluster.
fn program() -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path =
        env::split_paths(&path).map(|directory| directory.join("kubectl")).find(|path| path.exists());
    let own = || Some(ClusterTool::binaries()?.join("kubectl")).filter(|path| path.exists());
    on_path.or_else(own).unwrap_or_else(|| "kubectl".into())
}

fn feed(command: &mut Command, input: &str) -> std::io::Result<Output> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    thread::scope(|scope| {
        // Beside the reading, so that neither pipe stops the other. One that ends early says why itself.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output()
    })
}
