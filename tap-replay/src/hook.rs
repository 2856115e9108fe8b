//! A process that changes requests as rules can't: JSON lines over its standard input and output.
//!
//! To it goes `{"n": 1, "id": "…", "request": {"method", "path", "query", "host", "headers": [["name", "value"]],
//! "body"}}` for each request, from it comes, in any order, `{"n": 1}` for one that is sent as it is, `{"n": 1,
//! "request": {…}}` with what is sent instead, or `{"n": 1, "drop": true}`. A body that is not UTF-8 is
//! `body_base64`. What the process writes to standard error goes to ours.
//!
//! A request without a reply in time, or after the process has ended, is not sent, and counted so.

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot},
    time,
};

use crate::{
    Plan,
    request::{Draft, Outgoing, Refusal},
};

/// Lines on their way to the process: as many requests as are in flight wait for it at most, and no more.
const QUEUE: usize = 1_024;
/// Of one reply: a body of the largest size that agents keep, with room.
const MAX_LINE_BYTES: u64 = 64 * 1024 * 1024;

const HOOK_ENDED: &str = "hook_ended";
const HOOK_TIMEOUT: &str = "hook_timeout";
const HOOK_REPLY: &str = "hook_reply_invalid";
const HOOK_DROPPED: &str = "hook_dropped";

/// A process to be started.
#[derive(Clone, Debug)]
pub struct RawHook {
    /// The program, and its arguments.
    pub command: Vec<String>,
    /// For each reply.
    pub timeout: Duration,
}

/// A process that runs.
pub(crate) struct Hook {
    lines: mpsc::Sender<Vec<u8>>,
    pending: Arc<Pending>,
    next: AtomicU64,
    timeout: Duration,
    // Killed with the hook, in case it does not end when its input does.
    _process: Mutex<Child>,
}

/// Who waits for which reply; `None` once there will be no more.
#[derive(Default)]
struct Pending(Mutex<Option<HashMap<u64, oneshot::Sender<Reply>>>>);

#[derive(Serialize)]
struct Asked<'a> {
    n: u64,
    id: &'a str,
    request: Described<'a>,
}

/// Other members are not looked at: a process may send back the line that it got.
#[derive(Deserialize)]
struct Reply {
    n: u64,
    #[serde(default)]
    request: Option<Described<'static>>,
    #[serde(default)]
    drop: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Described<'a> {
    method: Cow<'a, str>,
    path: Cow<'a, str>,
    #[serde(default)]
    query: Cow<'a, str>,
    #[serde(default)]
    host: Cow<'a, str>,
    #[serde(default)]
    headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl fmt::Debug for Hook {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hook").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Hook {
    /// Starts the process; within a runtime that lives as long as it.
    pub(crate) fn start(raw: &RawHook) -> std::io::Result<Self> {
        let (program, arguments) =
            raw.command.split_first().ok_or_else(|| std::io::Error::other("the hook has no command"))?;
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let missing = || std::io::Error::other("the hook has no pipes");
        let input = process.stdin.take().ok_or_else(missing)?;
        let output = process.stdout.take().ok_or_else(missing)?;
        let pending = Arc::new(Pending(Mutex::new(Some(HashMap::new()))));
        let (lines, lines_rx) = mpsc::channel(QUEUE);
        tokio::spawn(write(input, lines_rx));
        tokio::spawn(read(output, Arc::clone(&pending)));
        Ok(Self {
            lines,
            pending,
            next: AtomicU64::new(1),
            timeout: raw.timeout,
            _process: Mutex::new(process),
        })
    }

    /// Whether there will be no more replies.
    pub(crate) fn has_ended(&self) -> bool {
        self.pending.has_ended()
    }

    /// What is to be sent in place of `request`, or why nothing is.
    pub(crate) async fn ask(
        &self,
        id: &str,
        request: &Outgoing,
        plan: &Plan,
    ) -> Result<Outgoing, &'static str> {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let asked = Asked { n, id, request: describe(request).ok_or(HOOK_REPLY)? };
        let mut line = serde_json::to_vec(&asked).map_err(|_| HOOK_REPLY)?;
        line.push(b'\n');
        let (reply_tx, reply_rx) = oneshot::channel();
        if !self.pending.wait_for(n, reply_tx) {
            return Err(HOOK_ENDED);
        }
        let replied = time::timeout(self.timeout, async {
            self.lines.send(line).await.map_err(|_| HOOK_ENDED)?;
            reply_rx.await.map_err(|_| HOOK_ENDED)
        })
        .await;
        let reply = match replied {
            Ok(reply) => reply?,
            Err(_) => {
                self.pending.forget(n);
                return Err(HOOK_TIMEOUT);
            }
        };
        match reply {
            Reply { drop: true, .. } => Err(HOOK_DROPPED),
            Reply { request: None, .. } => Ok(request.clone()),
            Reply { request: Some(changed), .. } => rebuild(changed, plan),
        }
    }
}

impl Pending {
    /// Whether there may still be a reply.
    fn wait_for(&self, n: u64, reply_tx: oneshot::Sender<Reply>) -> bool {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.as_mut().map(|pending| pending.insert(n, reply_tx)).is_some()
    }

