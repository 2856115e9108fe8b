//! Protobuf's canonical JSON, as grpcurl prints it.

use anyhow::{Context as _, Result};
use tap_formats::protobuf_json;
pub(crate) use tap_formats::protobuf_json::{Named, parse};

use super::escape;

/// `message` over several lines.
pub(crate) fn pretty<M: Named>(message: &M) -> Result<String> {
    let json = serde_json::to_string_pretty(&protobuf_json::serializable(message)?).context("write JSON")?;
    Ok(escape::json(&json) + "\n")
}

/// `message` on one line.
pub(crate) fn line<M: Named>(message: &M) -> Result<String> {
    let json = serde_json::to_string(&protobuf_json::serializable(message)?).context("write JSON")?;
    Ok(escape::json(&json) + "\n")
}

/// Messages of a response's only list, printed one by one as [`pretty`] would print the whole response: its
/// length is not bounded, so it is never held.
#[derive(Debug)]
pub(crate) struct List {
    field: &'static str,
    empty: bool,
}

impl List {
    /// `field` is the list's name in JSON.
    pub(crate) fn new(field: &'static str) -> Self {
        Self { field, empty: true }
    }

    /// The text of one more message.
    pub(crate) fn item<M: Named>(&mut self, message: &M) -> Result<String> {
        let start = if self.empty { format!("{{\n  \"{}\": [", self.field) } else { ",".to_owned() };
        self.empty = false;
        // Line feeds inside strings are escaped: all there are belong to the layout.
        let indented = pretty(message)?.trim_end().replace('\n', "\n    ");
        Ok(format!("{start}\n    {indented}"))
    }

    /// The text after the last message.
    pub(crate) fn end(self) -> &'static str {
        if self.empty { "{}\n" } else { "\n  ]\n}\n" }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tap_proto::v1::{
        Body, Exchange, GetLedgerResponse, ReplayReport, Request, Role, SearchResponse, body::Content,
    };

    use super::*;

    #[test]
    fn every_named_message_is_in_the_descriptors() {
        assert_eq!(line(&Exchange::default()).unwrap(), "{}\n");
        assert_eq!(line(&SearchResponse::default()).unwrap(), "{}\n");
        assert_eq!(line(&GetLedgerResponse::default()).unwrap(), "{}\n");
        assert_eq!(line(&ReplayReport::default()).unwrap(), "{}\n");
    }

    #[test]
    fn a_list_reads_like_the_whole_response() {
        for count in 0..3 {
            let exchanges: Vec<_> = (0..count)
                .map(|index| Exchange {
                    id: format!("line\nfeed {index}"),
                    request: Some(Request::default()),
                    ..Exchange::default()
                })
                .collect();
            let mut list = List::new("exchanges");
            let mut printed: String = exchanges.iter().map(|exchange| list.item(exchange).unwrap()).collect();
            printed.push_str(list.end());
            let whole = SearchResponse { exchanges, ..SearchResponse::default() };
            assert_eq!(printed, pretty(&whole).unwrap());
        }
    }

    #[test]
    fn it_is_the_canonical_form() {
        let exchange = Exchange {
            id: "x".into(),
            role: Role::Inbound.into(),
            time: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 5_000_000 }),
            duration: Some(prost_types::Duration { seconds: 0, nanos: 1_200_000 }),
            wire_bytes: u64::MAX,
            request: Some(Request {
                body: Some(Body {
                    content: Some(Content::Binary(vec![0xff].into())),
                    size: 1,
                    ..Body::default()
                }),
                ..Request::default()
            }),
            ..Exchange::default()
        };
        let printed: serde_json::Value = serde_json::from_str(&pretty(&exchange).unwrap()).unwrap();
        assert_eq!(
            printed,
            json!({
                "id": "x",
                "role": "ROLE_INBOUND",
                "time": "2023-11-14T22:13:20.005Z",
                "duration": "0.001200s",
                "wireBytes": "18446744073709551615",
                "request": {"body": {"binary": "/w==", "size": "1"}},
            })
        );
    }
}
