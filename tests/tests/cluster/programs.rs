//! Which pods run programs of ours: what the kernel says, whatever Podtap says.

use podtap_tests::until;

use crate::{installation::attached, namespace::Pod};

/// How many programs a tapped pod has: one for each way of its packets.
const EACH: usize = 2;

/// Waits until a pod has its programs, once each.
pub(crate) fn until_attached(pod: &Pod) {
    until_count(pod, EACH);
}

/// Waits until a pod has none.
pub(crate) fn until_detached(pod: &Pod) {
    until_count(pod, 0);
}

/// A pod that was never selected has none, and had none.
pub(crate) fn assert_untouched(pod: &Pod) {
    let programs = attached(&pod.node, &pod.uid).unwrap();
    assert_eq!(programs, Vec::<String>::new(), "{pod:?}");
}

fn until_count(pod: &Pod, count: usize) {
    until(&format!("{count} programs on {}", pod.name), || {
        let programs = attached(&pod.node, &pod.uid)?;
        let ours = programs.iter().filter(|program| program.contains("cgroup_inet_")).count();
        if ours == count { Ok(()) } else { Err(format!("{programs:#?}")) }
    })
    .unwrap();
}