    fn forget(&self, n: u64) -> Option<oneshot::Sender<Reply>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_mut()?.remove(&n)
    }

    fn has_ended(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

async fn write(mut input: ChildStdin, mut lines: mpsc::Receiver<Vec<u8>>) {
    while let Some(line) = lines.recv().await {
        if input.write_all(&line).await.is_err() {
            // Its output tells when it has ended.
            return;
        }
    }
}

async fn read(output: ChildStdout, pending: Arc<Pending>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output).take(MAX_LINE_BYTES).read_until(b'\n', &mut line).await {
            Ok(count) if count > 0 && line.last() == Some(&b'\n') => {}
            _ => break,
        }
        // What is no reply may be a message for people; who waits for one is told by the timeout.
        if let Ok(reply) = serde_json::from_slice::<Reply>(&line)
            && let Some(reply_tx) = pending.forget(reply.n)
        {
            let _ = reply_tx.send(reply);
        }
    }
    pending.end();
}

fn describe(outgoing: &Outgoing) -> Option<Described<'_>> {
    let (head, body) = outgoing.bytes.split_at(outgoing.head_length);
    let mut lines = std::str::from_utf8(head).ok()?.split("\r\n");
    let mut request_line = lines.next()?.split(' ');
    let (method, target) = (request_line.next()?, request_line.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut host = "";
    let mut headers = Vec::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if name == "Host" && host.is_empty() {
            host = value;
        } else if !Draft::writes(name) {
            headers.push((Cow::Borrowed(name), Cow::Borrowed(value)));
        }
    }
    let (body, body_base64) = match std::str::from_utf8(body) {
        Ok("") => (None, None),
        Ok(text) => (Some(Cow::Borrowed(text)), None),
        Err(_) => (None, Some(STANDARD.encode(body))),
    };
    Some(Described {
        method: method.into(),
        path: path.into(),
        query: query.into(),
        host: host.into(),
        headers,
        body,
        body_base64,
    })
}

fn rebuild(changed: Described<'_>, plan: &Plan) -> Result<Outgoing, &'static str> {
    let Described { method, path, query, host, headers, body, body_base64 } = changed;
    let body = match (body, body_base64) {
        (Some(text), None) => text.into_owned().into_bytes(),
        (None, Some(encoded)) => STANDARD.decode(encoded).map_err(|_| HOOK_REPLY)?,
        (None, None) => Vec::new(),
        (Some(_), Some(_)) => return Err(HOOK_REPLY),
    };
    if !plan.methods.contains(method.as_ref()) {
        return Err(Refusal::Method.as_str());
    }
    let host = if host.is_empty() { plan.target.authority().to_owned() } else { host.into_owned() };
    let headers = headers
        .into_iter()
        .filter(|(name, _)| !Draft::writes(name))
        .map(|(name, value)| (name, Cow::Owned(value.into_owned().into_bytes())))
        .collect();
    let draft = Draft::new(method, path, query, host.into_bytes().into(), headers, body.into());
    draft.encode(plan).map_err(Refusal::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RawPlan;

    fn plan() -> Plan {
        let allow_methods = vec!["POST".into()];
        let raw =
            RawPlan { id: "r".into(), target: "http://test".into(), allow_methods, ..RawPlan::default() };
        Plan::validate(raw).unwrap()
    }

    fn outgoing(plan: &Plan) -> Outgoing {
        let headers = vec![("X-A".into(), Cow::Borrowed(&b"1"[..]))];
        let draft = Draft::new(
            "POST".into(),
            "/a".into(),
            "b=1".into(),
            b"h"[..].into(),
            headers,
            b"body"[..].into(),
        );
        draft.encode(plan).unwrap()
    }

    fn hook(script: &str) -> Hook {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook::start(&RawHook { command, timeout: Duration::from_secs(2) }).unwrap()
    }

    #[tokio::test]
    async fn a_request_comes_back_changed_or_as_it_was() {
        let plan = plan();
        let before = outgoing(&plan);
        let same =
            hook(r#"while read -r line; do echo "{\"n\": ${line#*:}" | cut -d, -f1 | sed 's/$/}/'; done"#);
        assert_eq!(same.ask("id", &before, &plan).await.unwrap().bytes, before.bytes);

        let echo = hook("sed -u 's/\"id\":\"[^\"]*\",//; s/body/BODY/2; s/X-A/X-B/'");
        let after = echo.ask("id", &before, &plan).await.unwrap();
        let text = String::from_utf8(after.bytes.to_vec()).unwrap();
        assert_eq!(
            text,
            "POST /a?b=1 HTTP/1.1\r\nHost: h\r\nX-B: 1\r\nAccept-Encoding: identity\r\nContent-Length: 4\r\n\
             Podtap-Replay: r\r\n\r\nBODY"
        );
    }

    #[tokio::test]
    async fn a_hook_that_dies_or_is_silent_is_told() {
        let plan = plan();
        let request = outgoing(&plan);
        assert_eq!(hook("read -r line; exit 3").ask("id", &request, &plan).await.unwrap_err(), "hook_ended");
        let mut silent = hook("cat > /dev/null");
        silent.timeout = Duration::from_millis(50);
        assert_eq!(silent.ask("id", &request, &plan).await.unwrap_err(), "hook_timeout");
        let drop = hook("read -r line; echo '{\"n\": 1, \"drop\": true}'; cat > /dev/null");
        assert_eq!(drop.ask("id", &request, &plan).await.unwrap_err(), "hook_dropped");
        let unsafe_method = hook(
            "read -r line; echo '{\"n\": 1, \"request\": {\"method\": \"DELETE\", \"path\": \"/\"}}'; cat > /dev/null",
        );
        assert_eq!(unsafe_method.ask("id", &request, &plan).await.unwrap_err(), "method");
    }
}
