//! Debian's kernels for clouds, from the suites that have them: small, and with what is needed built in.
//!
//! Fetched by apt with lists and settings of its own, in the cache: the machine's package sources stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, workspace};

/// The package that depends on a suite's newest.
const PACKAGE: &str = "linux-image-cloud-amd64";

const MIRROR: &str = "http://deb.debian.org/debian";

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A kernel by the name under which it is asked for.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) name: &'static str,
    suite: &'static str,
}

/// From the oldest to the newest.
pub(super) const KERNELS: [Kernel; 4] = [
    Kernel { name: "5.10", suite: "bullseye" },
    Kernel { name: "6.1", suite: "bookworm" },
    Kernel { name: "6.12", suite: "trixie" },
    Kernel { name: "latest", suite: "sid" },
];

/// Those of these names, in their order.
pub(super) fn named(names: &[&str]) -> Result<Vec<&'static Kernel>> {
    names
        .iter()
        .map(|name| {
            KERNELS.iter().find(|kernel| kernel.name == *name).with_context(|| {
                let known: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
                format!("no kernel is called {name:?}: there are {}", known.join(", "))
            })
        })
        .collect()
}

impl Kernel {
    /// The kernel's image: the one that was fetched before, or a new one.
    pub(super) fn fetch(&self) -> Result<PathBuf> {
        let directory = workspace::cache_directory().join("vm").join(self.suite);
        if let Some(image) = image_in(&directory) {
            return Ok(image);
        }
        self.download(&directory)
            .with_context(|| format!("fetch Linux {} from Debian's {}", self.name, self.suite))?;
        image_in(&directory)
            .with_context(|| format!("no kernel came with {PACKAGE} of Debian's {}", self.suite))
    }

    fn download(&self, directory: &Path) -> Result<()> {
        if !Path::new(KEYRING).is_file() {
            bail!("{KEYRING} is missing: install debian-archive-keyring");
        }
        let apt = directory.join("apt");
        for part in ["state/lists/partial", "cache/archives/partial", "parts"] {
            fs::create_dir_all(apt.join(part)).context("make apt's directories")?;
        }
        let path = |part: &str| apt.join(part).display().to_string();
        fs::write(
            apt.join("sources.list"),
            format!("deb [arch=amd64 signed-by={KEYRING}] {MIRROR} {} main\n", self.suite),
        )
        .context("write the list of sources")?;
        let settings = [
            ("Dir::Etc::sourcelist", path("sources.list")),
            ("Dir::Etc::sourceparts", path("parts")),
            ("Dir::Etc::preferences", "/dev/null".to_owned()),
            ("Dir::Etc::preferencesparts", path("parts")),
            ("Dir::State", path("state")),
            ("Dir::State::status", "/dev/null".to_owned()),
            ("Dir::Cache", path("cache")),
            ("Acquire::Languages", "none".to_owned()),
            ("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false".to_owned()),
            ("APT::Architecture", "amd64".to_owned()),
            // Root's cache is not for apt's own user.
            ("APT::Sandbox::User", "root".to_owned()),
        ];
        let settings: String =
            settings.iter().map(|(name, value)| format!("{name} \"{value}\";\n")).collect();
        fs::write(apt.join("apt.conf"), settings).context("write apt's settings")?;
        let with_own_settings = |program: &str| {
            let mut command = Command::new(program);
            command.env("APT_CONFIG", apt.join("apt.conf")).env("LC_ALL", "C").current_dir(directory);
            command
        };

        process::run(with_own_settings("apt-get").args(["update", "-q"]))?;
        let depends_on = |package: &str, prefix: &str| {
            let depends = process::output(with_own_settings("apt-cache").args(["depends", package]))?;
            let mut needed = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
            needed.find(|needed| needed.starts_with(prefix)).map(str::to_owned)
        };
        let package =
            depends_on(PACKAGE, "linux-image-").with_context(|| format!("{PACKAGE} depends on no kernel"))?;
        // In newer suites the image itself is in a package of its own.
        let package = depends_on(&package, "linux-binary-").unwrap_or(package);
        process::run(with_own_settings("apt-get").args(["download", "-q", &package]))?;
        let archive = files(directory, |name| name.starts_with("linux-") && name.ends_with(".deb"))
            .pop()
            .context("apt downloaded nothing")?;
        let unpacked = directory.join("unpacked");
        process::run(Command::new("dpkg").arg("-x").arg(&archive).arg(&unpacked))?;
        let (image, name) = unpacked_image(&unpacked).context("the package holds no kernel image")?;
        fs::rename(&image, directory.join(name)).context("keep the image")?;
        // The rest is modules and lists, and large.
        for part in [&unpacked, &apt] {
            fs::remove_dir_all(part).with_context(|| format!("remove {}", part.display()))?;
        }
        fs::remove_file(&archive).context("remove the package")
    }
}

/// The image in an unpacked package, and the name to keep it by: in /boot, or with the modules of its release.
fn unpacked_image(unpacked: &Path) -> Option<(PathBuf, String)> {
    if let Some(image) = files(&unpacked.join("boot"), is_image).pop() {
        let name = image.file_name()?.to_str()?.to_owned();
        return Some((image, name));
    }
    let modules = files(&unpacked.join("usr/lib/modules"), |_| true).pop()?;
    let image = modules.join("vmlinuz");
    let release = modules.file_name()?.to_str()?;
    image.is_file().then(|| (image, format!("vmlinuz-{release}")))
}

fn image_in(directory: &Path) -> Option<PathBuf> {
    files(directory, is_image).pop()
}

fn is_image(name: &str) -> bool {
    name.starts_with("vmlinuz-")
}

/// The files of a directory whose names fit, in order.
fn files(directory: &Path, fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(&fits))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}
