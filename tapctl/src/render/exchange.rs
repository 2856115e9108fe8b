//! One exchange whole: where it comes from, then both messages as they were on the wire, as far as kept.

use std::fmt::Write as _;

use tap_proto::v1::{
    Body, Completeness, Endpoint, Exchange, Header, Redaction, Request, Response, Role, body::Content,
    completeness::State,
};

use super::{Style, escape, unit};

/// `exchange` as text of many lines.
pub(crate) fn render(exchange: &Exchange, style: &Style) -> String {
    let mut text = String::new();
    facts(&mut text, exchange, style);
    match &exchange.request {
        Some(request) => message(&mut text, '>', &request_line(request), &Message::from(request)),
        None => text.push_str("\n> the request was not seen\n"),
    }
    match &exchange.response {
        Some(response) => message(&mut text, '<', &status_line(response), &Message::from(response)),
        None => text.push_str("\n< the response was not seen\n"),
    }
    text
}

/// What both messages have.
struct Message<'a> {
    headers: &'a [Header],
    body: Option<&'a Body>,
    trailers: &'a [Header],
    completeness: Option<&'a Completeness>,
}

impl<'a> From<&'a Request> for Message<'a> {
    fn from(request: &'a Request) -> Self {
        let Request { headers, body, trailers, completeness, .. } = request;
        Self { headers, body: body.as_ref(), trailers, completeness: completeness.as_ref() }
    }
}

impl<'a> From<&'a Response> for Message<'a> {
    fn from(response: &'a Response) -> Self {
        let Response { headers, body, trailers, completeness, .. } = response;
        Self { headers, body: body.as_ref(), trailers, completeness: completeness.as_ref() }
    }
}

fn facts(text: &mut String, exchange: &Exchange, style: &Style) {
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<12}{}", escape::text(&value));
        }
    };
    let time = style.zoned(exchange.time.as_ref());
    let role = match exchange.role() {
        Role::Unspecified => "",
        Role::Inbound => "inbound (the tapped process was the server)",
        Role::Outbound => "outbound (the tapped process was the client)",
    };
    let labels: Vec<_> = exchange.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    fact("Id", exchange.id.clone());
    fact(
        "Time",
        time.map_or_else(String::new, |time| time.strftime("%Y-%m-%d %H:%M:%S%.6f %:z").to_string()),
    );
    fact("Duration", exchange.duration.as_ref().map_or_else(String::new, unit::duration));
    fact("Role", role.to_owned());
    fact("Target", exchange.target.clone());
    fact("Node", exchange.node.clone());
    fact("Namespace", exchange.namespace.clone());
    fact("Workload", exchange.workload.clone());
    fact("Pod", exchange.pod.clone());
    fact("Container", exchange.container.clone());
    fact("Labels", labels.join(", "));
    fact("From", exchange.source.as_ref().map_or_else(String::new, endpoint));
    fact("To", exchange.destination.as_ref().map_or_else(String::new, endpoint));
    fact("Connection", format!("{:016x}, exchange {}", exchange.flow, exchange.flow_index));
    fact("On the wire", unit::bytes(exchange.wire_bytes));
    for Redaction { rule, place, action, count } in &exchange.redactions {
        fact("Redacted", format!("{place} ({rule}: {action}, {count}×)"));
    }
}

/// The shortest that says who it is: `namespace/pod`, `namespace/service`, `Node/name`, or else the address.
pub(crate) fn end_name(endpoint: &Endpoint) -> String {
    let Endpoint { ip: _, port: _, namespace, pod, service, workload } = endpoint;
    let name = [pod, service, workload].into_iter().find(|name| !name.is_empty());
    match name {
        Some(name) if namespace.is_empty() => name.clone(),
        Some(name) => format!("{namespace}/{name}"),
        None => address(endpoint),
    }
}

fn address(Endpoint { ip, port, .. }: &Endpoint) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

fn endpoint(endpoint: &Endpoint) -> String {
    let Endpoint { ip: _, port: _, namespace, pod, service, workload } = endpoint;
    let address = address(endpoint);
    let names: Vec<_> = [namespace, workload, pod, service]
        .into_iter()
        .filter(|name| !name.is_empty())
        .map(String::as_str)
        .collect();
    if names.is_empty() { address } else { format!("{address} ({})", names.join(" ")) }
}

fn request_line(request: &Request) -> String {
    let separator = if request.query.is_empty() { "" } else { "?" };
    format!("{} {}{separator}{} {}", request.method, request.path, request.query, request.version)
}

fn status_line(response: &Response) -> String {
    format!("{} {} {}", response.version, response.status, response.reason)
}

/// A message in the form that curl -v made common: each line after its direction.
fn message(text: &mut String, mark: char, first_line: &str, message: &Message<'_>) {
    let Message { headers, body, trailers, completeness } = message;
    let _ = writeln!(text, "\n{mark} {}", escape::text(first_line.trim_end()));
    fields(text, mark, headers);
    let _ = writeln!(text, "{mark}");
    if let Some(body) = body {
        if let Some(Content::Text(content)) = &body.content {
            text.push_str(&escape::lines(content));
            if !content.ends_with('\n') {
                text.push('\n');
            }
        }
        for note in body_notes(body) {
            let _ = writeln!(text, "[{}]", escape::text(&note));
        }
    }
    if !trailers.is_empty() {
        let _ = writeln!(text, "{mark}");
        fields(text, mark, trailers);
    }
    if let Some(note) = completeness_note(*completeness) {
        let _ = writeln!(text, "[{}]", escape::text(&note));
    }
}

