//! What readers give.

use std::{fmt, ops::ControlFlow};

use tap_flow::Exchange;
use tap_proto::v1;

/// Takes what a reader gives; says whether it wants more.
pub type Sink<'s> = dyn FnMut(Item) -> ControlFlow<()> + 's;

/// One record of a file.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are exchanges, and none is kept")]
pub enum Item {
    Exchange(Imported),
    /// A record that holds no exchange, or one that can't be taken: a stable word says why. It is counted.
    Skipped(&'static str),
}

/// An exchange from a file. Redaction has not seen it.
pub struct Imported {
    /// Its number in the file, from 1: of the entry, record or line. 0 where exchanges are made from packets.
    pub number: u64,
    /// As a tap would have captured it. Times are nanoseconds since the Unix epoch, 0 where the file has none.
    pub exchange: Exchange,
    /// What else the file says, where Podtap wrote it.
    pub about: Option<Box<About>>,
}

/// What a file of Podtap's says of an exchange beside its traffic. Names, numbers and words: nothing that was captured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct About {
    /// Empty where it is no UUID of version 7.
    pub id: String,
    pub target: String,
    pub node: String,
    pub namespace: String,
    pub workload: String,
    pub pod: String,
    pub pod_uid: String,
    pub container: String,
    pub labels: std::collections::BTreeMap<String, String>,
    /// The peers' names.
    pub source: v1::Endpoint,
    pub destination: v1::Endpoint,
    /// "HTTP/2" and what else is not HTTP/1; empty for HTTP/1.
    pub request_version: &'static str,
    pub response_version: &'static str,
    /// Why content is absent; a word.
    pub request_dropped: String,
    pub response_dropped: String,
    /// What was redacted when it was captured.
    pub redactions: Vec<v1::Redaction>,
    pub redaction_key: String,
}

impl About {
    /// Puts it where export has left what it can't know.
    pub fn complete(self, message: &mut v1::Exchange) {
        let Self {
            id,
            target,
            node,
            namespace,
            workload,
            pod,
            pod_uid,
            container,
            labels,
            source,
            destination,
            request_version,
            response_version,
            request_dropped,
            response_dropped,
            redactions,
            redaction_key,
        } = self;
        put(&mut message.id, id);
        put(&mut message.target, target);
        put(&mut message.node, node);
        put(&mut message.namespace, namespace);
        put(&mut message.workload, workload);
        put(&mut message.pod, pod);
        put(&mut message.pod_uid, pod_uid);
        put(&mut message.container, container);
        for (name, value) in labels {
            message.labels.entry(name).or_insert(value);
        }
        name(&mut message.source, source);
        name(&mut message.destination, destination);
        if let Some(request) = &mut message.request {
            put(&mut request.version, request_version.to_owned());
            drop_reason(&mut request.body, request_dropped);
        }
        if let Some(response) = &mut message.response {
            put(&mut response.version, response_version.to_owned());
            drop_reason(&mut response.body, response_dropped);
        }
        if message.redaction_key.is_empty() {
            message.redaction_key = redaction_key;
        }
        for redaction in redactions {
            let known = message.redactions.iter_mut().find(|known| {
                (&known.rule, &known.place, &known.action)
                    == (&redaction.rule, &redaction.place, &redaction.action)
            });
            match known {
                // What was a token is taken for one again.
                Some(known) => known.count = known.count.max(redaction.count),
                None => message.redactions.push(redaction),
            }
        }
    }
}

fn put(field: &mut String, value: String) {
    if !value.is_empty() {
        *field = value;
    }
}

fn name(end: &mut Option<v1::Endpoint>, names: v1::Endpoint) {
    let v1::Endpoint { ip: _, port: _, namespace, pod, service, workload } = names;
    if [&namespace, &pod, &service, &workload].into_iter().any(|name| !name.is_empty()) {
        let end = end.get_or_insert_default();
        (end.namespace, end.pod, end.service, end.workload) = (namespace, pod, service, workload);
    }
}

fn drop_reason(body: &mut Option<v1::Body>, reason: String) {
    if let Some(body) = body
        && body.content.is_none()
        && body.dropped.is_empty()
    {
        body.dropped = reason;
    }
}

impl fmt::Debug for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, exchange, about } = self;
        f.debug_struct("Imported")
            .field("number", number)
            .field("exchange", exchange)
            .field("about", &about.is_some())
            .finish()
    }
}
