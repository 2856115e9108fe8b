//! What an agent sends, checked before it is queued: what passes can be stored.

use prost::Message as _;
use prost_types::{Duration, Timestamp};
use tap_proto::v1::{Batch, Exchange, Hello};
use tap_store::AgentEpoch;
use tonic::Status;
use uuid::{Uuid, Version};

/// A Kubernetes node's name is a DNS name.
const MAX_AGENT_NAME: usize = 253;
/// Far beyond what an agent batches; each costs the committer a row.
const MAX_BATCH_EXCHANGES: usize = 65_536;
/// Two bodies of 10 MB, text that grew by a lossy rendition, and headers.
const MAX_EXCHANGE_BYTES: usize = 48 * 1024 * 1024;
/// The year 2200: a later time would make a partition that nobody looks into.
const LATEST_SECONDS: i64 = 7_258_118_400;

pub(super) fn hello(hello: Hello) -> Result<AgentEpoch, Status> {
    let Hello { agent, epoch, version: _ } = hello;
    if agent.is_empty() || agent.len() > MAX_AGENT_NAME || agent.contains(|c: char| c.is_control()) {
        return Err(Status::invalid_argument(format!(
            "hello.agent: must be 1 to {MAX_AGENT_NAME} bytes without control characters"
        )));
    }
    if epoch == 0 {
        return Err(Status::invalid_argument("hello.epoch: must not be 0"));
    }
    Ok(AgentEpoch { agent, epoch })
}

/// `previous` is the sequence of the stream's batch before, 0 for none. Gives the batch's encoded size.
pub(super) fn batch(batch: &Batch, previous: u64) -> Result<usize, Status> {
    let sequence = batch.sequence;
    if sequence <= previous {
        return Err(Status::invalid_argument(format!(
            "batch.sequence: {sequence} does not ascend from {previous}"
        )));
    }
    if batch.exchanges.len() > MAX_BATCH_EXCHANGES {
        return Err(Status::invalid_argument(format!(
            "batch {sequence}: {} exchanges, at most {MAX_BATCH_EXCHANGES} are allowed",
            batch.exchanges.len()
        )));
    }
    let bytes = batch.encoded_len();
    for (index, exchange) in batch.exchanges.iter().enumerate() {
        let checked = check_exchange(exchange).and_then(|()| {
            // Only in a batch that is larger can one of its exchanges be too large: they are not measured one by one.
            if bytes > MAX_EXCHANGE_BYTES { check_size(exchange) } else { Ok(()) }
        });
        checked.map_err(|reason| {
            Status::invalid_argument(format!("batch {sequence}, exchanges[{index}]: {reason}"))
        })?;
    }
    Ok(bytes)
}

/// Says which batch brought the exchanges, whatever the agent wrote there.
pub(super) fn stamp(batch: &mut Batch, epoch: &AgentEpoch) {
    for exchange in &mut batch.exchanges {
        exchange.agent.clone_from(&epoch.agent);
        exchange.epoch = epoch.epoch;
        exchange.sequence = batch.sequence;
    }
}

fn check_exchange(exchange: &Exchange) -> Result<(), String> {
    if !is_id(&exchange.id) {
        return Err("id: must be a UUID of version 7 in lower-case text".to_owned());
    }
    match &exchange.time {
        Some(Timestamp { seconds: 0..=LATEST_SECONDS, nanos: 0..1_000_000_000 }) => {}
        Some(_) => return Err("time: out of range".to_owned()),
        None => return Err("time: must be given".to_owned()),
    }
    match &exchange.duration {
        None | Some(Duration { seconds: 0..=LATEST_SECONDS, nanos: 0..1_000_000_000 }) => {}
        Some(_) => return Err("duration: out of range".to_owned()),
    }
    if exchange.request.is_none() && exchange.response.is_none() {
        return Err("neither request nor response".to_owned());
    }
    Ok(())
}

fn check_size(exchange: &Exchange) -> Result<(), String> {
    let bytes = exchange.encoded_len();
    if bytes > MAX_EXCHANGE_BYTES {
        return Err(format!("{bytes} bytes, at most {MAX_EXCHANGE_BYTES} are allowed"));
    }
    Ok(())
}

fn is_id(text: &str) -> bool {
    Uuid::try_parse(text).is_ok_and(|id| {
        id.get_version() == Some(Version::SortRand)
            && id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text
    })
}

#[cfg(test)]
mod tests {
    use tap_proto::v1::Request;

    use super::*;

    fn exchange() -> Exchange {
        Exchange {
            id: Uuid::now_v7().to_string(),
            time: Some(Timestamp { seconds: 1_700_000_000, nanos: 5 }),
            request: Some(Request::default()),
            ..Exchange::default()
        }
    }

    #[test]
    fn accepts_a_plain_batch_and_stamps_it() {
        let mut sent = Batch { sequence: 4, exchanges: vec![exchange(), exchange()], ledger: None };
        batch(&sent, 1).unwrap();
        stamp(&mut sent, &AgentEpoch { agent: "node-1".to_owned(), epoch: 9 });
        for exchange in &sent.exchanges {
            assert_eq!((exchange.agent.as_str(), exchange.epoch, exchange.sequence), ("node-1", 9, 4));
        }
    }

    #[test]
    fn refuses_what_no_table_should_hold() {
        let time = |seconds, nanos| Some(Timestamp { seconds, nanos });
        let refused: [(&str, Exchange); 9] = [
            ("id", Exchange { id: String::new(), ..exchange() }),
            ("id", Exchange { id: Uuid::now_v7().to_string().to_uppercase(), ..exchange() }),
            ("id", Exchange { id: Uuid::nil().to_string(), ..exchange() }),
            ("id", Exchange { id: Uuid::now_v7().simple().to_string(), ..exchange() }),
            ("time", Exchange { time: None, ..exchange() }),
            ("time", Exchange { time: time(-1, 0), ..exchange() }),
            ("time", Exchange { time: time(1, 1_000_000_000), ..exchange() }),
            ("duration", Exchange { duration: Some(Duration { seconds: -1, nanos: 0 }), ..exchange() }),
            ("neither", Exchange { request: None, ..exchange() }),
        ];
        for (what, wrong) in refused {
            let status = batch(&Batch { sequence: 1, exchanges: vec![exchange(), wrong], ledger: None }, 0)
                .unwrap_err();
            let start = format!("batch 1, exchanges[1]: {what}");
            assert!(status.message().starts_with(&start), "{}", status.message());
        }
    }

    #[test]
    fn refuses_a_sequence_that_does_not_ascend() {
        for (sequence, previous) in [(0, 0), (3, 3), (2, 3)] {
            assert!(batch(&Batch { sequence, ..Batch::default() }, previous).is_err());
        }
    }

    #[test]
    fn refuses_agents_without_a_name() {
        for (agent, epoch) in [("", 1), ("a\nb", 1), ("node", 0), (&*"x".repeat(300), 1)] {
            let agent = agent.to_owned();
            assert!(hello(Hello { agent, epoch, version: String::new() }).is_err());
        }
    }
}
