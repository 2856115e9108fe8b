//! What the hooks see on this kernel: small connections of the agent to itself, sent in every way that a server may send.
//!
//! Run once, before anything else is tapped: the agent taps its own cgroup, for the ports of these connections
//! alone, and looks for their bytes in the rings. What is not seen is said, in the log and as a metric; it never stops
//! the capture.

mod paths;

use std::{fmt, io, path::Path, time::Duration};

use aya::programs::loaded_programs;
use aya_obj::generated::bpf_prog_type::{BPF_PROG_TYPE_SK_MSG, BPF_PROG_TYPE_SK_SKB};
use tap_flow::{Direction, Unneeded};
use tracing::{debug, info, warn};

use self::paths::{PATHS, Sent};
use crate::capture::{Attachment, Capture, Ports, SegmentRing};

/// How long the bytes of one connection may take from its socket to the ring; they are there when it has received them.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of one way to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Every byte was seen, at both ends.
    Seen,
    /// Some were not.
    Unseen { expected: usize, sent: usize, received: usize },
    /// It could not be tried.
    NotRun(String),
}

/// Whether there is sockmap redirection on this host, which passes the hooks by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sockmap {
    Absent,
    /// The names of programs that can redirect.
    Present(Vec<String>),
    /// It can't be asked: that takes CAP_SYS_ADMIN, which the agent does without.
    Unknown,
}

/// What the self-test found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub paths: Vec<(&'static str, Finding)>,
    pub sockmap: Sockmap,
}

impl Finding {
    /// The word of the metric.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Seen => "seen",
            Self::Unseen { .. } => "unseen",
            Self::NotRun(_) => "not_run",
        }
    }
}

impl Sockmap {
    /// The word of the metric.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Present(_) => "present",
            Self::Unknown => "unknown",
        }
    }
}

impl Report {
    /// Each thing that was looked for, with the word for what was found.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        let paths = self.paths.iter().map(|(path, finding)| (*path, finding.as_str()));
        paths.chain([("sockmap", self.sockmap.as_str())])
    }

    /// Says what an operator should know.
    pub fn log(&self) {
        for (path, finding) in &self.paths {
            match finding {
                Finding::Seen => debug!(path, "self-test: seen"),
                Finding::Unseen { .. } => {
                    warn!(path, "self-test: what is sent this way is not seen on this host: {finding}");
                }
                Finding::NotRun(_) => info!(path, "self-test: {finding}"),
            }
        }
        if let Sockmap::Present(programs) = &self.sockmap {
            warn!(
                programs = programs.join(", "),
                "programs of another make redirect data between sockets on this host (sockmap): what they redirect is not seen"
            );
        }
        let seen = self.paths.iter().filter(|(_, finding)| *finding == Finding::Seen).count();
        info!(seen, of = self.paths.len(), sockmap = self.sockmap.as_str(), "self-test done");
    }
}

/// Tries every way. `own` is the agent's cgroup; the rings must be those of `capture`, and nothing else attached.
pub fn run(capture: &mut Capture, rings: &mut [SegmentRing], own: Option<&Path>) -> Report {
    let all = |finding: Finding| PATHS.iter().map(|path| (path.name, finding.clone())).collect();
    let paths = match own {
        None => all(Finding::NotRun("the agent is in no cgroup of its own".to_owned())),
        Some(own) => PATHS.iter().map(|path| (path.name, try_path(path, capture, rings, own))).collect(),
    };
    Report { paths, sockmap: sockmap() }
}

fn try_path(path: &paths::Path, capture: &mut Capture, rings: &mut [SegmentRing], own: &Path) -> Finding {
    let tried = paths::connect(path.address).map_err(|error| error.to_string()).and_then(|connection| {
        let port = connection.port();
        let attachment = capture.attach(own, &Ports::Only(vec![port])).map_err(|error| error.to_string())?;
        let sent = connection.send(path, PATIENCE).map_err(|error| error.to_string());
        let seen = seen(rings, &attachment, port);
        let tap = attachment.tap();
        drop(attachment);
        // What the agent's own sockets did is no target's.
        if let Err(error) = capture.forget(tap) {
            debug!("self-test: {error}");
        }
        Ok((sent?, seen))
    });
    match tried {
        Ok((Sent { bytes }, (sent, received))) if sent == bytes && received == bytes => Finding::Seen,
        Ok((Sent { bytes }, (sent, received))) => Finding::Unseen { expected: bytes, sent, received },
        Err(reason) => Finding::NotRun(reason),
    }
}

