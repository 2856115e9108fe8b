//! A request that came with the recorded response that would answer it: what conditions of chaos are over.

use std::collections::BTreeMap;

use tap_expr::{BodyView, Field, MessageView, Part, PeerNames, Scalar, Side, View};
use tap_proto::v1::Exchange;

use super::recording::Recording;

/// Of the request everything is what came; of the response, and of who was tapped, what was recorded.
pub(super) struct Meeting<'m> {
    pub(super) asked: &'m Exchange,
    pub(super) recorded: Option<&'m Recording>,
}

impl View for Meeting<'_> {
    fn field(&self, field: Field) -> Option<Scalar<'_>> {
        match field {
            Field::Role | Field::Method | Field::Scheme | Field::Host | Field::Path | Field::Query => {
                self.asked.field(field)
            }
            _ => self.recorded?.exchange.field(field),
        }
    }

    fn peer(&self, side: Side) -> Option<PeerNames<'_>> {
        self.recorded?.exchange.peer(side)
    }

    fn labels(&self) -> &BTreeMap<String, String> {
        self.recorded.map_or(self.asked, |recorded| &recorded.exchange).labels()
    }

    fn flow(&self) -> (u64, u32) {
        self.recorded.map_or(self.asked, |recorded| &recorded.exchange).flow()
    }

    fn message(&self, part: Part) -> Option<MessageView<'_>> {
        match part {
            Part::Request => self.asked.message(part),
            Part::Response => {
                let recorded = self.recorded?;
                let message = recorded.exchange.message(part)?;
                let body = message.body.map(|body| BodyView { content: &recorded.body, ..body });
                Some(MessageView { body, ..message })
            }
        }
    }
}
