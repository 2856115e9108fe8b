//! The guards and servers themselves: what later tests stand on.

#![expect(clippy::unwrap_used, reason = "a test panics")]

use std::{path::PathBuf, process::Command};

use podtap_tests::{Cgroup, Nginx, NodeServer, PythonServer};

fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl").args(["-sS", "--max-time", "30"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_cgroup_ends_with_its_members() {
    let path: PathBuf;
    {
        let cgroup = Cgroup::create("guard").unwrap();
        path = cgroup.path().to_owned();
        let mut child = cgroup.command("sleep").arg("1000").spawn().unwrap();
        podtap_tests::until("sleep joins", || match cgroup.members() {
            Ok(members) if members.len() == 1 => Ok(()),
            members => Err(format!("{members:?}")),
        })
        .unwrap();
        drop(cgroup);
        assert!(!child.wait().unwrap().success());
    }
    assert!(!path.exists());
}

#[test]
fn nginx_serves_in_its_cgroup() {
    let cgroup = Cgroup::create("nginx").unwrap();
    let nginx = Nginx::start(&cgroup).unwrap();
    nginx.put("a.txt", "hello").unwrap();

    assert_eq!(curl(&[&nginx.url("/files/a.txt")]), "hello");
    assert_eq!(curl(&[&nginx.url_v6("/files/a.txt")]), "hello");
    assert!(curl(&["-d", "x=1", &nginx.url("/json")]).contains(r#""method":"POST""#));
    assert_eq!(curl(&["-d", "x=1", &nginx.url("/upload")]), "stored\n");
    // The master and two workers.
    assert_eq!(cgroup.members().unwrap().len(), 3);
    let statuses: Vec<_> = nginx.requests().iter().map(|line| line[..3].to_owned()).collect();
    assert_eq!(statuses, ["200"; 5], "{:?}", nginx.requests());
}

#[test]
fn python_and_node_servers_echo() {
    let cgroup = Cgroup::create("scripts").unwrap();
    let python = PythonServer::start(&cgroup).unwrap();
    let node = NodeServer::start(&cgroup).unwrap();
    for url in [python.url("/"), node.url("/")] {
        assert_eq!(curl(&["-d", "body", &url]), "body");
        assert_eq!(curl(&["-H", "Transfer-Encoding: chunked", "-d", "body", &url]), "body");
    }
    for url in [python.url("/bytes/100"), node.url("/bytes/100")] {
        assert_eq!(curl(&[&url]).len(), 100);
    }
}
