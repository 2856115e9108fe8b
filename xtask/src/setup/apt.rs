//! Packages of Debian and Ubuntu.

use std::{process::Command, sync::Once};

use anyhow::{Context as _, Result, bail};

use crate::process::{as_root, find, output, run};

/// Installs without questions, and without starting or enabling the services that come along: a machine
/// that wanted a test must not end up with a web server on port 80.
///
/// `policy-rc.d` is the distribution's own switch for that; one that is there already is left alone. Nothing
/// is removed to make room: Debian's compiler, for one, would push out Debian's rustup.
const INSTALL: &str = r#"install packages, start no service
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 1' INT TERM
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
fi
had_nginx=no; [ -e /usr/sbin/nginx ] && had_nginx=yes
apt-get install -y --no-install-recommends --no-remove "$@"
if [ "$had_nginx" = no ] && [ -e /usr/sbin/nginx ] && command -v systemctl > /dev/null; then
    systemctl disable nginx || true
fi
"#;

/// Whether this machine has apt.
pub(super) fn is_here() -> bool {
    find("apt-get").is_some()
}

/// Installs one package of each choice: the first that the distribution offers.
pub(super) fn install(choices: &[&[&str]]) -> Result<()> {
    if !is_here() {
        let names: Vec<_> = choices.iter().filter_map(|choice| choice.first().copied()).collect();
        bail!("there is no apt-get here: install these by hand, then run this again: {}", names.join(", "));
    }
    refresh()?;
    let mut packages = Vec::new();
    for choice in choices {
        match choice.iter().find(|package| offers(package)) {
            Some(package) => packages.push(*package),
            None => bail!("no package source of this machine has {}", choice.join(" or ")),
        }
    }
    run(as_root("sh")?.arg("-euc").arg(format!(": {INSTALL}")).arg("install").args(&packages))
        .with_context(|| format!("install {}", packages.join(", ")))
}

/// Reads the lists of the package sources, once in a run.
pub(super) fn refresh() -> Result<()> {
    static REFRESHED: Once = Once::new();
    if !REFRESHED.is_completed() {
        run(as_root("apt-get")?.args(["update", "-q"])).context("read the package lists")?;
        REFRESHED.call_once(|| {});
    }
    Ok(())
}

/// Whether a package can be installed.
pub(super) fn offers(package: &str) -> bool {
    candidate(package).is_some()
}

/// The version of a package that would be installed.
pub(super) fn candidate(package: &str) -> Option<String> {
    let policy = output(Command::new("apt-cache").args(["policy", package]).env("LC_ALL", "C"))?;
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}
