//! The images that the tests use: Podtap's own, and one with the servers, clients and tools of the tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    image::{self, Profile, Program},
    process::{find, output, run},
    workspace::Workspace,
};

/// What the tests' pods run; `IfNotPresent`, as it is in no registry.
const NAME: &str = "podtap/e2e:1";

/// Paths of image archives.
#[derive(Debug)]
pub(super) struct Images(Vec<PathBuf>);

impl Images {
    /// From the binaries that are built.
    pub(super) fn build(workspace: &Workspace) -> Result<Self> {
        let programs = [Program::Agent, Program::Collector, Program::Tapctl];
        let mut archives = image::pack(workspace, Profile::Dev, &programs, None)?;
        let directory = archives.first().and_then(|archive| archive.parent()).context("no image was made")?;
        let archive = directory.join("e2e.tar");
        tests(workspace, &archive)?;
        archives.push(archive);
        Ok(Self(archives))
    }

    pub(super) fn archives(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(PathBuf::as_path)
    }
}

/// nginx, Python, curl and bpftool of this machine, and a shell.
fn tests(workspace: &Workspace, archive: &Path) -> Result<()> {
    let mut command = tool(workspace, archive);
    command.arg(NAME).args(["--busybox", "--entrypoint", "/bin/sh"]);
    for program in ["nginx", "curl", "bpftool"] {
        let path = find(program)
            .with_context(|| format!("{program} is not here; `cargo xtask setup` installs it"))?;
        let path = fs::canonicalize(&path).with_context(|| format!("find {}", path.display()))?;
        command.arg("--file").arg(format!("{}:/usr/bin/{program}", path.display()));
    }
    let (python, library) = python()?;
    command.arg("--file").arg(format!("{python}:{python}")).arg("--file").arg(format!("{library}:{library}"));
    if python != "/usr/bin/python3" {
        command.arg("--link").arg(format!("/usr/bin/python3={python}"));
    }
    command.arg("--file").arg(format!("{}:/programs", workspace.root().join("tests/programs").display()));
    run(&mut command).context("make the image of the tests")
}

/// The interpreter and its library: the distribution's, where there is one, as what comes first on PATH may be a script.
fn python() -> Result<(String, String)> {
    let system = Path::new("/usr/bin/python3");
    let python = if system.exists() { system } else { Path::new("python3") };
    let script =
        "import os, sys; print(os.path.realpath(sys.executable)); print(os.path.dirname(os.__file__))";
    let said = output(Command::new(python).args(["-c", script])).context("ask python3 where it is")?;
    let (interpreter, library) = said.split_once('\n').context("python3 and its library")?;
    Ok((interpreter.to_owned(), library.to_owned()))
}

fn tool(workspace: &Workspace, archive: &Path) -> Command {
    let mut command = Command::new(workspace.root().join("tests/cluster/mkimage.py"));
    command.arg("--output").arg(archive);
    command
}
