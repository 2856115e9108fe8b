//! `cargo xtask image`: container images of the programs, FROM scratch, without a container engine.
//!
//! - `--profile release`: one static binary in each image. What deploy/images/*/Dockerfile builds with an engine.
//! - `--profile dev`: the binaries of the tests, stripped, with the shared libraries that they need, so that a test in a
//!   cluster takes no second build.
//!
//! The same binaries give the same archive to the byte: entries are sorted, times and owners are fixed.

mod archive;
mod binaries;
mod layer;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use serde_json::json;

pub(crate) use self::binaries::Profile;
use self::{archive::Image, layer::Layer};
use crate::{process::find, workspace::Workspace};

/// Whom a container without a user of its own runs as: the collector and tapctl need no privilege.
const NOBODY: u32 = 65_532;

/// Where distributions keep the certificates of the authorities that TLS trusts.
const CERTIFICATES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Program {
    Agent,
    Collector,
    Tapctl,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Static release binaries, or those of the tests with their libraries.
    #[arg(long, value_enum, default_value_t = Profile::Release)]
    profile: Profile,
    /// Where the archives go; target/images without.
    #[arg(long, value_name = "DIRECTORY")]
    output: Option<PathBuf>,
    /// Pack the binaries that are there, without building them.
    #[arg(long)]
    no_build: bool,
    /// Which images; all without.
    #[arg(value_enum)]
    programs: Vec<Program>,
}

/// Builds the binaries, then packs them.
pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let Options { profile, output, no_build, programs } = options;
    let programs = if programs.is_empty() { Program::value_variants() } else { programs };
    if !no_build {
        binaries::build(workspace, *profile, programs)?;
    }
    for archive in pack(workspace, *profile, programs, output.as_deref())? {
        println!("{}", archive.display());
    }
    Ok(())
}

/// Packs binaries that are built already; the archives, in the order of `programs`. Their images are named
/// [`Program::image`].
pub(crate) fn pack(
    workspace: &Workspace,
    profile: Profile,
    programs: &[Program],
    output: Option<&Path>,
) -> Result<Vec<PathBuf>> {
    let directory =
        output.map_or_else(|| binaries::target_directory(workspace).join("images"), Path::to_owned);
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let mut archives = Vec::new();
    for program in programs {
        let image = program.pack(workspace, profile)?;
        let path = directory.join(format!("{}.tar", program.short_name()));
        // Beside it first: what looks like an archive is a whole one.
        let mut file = tempfile::NamedTempFile::new_in(&directory).context("create the archive")?;
        image.write(file.as_file_mut())?;
        // Others may read it, as any file that a build makes.
        let permissions = fs::Permissions::from_mode(0o644);
        file.as_file().set_permissions(permissions).context("let others read the archive")?;
        file.persist(&path).with_context(|| format!("write {}", path.display()))?;
        archives.push(path);
    }
    Ok(archives)
}

impl Program {
    /// The binary's name, which is the package's.
    fn binary(self) -> &'static str {
        match self {
            Self::Agent => "tap-agent",
            Self::Collector => "tap-collector",
            Self::Tapctl => "tapctl",
        }
    }

    fn short_name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Collector => "collector",
            Self::Tapctl => "tapctl",
        }
    }

    /// The image's name, as the chart's defaults have it, with the registry that is meant where none is named.
    pub(crate) fn image(self) -> String {
        format!("docker.io/podtap/{}:{}", self.short_name(), env!("CARGO_PKG_VERSION"))
    }

    fn pack(self, workspace: &Workspace, profile: Profile) -> Result<Image> {
        let mut layer = Layer::default();
        layer.directory("tmp", 0o1777);
        layer.file("etc/passwd", 0o644, passwd().into_bytes());
        layer.file("etc/group", 0o644, format!("root:x:0:\nnonroot:x:{NOBODY}:\n").into_bytes());
        // Without it, glibc asks the DNS for what is in /etc/hosts.
        layer.file("etc/nsswitch.conf", 0o644, b"hosts: files dns\n".to_vec());
        binaries::add(workspace, profile, self.binary(), &mut layer)?;
        if self == Self::Collector {
            layer.file(CERTIFICATES[0].trim_start_matches('/'), 0o644, certificates()?);
        }
        let user = match self {
            // Kubernetes gives added capabilities to root alone; deploy/helm takes all others away.
            Self::Agent => 0,
            Self::Collector | Self::Tapctl => NOBODY,
        };
        let config = json!({
            "Entrypoint": [format!("/{}", self.binary())],
            "User": format!("{user}:{user}"),
            "WorkingDir": "/",
            "Labels": {
                "org.opencontainers.image.title": self.binary(),
                "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        });
        Ok(Image { name: self.image(), config, layer: layer.finish()? })
    }
}

fn passwd() -> String {
    format!("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:{NOBODY}:{NOBODY}:nonroot:/tmp:/sbin/nologin\n")
}

/// This machine's bundle of authorities, for object stores behind TLS.
fn certificates() -> Result<Vec<u8>> {
    let path = CERTIFICATES
        .iter()
        .find(|path| Path::new(path).exists())
        .context("no bundle of certificate authorities here: install ca-certificates")?;
    fs::read(path).with_context(|| format!("read {path}"))
}

/// `strip`, where there is one: of a binary for tests, debug information is most.
fn strip() -> Option<PathBuf> {
    find("strip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_asks_for_these_images() {
        let chart = Workspace::find().root().join("deploy/helm/podtap");
        let read = |name: &str| -> serde_json::Value {
            serde_yaml_ng::from_str(&fs::read_to_string(chart.join(name)).unwrap()).unwrap()
        };
        let (metadata, values) = (read("Chart.yaml"), read("values.yaml"));
        for program in [Program::Agent, Program::Collector] {
            let repository = values[program.short_name()]["image"]["repository"].as_str().unwrap();
            let version = metadata["appVersion"].as_str().unwrap();
            assert_eq!(program.image(), format!("docker.io/{repository}:{version}"));
        }
    }
}
