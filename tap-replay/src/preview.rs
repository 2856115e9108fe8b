//! What would be sent, without sending it.

use std::time::SystemTime;

use tap_proto::v1::Exchange;

use crate::{
    Plan,
    request::{self, Refusal},
    safety,
    transform::Learned,
};

/// A request before and after its transformation, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preview {
    pub before: String,
    pub after: String,
    /// What the transformation could not do.
    pub problems: Vec<&'static str>,
}

/// The request that `plan` makes of `exchange`, as far as it is known before any answer; or why there is none.
pub fn preview(exchange: &Exchange, plan: &Plan) -> Result<Preview, &'static str> {
    if safety::is_production(exchange, plan) {
        return Err(safety::PRODUCTION);
    }
    let mut draft = request::draft(exchange, plan).map_err(Refusal::as_str)?;
    let text = |draft: &request::Draft<'_>| {
        let outgoing = draft.encode(plan).map_err(Refusal::as_str)?;
        Ok::<_, &'static str>(String::from_utf8_lossy(&outgoing.bytes).into_owned())
    };
    let before = text(&draft)?;
    let mut problems = Vec::new();
    if let Some(transform) = &plan.transform {
        transform.apply(exchange, &mut draft, &Learned::default(), SystemTime::now(), &mut problems);
    }
    Ok(Preview { before, after: text(&draft)?, problems })
}
