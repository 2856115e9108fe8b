//! Production and staging that share a bucket and nothing else: captured in one network namespace, replayed in another that has no
//! route to it, with credentials that may only read.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};
use podtap_tests::{Agent, AgentOptions, Cgroup, Nginx, S3Server, binary, until};
use tempfile::TempDir;

use crate::collectors::{QUICK, Replica};

const REQUESTS: usize = 40;

/// A network namespace, deleted in the end with the devices in it.
struct Namespace {
    name: String,
}

impl Namespace {
    fn create(role: &str) -> Self {
        let name = format!("podtap-{role}-{}", std::process::id());
        ip(&["netns", "add", &name]);
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"]);
        namespace
    }

    fn ip(&self, arguments: &[&str]) {
        ip(&[&["-n", self.name.as_str()], arguments].concat());
    }

    /// A cable between this one and `other`, and the addresses of its ends.
    fn connect(&self, other: &Self, device: &str, here: &str, there: &str) {
        let peer = format!("{device}0");
        self.ip(&["link", "add", device, "type", "veth", "peer", "name", &peer, "netns", &other.name]);
        for (namespace, device, address) in [(self, device, here), (other, peer.as_str(), there)] {
            namespace.ip(&["address", "add", &format!("{address}/24"), "dev", device]);
            namespace.ip(&["link", "set", device, "up"]);
        }
    }

    /// Runs `f` in a thread that is in this namespace, as are the threads and processes that it starts.
    fn within<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::scope(|scope| {
            let run = || {
                setns(&file, CloneFlags::CLONE_NEWNET).unwrap();
                f()
            };
            scope.spawn(run).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // What is left of it ends with the machine at the latest.
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn ip(arguments: &[&str]) {
    let output = Command::new("ip").args(arguments).output().unwrap();
    assert!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_production_captured_is_replayed_where_no_route_leads_to_it() {
    let (production, staging, between) =
        (Namespace::create("prod"), Namespace::create("stage"), Namespace::create("bucket"));
    let (bucket_for_production, production_address) =
        (Ipv4Addr::new(10, 77, 1, 1), Ipv4Addr::new(10, 77, 1, 2));
    let bucket_for_staging = Ipv4Addr::new(10, 77, 2, 1);
    production.connect(&between, "production", "10.77.1.2", "10.77.1.1");
    staging.connect(&between, "staging", "10.77.2.2", "10.77.2.1");
    // It stores, it does not route.
    between.within(|| std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap());

    let (server, read_only) = between.within(|| {
        let server = S3Server::start_at(bucket_for_production).unwrap();
        let front = server.read_only_front(bucket_for_staging).unwrap();
        (server, front)
    });

    // Production: a tapped server, an agent, a collector.
    let cgroup = Cgroup::create("environments").unwrap();
    production.within(|| {
        let replica = Replica::start(&server, "prod", QUICK);
        let nginx = Nginx::start(&cgroup).unwrap();
        let options = AgentOptions::new("agent", &replica.url()).target("web", &cgroup);
        let agent = Agent::start(&options).unwrap();
        for number in 0..REQUESTS {
            get(nginx.port(), &format!("/json?{number}"));
        }
        until("all of it in the table", || {
            match replica.metric("podtap_collector_committed_exchanges_total") {
                Some(count) if count >= REQUESTS as f64 => Ok(()),
                count => Err(format!("{count:?}")),
            }
        })
        .unwrap();
        agent.terminate().unwrap();
    });

    // Staging: it reaches the bucket, and not production.
    staging.within(|| {
        let refused = TcpStream::connect_timeout(&(production_address, 80).into(), Duration::from_secs(2));
        let refused = refused.unwrap_err();
        assert!(
            matches!(
                refused.kind(),
                std::io::ErrorKind::NetworkUnreachable | std::io::ErrorKind::HostUnreachable
            ),
            "{refused}"
        );
        let candidate = Nginx::start_untapped().unwrap();
        let home = TempDir::with_prefix("podtap-staging-").unwrap();
        let output = Command::new(binary("tapctl").unwrap())
            .args(["replay", "--store", &server.url("prod"), "--since", "1h", "--speed", "100"])
            .args(["--target", &candidate.url("")])
            .envs(server.environment_by(&read_only))
            .env("HOME", home.path())
            .output()
            .unwrap();
        let (said, errors) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{said}\n{errors}");
        let mut replayed: Vec<_> = candidate
            .requests()
            .iter()
            .filter_map(|line| line.split("/json?").nth(1)?.split(' ').next()?.parse::<usize>().ok())
            .collect();
        replayed.sort_unstable();
        assert_eq!(replayed, (0..REQUESTS).collect::<Vec<_>>(), "{said}\n{errors}");
    });
    assert_eq!(read_only.answered("PUT", 403) + read_only.answered("POST", 403), 0, "staging tried to write");
    assert!(read_only.answered("GET", 200) + read_only.answered("GET", 206) > 0);
}

fn get(port: u16, target: &str) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.write_all(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}
