//! What the demo needs of the machine, and what of it is missing.

use std::fs;

use anyhow::{Context as _, Result, bail};

/// The oldest kernel whose programs and ring buffers ours can use.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Bits of `CapEff` in /proc/self/status (include/uapi/linux/capability.h).
const CAPABILITIES: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// Checks what no privilege can replace: the kernel, and a mount of cgroup2.
pub(super) fn check_kernel() -> Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version")?;
    let release = release.trim();
    match version(release) {
        Some(version) if version >= OLDEST_KERNEL => println!("  Linux {release} (5.10 or newer)"),
        _ => bail!("Linux {release}: 5.10 or newer is needed"),
    }
    let mount = podtap_tests::cgroup_mount()?;
    println!("  cgroup2 at {}", mount.display());
    Ok(())
}

/// Whether this process may load programs and make cgroups. Root without the capabilities, as in many
/// containers, is an error: sudo would not help.
pub(super) fn has_privileges() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let missing = missing_capabilities(&status);
    let root = nix::unistd::geteuid().is_root();
    if root && !missing.is_empty() {
        bail!("root here lacks {}: run on the host, or give the container these", missing.join(", "));
    }
    let mount = podtap_tests::cgroup_mount()?;
    let writable = nix::unistd::access(&mount, nix::unistd::AccessFlags::W_OK).is_ok();
    if root && !writable {
        bail!("{} is read-only: run on the host, or mount cgroup2 writable", mount.display());
    }
    Ok(missing.is_empty() && writable)
}

fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok())
        .unwrap_or(0);
    CAPABILITIES.iter().filter(|(_, bit)| effective >> bit & 1 == 0).map(|(name, _)| *name).collect()
}

/// "6.1.0-13-amd64" → (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_says() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.10.0"), Some((5, 10)));
        assert_eq!(version("unknown"), None);
        assert_eq!(missing_capabilities("CapEff:\t000001ffffffffff\n"), Vec::<&str>::new());
        assert_eq!(missing_capabilities("CapEff:\t0000000000001000\n"), ["CAP_PERFMON", "CAP_BPF"]);
    }
}
