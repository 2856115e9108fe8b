//! What a request for statistics asks for, checked.

use std::time::Duration;

use tap_proto::v1::{StatsOrder, StatsRequest};
use tap_store::{Dimension, MAX_DIMENSIONS, StatsQuery};
use tonic::Status;

use crate::status;

const DEFAULT_GROUPS: usize = 50;
const MAX_GROUPS: usize = 1000;
const DEFAULT_PERCENTILES: [f64; 5] = [50.0, 90.0, 95.0, 99.0, 99.9];
const MAX_PERCENTILES: usize = 16;

pub(super) fn parse(request: StatsRequest) -> Result<StatsQuery, Status> {
    let StatsRequest { filter, start_time, end_time, group_by, step, percentiles, order, limit } = request;
    if group_by.len() > MAX_DIMENSIONS {
        return Err(Status::invalid_argument(format!(
            "group_by: {} names, at most {MAX_DIMENSIONS} are allowed",
            group_by.len()
        )));
    }
    let group_by = group_by
        .iter()
        .map(|name| name.parse::<Dimension>())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Status::invalid_argument(format!("group_by: {error}")))?;
    if percentiles.len() > MAX_PERCENTILES {
        return Err(Status::invalid_argument(format!(
            "percentiles: {}, at most {MAX_PERCENTILES} are allowed",
            percentiles.len()
        )));
    }
    if let Some(wrong) = percentiles.iter().find(|percentile| !(0.0..=100.0).contains(*percentile)) {
        return Err(Status::invalid_argument(format!("percentiles: {wrong} is not between 0 and 100")));
    }
    let order = StatsOrder::try_from(order)
        .map_err(|_| Status::invalid_argument(format!("order: {order} is not known")))?;
    let (start, end) =
        (status::parse_time("start_time", start_time)?, status::parse_time("end_time", end_time)?);
    if let (Some(start), Some(end)) = (start, end)
        && end < start
    {
        return Err(Status::invalid_argument("end_time: is before start_time"));
    }
    Ok(StatsQuery {
        condition: status::parse_filter(&filter)?,
        start,
        end,
        group_by,
        step: step.map(|step| parse_step(&step)).transpose()?,
        percentiles: if percentiles.is_empty() { DEFAULT_PERCENTILES.to_vec() } else { percentiles },
        order,
        limit: match limit as usize {
            0 => DEFAULT_GROUPS,
            limit => limit.min(MAX_GROUPS),
        },
    })
}

fn parse_step(step: &prost_types::Duration) -> Result<Duration, Status> {
    match Duration::try_from(*step) {
        Ok(step) if step >= Duration::from_secs(1) && step.subsec_nanos() == 0 => Ok(step),
        _ => Err(Status::invalid_argument("step: must be whole seconds, one at least")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_of_defaults_asks_for_the_total() {
        let query = parse(StatsRequest::default()).unwrap();
        assert_eq!((query.group_by.len(), query.limit, query.step), (0, 50, None));
        assert_eq!(query.percentiles, DEFAULT_PERCENTILES);
    }

    #[test]
    fn what_can_not_be_meant_is_refused() {
        let step = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        for (request, field) in [
            (StatsRequest { filter: "x".repeat(100_000), ..StatsRequest::default() }, "filter"),
            (StatsRequest { group_by: vec!["colour".into()], ..StatsRequest::default() }, "group_by"),
            (StatsRequest { group_by: vec!["pod".into(); 7], ..StatsRequest::default() }, "group_by"),
            (StatsRequest { percentiles: vec![50.0; 17], ..StatsRequest::default() }, "percentiles"),
            (StatsRequest { percentiles: vec![f64::NAN], ..StatsRequest::default() }, "percentiles"),
            (StatsRequest { percentiles: vec![100.1], ..StatsRequest::default() }, "percentiles"),
            (StatsRequest { order: 99, ..StatsRequest::default() }, "order"),
            (StatsRequest { step: step(0, 500_000_000), ..StatsRequest::default() }, "step"),
            (StatsRequest { step: step(-60, 0), ..StatsRequest::default() }, "step"),
            (StatsRequest { step: step(i64::MAX, i32::MAX), ..StatsRequest::default() }, "step"),
            (StatsRequest { start_time: time(i64::MAX), ..StatsRequest::default() }, "start_time"),
            (StatsRequest { start_time: time(2), end_time: time(1), ..StatsRequest::default() }, "end_time"),
        ] {
            let status = parse(request).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().starts_with(&format!("{field}: ")), "{status:?}");
        }
    }
}