/// How many different bytes of the stream to `port` were seen where they were sent, and where they were received.
fn seen(rings: &mut [SegmentRing], attachment: &Attachment, port: u16) -> (usize, usize) {
    let (mut sent, mut received) = (Vec::new(), Vec::new());
    for ring in rings {
        ring.serve(usize::MAX, |segment| {
            if segment.key.tap == attachment.tap() && !segment.payload.is_empty() {
                let piece = (segment.sequence, segment.payload.len());
                match segment.direction {
                    Direction::Egress if segment.key.remote.port() == port => sent.push(piece),
                    Direction::Ingress if segment.key.local.port() == port => received.push(piece),
                    Direction::Egress | Direction::Ingress => {}
                }
            }
            Unneeded::Nothing
        });
    }
    (distinct(sent), distinct(received))
}

/// The bytes that pieces cover together, each counted once.
fn distinct(pieces: Vec<(u32, usize)>) -> usize {
    let Some(&(origin, _)) = pieces.first() else { return 0 };
    // Relative to the first, which may have come late: as signed numbers.
    let mut pieces: Vec<(i64, i64)> = pieces
        .into_iter()
        .map(|(sequence, len)| {
            let begin = i64::from(sequence.wrapping_sub(origin).cast_signed());
            (begin, begin + i64::try_from(len).unwrap_or(i64::MAX))
        })
        .collect();
    pieces.sort_unstable();
    let mut covered = 0;
    let mut end = i64::MIN;
    for (begin, until) in pieces {
        covered += (until - begin.max(end)).max(0);
        end = end.max(until);
    }
    usize::try_from(covered).unwrap_or(usize::MAX)
}

/// Looks for programs that can move data from socket to socket.
fn sockmap() -> Sockmap {
    let mut names = Vec::new();
    for program in loaded_programs() {
        let Ok(program) = program else { return Sockmap::Unknown };
        if matches!(program.program_type(), BPF_PROG_TYPE_SK_MSG | BPF_PROG_TYPE_SK_SKB) {
            names.push(program.name_as_str().unwrap_or("unnamed").to_owned());
        }
    }
    if names.is_empty() { Sockmap::Absent } else { Sockmap::Present(names) }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen => f.write_str("seen"),
            Self::Unseen { expected, sent, received } => write!(
                f,
                "of {expected} bytes {sent} were seen where they were sent, {received} where they were received"
            ),
            Self::NotRun(reason) => write!(f, "not tried: {reason}"),
        }
    }
}

/// Why something could not be tried here.
fn not_here(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_come_twice_count_once() {
        assert_eq!(distinct(vec![]), 0);
        assert_eq!(distinct(vec![(10, 5), (15, 5)]), 10);
        assert_eq!(distinct(vec![(10, 5), (12, 5), (10, 5)]), 7);
        assert_eq!(distinct(vec![(5, 5), (u32::MAX, 6)]), 11, "around the end of the sequence numbers");
        assert_eq!(distinct(vec![(10, 5), (20, 5)]), 10, "a hole");
    }

    #[test]
    fn each_finding_has_its_word() {
        let report = Report {
            paths: vec![
                ("send", Finding::Seen),
                ("ipv6", Finding::NotRun("no IPv6".to_owned())),
                ("splice", Finding::Unseen { expected: 2, sent: 1, received: 0 }),
            ],
            sockmap: Sockmap::Unknown,
        };
        let results: Vec<_> = report.results().collect();
        let expected = [("send", "seen"), ("ipv6", "not_run"), ("splice", "unseen"), ("sockmap", "unknown")];
        assert_eq!(results, expected);
    }
}
