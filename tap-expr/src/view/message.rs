//! The view of the wire contract's exchange: everything is borrowed.

use std::{borrow::Cow, collections::BTreeMap};

use tap_proto::v1::{
    Body, Completeness, Endpoint, Exchange, Header, Role, body::Content, completeness::State,
};

use super::{BodyView, Fields, MessageView, Part, PeerNames, Scalar, Side, View};
use crate::{predicate::Field, time};

impl View for Exchange {
    fn field(&self, field: Field) -> Option<Scalar<'_>> {
        Some(match field {
            Field::Id => text(&self.id),
            Field::Role => text(match self.role() {
                Role::Inbound => "inbound",
                Role::Outbound => "outbound",
                Role::Unspecified => "",
            }),
            Field::Time => Scalar::Nanos(time::from_proto_timestamp(self.time.as_ref()?)),
            Field::Duration => Scalar::Nanos(time::from_proto_duration(self.duration.as_ref()?)),
            Field::Target => text(&self.target),
            Field::Node => text(&self.node),
            Field::Namespace => text(&self.namespace),
            Field::Workload => text(&self.workload),
            Field::Pod => text(&self.pod),
            Field::Container => text(&self.container),
            Field::SourceIp => text(&self.source.as_ref()?.ip),
            Field::SourcePort => Scalar::Int(self.source.as_ref()?.port.into()),
            Field::DestinationIp => text(&self.destination.as_ref()?.ip),
            Field::DestinationPort => Scalar::Int(self.destination.as_ref()?.port.into()),
            Field::Method => text(&self.request.as_ref()?.method),
            Field::Scheme => text(&self.request.as_ref()?.scheme),
            Field::Host => text(&self.request.as_ref()?.host),
            Field::Path => text(&self.request.as_ref()?.path),
            Field::Query => text(&self.request.as_ref()?.query),
            Field::Status => Scalar::Int(self.response.as_ref()?.status.into()),
        })
    }

    fn peer(&self, side: Side) -> Option<PeerNames<'_>> {
        let end = match side {
            Side::Source => self.source.as_ref(),
            Side::Destination => self.destination.as_ref(),
        };
        let Endpoint { ip: _, port: _, namespace, pod, service, workload } = end?;
        Some(PeerNames { namespace, pod, service, workload })
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    fn flow(&self) -> (u64, u32) {
        (self.flow, self.flow_index)
    }

    fn message(&self, part: Part) -> Option<MessageView<'_>> {
        match part {
            Part::Request => self.request.as_ref().map(|request| MessageView {
                version: &request.version,
                reason: "",
                headers: &request.headers,
                trailers: &request.trailers,
                complete: is_complete(request.completeness.as_ref()),
                body: request.body.as_ref().map(body),
            }),
            Part::Response => self.response.as_ref().map(|response| MessageView {
                version: &response.version,
                reason: &response.reason,
                headers: &response.headers,
                trailers: &response.trailers,
                complete: is_complete(response.completeness.as_ref()),
                body: response.body.as_ref().map(body),
            }),
        }
    }
}

impl Fields for Vec<Header> {
    fn count(&self) -> usize {
        self.len()
    }

    fn at(&self, index: usize) -> (Cow<'_, str>, Cow<'_, str>) {
        let Header { name, value, raw_value: _ } = &self[index];
        (Cow::Borrowed(name), Cow::Borrowed(value))
    }
}

fn text(text: &str) -> Scalar<'_> {
    Scalar::Text(Cow::Borrowed(text))
}

fn is_complete(completeness: Option<&Completeness>) -> bool {
    completeness.is_some_and(|completeness| completeness.state() == State::Complete)
}

fn body(body: &Body) -> BodyView<'_> {
    let Body { content, size, decoded_from, dropped } = body;
    let content = match content {
        Some(Content::Text(content)) => content.as_bytes(),
        Some(Content::Binary(content)) => content,
        None => &[],
    };
    BodyView { content, size: *size, decoded_from, dropped }
}
