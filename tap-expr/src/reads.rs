//! What of an exchange a condition reads: all that must be fetched to evaluate it.

use std::collections::BTreeSet;

use crate::{
    node::Node,
    predicate::Field,
    schema::{Attribute, BodyField},
    view::{Part, Side},
};

/// A part of the exchange that is fetched or left out as a whole. Whether its message is there is not said: who
/// reads of a message must know that too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Read {
    Field(Field),
    /// The names of an end.
    Peer(Side),
    Labels,
    /// The connection, and the place on it.
    Flow,
    Version(Part),
    Reason,
    Headers(Part),
    Trailers(Part),
    Completeness(Part),
    /// Everything of a body but its content.
    Body(Part),
    BodyContent(Part),
}

/// What the expression reads, whatever the exchange.
pub(crate) fn of(node: &Node) -> BTreeSet<Read> {
    let mut reads = BTreeSet::new();
    visit(node, &mut reads);
    reads
}

/// As deep as the checker lets an expression be.
fn visit(node: &Node, reads: &mut BTreeSet<Read>) {
    match node {
        Node::Constant(_) | Node::Variable(_) => {}
        Node::Read(attribute) | Node::Has(attribute) => add(*attribute, reads),
        Node::List(nodes) => nodes.iter().for_each(|node| visit(node, reads)),
        Node::Not(operand) | Node::Negate(operand) | Node::Matches(operand, _) | Node::HasJson(operand) => {
            visit(operand, reads)
        }
        Node::And(left, right)
        | Node::Or(left, right)
        | Node::Compare(_, left, right)
        | Node::Arithmetic(_, left, right)
        | Node::InList(left, right)
        | Node::InMap(left, right)
        | Node::InJson(left, right)
        | Node::JsonAt(left, right)
        | Node::Lookup(left, right)
        | Node::Element(left, right)
        | Node::Loop(_, left, right) => {
            visit(left, reads);
            visit(right, reads);
        }
        Node::Conditional(nodes) | Node::FilterMap(nodes) => {
            nodes.iter().for_each(|node| visit(node, reads));
        }
        Node::Call(_, target, argument) => {
            visit(target, reads);
            if let Some(argument) = argument {
                visit(argument, reads);
            }
        }
    }
}

fn add(attribute: Attribute, reads: &mut BTreeSet<Read>) {
    let read = match attribute {
        Attribute::Column(field) => Read::Field(field),
        Attribute::ExchangeComplete => {
            reads.insert(Read::Completeness(Part::Request));
            Read::Completeness(Part::Response)
        }
        Attribute::Flow | Attribute::FlowIndex => Read::Flow,
        Attribute::Labels => Read::Labels,
        Attribute::Peer(side, _) => Read::Peer(side),
        Attribute::DestinationHost => Read::Field(Field::Host),
        Attribute::Version(part) => Read::Version(part),
        Attribute::Reason => Read::Reason,
        Attribute::Headers(part) => Read::Headers(part),
        Attribute::Trailers(part) => Read::Trailers(part),
        Attribute::Complete(part) => Read::Completeness(part),
        Attribute::Body(part, BodyField::Text | BodyField::Bytes | BodyField::Json) => {
            reads.insert(Read::Body(part));
            Read::BodyContent(part)
        }
        Attribute::Body(part, BodyField::Size | BodyField::DecodedFrom | BodyField::Dropped) => {
            Read::Body(part)
        }
    };
    reads.insert(read);
}