fn fields(text: &mut String, mark: char, headers: &[Header]) {
    for Header { name, value, raw_value: _ } in headers {
        let _ = writeln!(text, "{mark} {}: {}", escape::text(name), escape::text(value));
    }
}

fn body_notes(body: &Body) -> Vec<String> {
    let Body { content, size, decoded_from, dropped } = body;
    let mut notes = Vec::new();
    if let Some(Content::Binary(content)) = content {
        notes.push(format!("{} of binary, kept; --output json prints it", unit::bytes(content.len() as u64)));
    }
    if !dropped.is_empty() {
        notes.push(format!("body of {} dropped: {dropped}", unit::bytes(*size)));
    }
    if !decoded_from.is_empty() {
        notes.push(format!("decoded from {decoded_from}, {} on the wire", unit::bytes(*size)));
    }
    notes
}

fn completeness_note(completeness: Option<&Completeness>) -> Option<String> {
    let Some(completeness) = completeness else { return Some("completeness unknown".to_owned()) };
    let cause =
        if completeness.cause.is_empty() { String::new() } else { format!(" ({})", completeness.cause) };
    let bytes = unit::bytes(completeness.bytes);
    match completeness.state() {
        State::Complete => None,
        State::Unspecified => Some("completeness unknown".to_owned()),
        State::Truncated if completeness.bytes == 0 => {
            Some(format!("truncated, by how much is unknown{cause}"))
        }
        State::Truncated => Some(format!("truncated: {bytes} more were not kept{cause}")),
        State::Gap => Some(format!("gap: {bytes} at offset {} were not seen{cause}", completeness.offset)),
        State::JoinedMidstream => Some(format!("the tap joined after this message had begun{cause}")),
        State::Missing => Some(format!("not seen{cause}")),
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn header(name: &str, value: &str) -> Header {
        Header { name: name.into(), value: value.into(), ..Header::default() }
    }

    fn style() -> Style {
        Style { width: Some(80), colour: false, zone: TimeZone::UTC }
    }

    #[test]
    fn an_exchange_reads_like_http() {
        let exchange = Exchange {
            id: "018bcfe5-6805-7abc-8def-0123456789ab".into(),
            role: Role::Inbound.into(),
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
            duration: Some(prost_types::Duration { seconds: 0, nanos: 1_234_567 }),
            target: "shop".into(),
            source: Some(Endpoint { ip: "::1".into(), port: 4_000, ..Endpoint::default() }),
            destination: Some(Endpoint {
                ip: "10.0.0.2".into(),
                port: 80,
                service: "cart".into(),
                ..Endpoint::default()
            }),
            flow: 255,
            wire_bytes: 1_413,
            request: Some(Request {
                method: "POST".into(),
                path: "/cart".into(),
                query: "a=1".into(),
                version: "HTTP/1.1".into(),
                headers: vec![header("Host", "shop"), header("X-Evil", "\x1b[2J")],
                body: Some(Body {
                    content: Some(Content::Text("{\"a\":1}".into())),
                    size: 40,
                    decoded_from: "gzip".into(),
                    ..Body::default()
                }),
                completeness: Some(Completeness { state: State::Complete.into(), ..Completeness::default() }),
                ..Request::default()
            }),
            response: Some(Response {
                status: 200,
                reason: "OK".into(),
                version: "HTTP/1.1".into(),
                headers: vec![header("Content-Type", "text/plain")],
                body: Some(Body {
                    content: Some(Content::Text("line\n".into())),
                    size: 70_000,
                    ..Body::default()
                }),
                trailers: vec![header("X-Sum", "7")],
                completeness: Some(Completeness {
                    state: State::Truncated.into(),
                    bytes: 69_995,
                    cause: "body_cap".into(),
                    ..Completeness::default()
                }),
                ..Response::default()
            }),
            redactions: vec![Redaction {
                rule: "header.authorization".into(),
                place: "request.headers.authorization".into(),
                action: "token".into(),
                count: 1,
            }],
            ..Exchange::default()
        };
        assert_eq!(
            render(&exchange, &style()),
            "\
Id          018bcfe5-6805-7abc-8def-0123456789ab
Time        2023-11-14 22:13:20.005000 +00:00
Duration    1.23 ms
Role        inbound (the tapped process was the server)
Target      shop
From        [::1]:4000
To          10.0.0.2:80 (cart)
Connection  00000000000000ff, exchange 0
On the wire 1.38 KiB
Redacted    request.headers.authorization (header.authorization: token, 1×)

> POST /cart?a=1 HTTP/1.1
> Host: shop
> X-Evil: \\x1b[2J
>
{\"a\":1}
[decoded from gzip, 40 B on the wire]

< HTTP/1.1 200 OK
< Content-Type: text/plain
<
line
<
< X-Sum: 7
[truncated: 68.4 KiB more were not kept (body_cap)]
"
        );
    }

    #[test]
    fn what_was_not_seen_is_said() {
        let text = render(&Exchange::default(), &style());
        assert!(text.contains("> the request was not seen"), "{text}");
        assert!(text.contains("< the response was not seen"), "{text}");
    }
}
