//! The README's quick start for a cluster, word by word.

use std::{env, fs, process::Command};

use podtap_tests::{Kubectl, binary, until};

use crate::{
    cluster::{Turn, kubectl, nodes},
    installation::{install, root},
    namespace::Server,
};

/// The section's title.
const SECTION: &str = "## On Kubernetes";

/// What a user's own slowness does: nothing is asked before it can be answered.
const WAIT: &str = "until (exec 3<> /dev/tcp/127.0.0.1/7070) 2> /dev/null; do sleep 0.1; done";

/// The user's application, and one who uses it for as long as the test may take.
const TRAFFIC: &str = "
apiVersion: v1
kind: Pod
metadata: {name: customer, namespace: shop}
spec:
  terminationGracePeriodSeconds: 0
  automountServiceAccountToken: false
  containers:
  - name: customer
    image: podtap/e2e:1
    command: [sh, -c, 'for n in $(seq 1000); do curl -s -o /dev/null \"http://$CHECKOUT_SERVICE_HOST/pay?order=$n\"; sleep 0.2; done']
";

/// Removes the namespace that the README names.
struct Shop(Kubectl);

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.0.run(&["delete", "namespace", "shop", "--wait=false", "--ignore-not-found"]);
    }
}

#[test]
fn the_readmes_commands_work_as_they_stand() {
    let _turn = Turn::alone();
    // Before, as what provides the volume is no part of it; the README's own command finds nothing to change.
    install();
    let shop = Shop(kubectl());
    shop.0.run(&["create", "namespace", "shop"]).unwrap();
    let server = Server { node: &nodes()[0], ..Server::nginx("checkout") };
    let in_shop = shop.0.with(&["--namespace", "shop"]);
    in_shop.apply(&server.objects()).unwrap();
    in_shop.run(&["rollout", "status", "deployment/checkout", "--timeout=60s"]).unwrap();
    in_shop.apply(TRAFFIC).unwrap();

    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let script = script(&readme);
    // A user has put tapctl and the plugin on PATH; grpcurl is there.
    let binaries = binary("tapctl").unwrap().parent().unwrap().to_owned();
    let path = env::var_os("PATH").unwrap();
    let path = env::join_paths([binaries].into_iter().chain(env::split_paths(&path))).unwrap();
    until("the README's commands show the application's requests", || {
        let mut bash = Command::new("bash");
        bash.args(["-euc", &script]).current_dir(root());
        bash.env("PATH", &path).env("KUBECONFIG", shop.0.kubeconfig());
        let output = bash.output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let shown = ["tap.v1.CaptureService", "/pay", "checkout"].iter().all(|part| said.contains(part));
        if output.status.success() && shown { Ok(()) } else { Err(format!("{script}\nsaid:\n{said}")) }
    })
    .unwrap();
}

/// The indented lines of the section, with a wait after what goes on in the background, which ends with the rest.
fn script(readme: &str) -> String {
    let (_, rest) = readme.split_once(&format!("\n{SECTION}\n")).expect("the README has the section");
    let section = rest.split("\n## ").next().unwrap_or(rest);
    let mut script = "trap 'kill $(jobs -p)' EXIT\n".to_owned();
    for line in section.lines().filter_map(|line| line.strip_prefix("    ")) {
        script += line;
        script += "\n";
        if line.ends_with('&') {
            script += WAIT;
            script += "\n";
        }
    }
    script
}
