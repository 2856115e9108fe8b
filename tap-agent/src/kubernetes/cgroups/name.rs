//! What the names of cgroups tell.

/// Longest UID or hash of a pod.
const MAX_UID: usize = 64;

/// Whether a kubelet keeps its pods below a cgroup of this name: `kubepods`, with `.slice` or below another slice.
pub(super) fn is_kubelets_root(name: &str) -> bool {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    name == "kubepods" || name.ends_with("-kubepods")
}

/// Whether it is that of a QoS class.
pub(super) fn is_qos_class(name: &str) -> bool {
    match name.strip_suffix(".slice") {
        None => matches!(name, "burstable" | "besteffort"),
        Some(slice) => slice.ends_with("kubepods-burstable") || slice.ends_with("kubepods-besteffort"),
    }
}

/// The UID of the pod that has a cgroup of this name; of a static pod, its hash.
pub(super) fn pod_of(name: &str) -> Option<String> {
    let uid = match name.strip_suffix(".slice") {
        // In a slice's name `-` stands between the slices above it.
        Some(slice) => {
            let (above, uid) = slice.rsplit_once("-pod")?;
            above.contains("kubepods").then(|| uid.replace('_', "-"))?
        }
        None => name.strip_prefix("pod")?.to_owned(),
    };
    let is_uid = (1..=MAX_UID).contains(&uid.len())
        && uid.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    is_uid.then_some(uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "2b5ed1d0-6c1a-4b3e-9f10-0123456789ab";

    #[test]
    fn every_kubelets_names_are_read() {
        for name in [
            "pod2b5ed1d0-6c1a-4b3e-9f10-0123456789ab",
            "kubepods-pod2b5ed1d0_6c1a_4b3e_9f10_0123456789ab.slice",
            "kubepods-burstable-pod2b5ed1d0_6c1a_4b3e_9f10_0123456789ab.slice",
            "kubepods-besteffort-pod2b5ed1d0_6c1a_4b3e_9f10_0123456789ab.slice",
            "kubelet-kubepods-burstable-pod2b5ed1d0_6c1a_4b3e_9f10_0123456789ab.slice",
        ] {
            assert_eq!(pod_of(name).as_deref(), Some(UID), "{name}");
        }
        // A static pod's.
        let hash = "0123456789abcdef0123456789abcdef";
        assert_eq!(pod_of(&format!("kubepods-burstable-pod{hash}.slice")).as_deref(), Some(hash));
        assert_eq!(pod_of(&format!("pod{hash}")).as_deref(), Some(hash));
    }

    #[test]
    fn what_is_no_pod_is_none() {
        for name in [
            "kubepods.slice",
            "kubepods-burstable.slice",
            "burstable",
            "pods",
            "pod",
            "podman",
            "machine-pod1234.slice",
            "system.slice",
            "cri-containerd-0123456789abcdef.scope",
        ] {
            assert_eq!(pod_of(name), None, "{name}");
        }
    }

    #[test]
    fn roots_and_classes_are_told_apart() {
        for root in ["kubepods", "kubepods.slice", "kubelet-kubepods.slice"] {
            assert!(is_kubelets_root(root) && !is_qos_class(root), "{root}");
        }
        for class in
            ["burstable", "besteffort", "kubepods-burstable.slice", "kubelet-kubepods-besteffort.slice"]
        {
            assert!(is_qos_class(class) && !is_kubelets_root(class), "{class}");
        }
        assert!(!is_kubelets_root("system.slice") && !is_qos_class("user.slice"));
    }
}
