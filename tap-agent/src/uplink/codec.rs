//! How the uplink's messages are encoded: as `tap.v1.IngestRequest`, without encoding a batch's exchanges again.

use bytes::{BufMut, Bytes};
use prost::Message;
use tap_proto::v1::{self, ingest_request::Message as Request};
use tonic::{
    Status,
    codec::{Codec, EncodeBuf, Encoder},
};
use tonic_prost::ProstCodec;

/// Field `batch` of `tap.v1.IngestRequest`: number 2, length-delimited.
const BATCH_TAG: u8 = 2 << 3 | 2;

/// One message to the collector.
pub(super) enum Outgoing {
    Hello(v1::Hello),
    Ledger(v1::Ledger),
    Batch {
        sequence: u64,
        ledger: Option<v1::Ledger>,
        /// The `exchanges` fields of a `tap.v1.Batch`.
        exchanges: Bytes,
    },
}

#[derive(Debug, Default)]
pub(super) struct IngestCodec;

#[derive(Debug)]
pub(super) struct IngestEncoder;

impl Codec for IngestCodec {
    type Encode = Outgoing;
    type Decode = v1::IngestResponse;
    type Encoder = IngestEncoder;
    type Decoder = <ProstCodec<v1::IngestRequest, v1::IngestResponse> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        IngestEncoder
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<v1::IngestRequest, v1::IngestResponse>::default().decoder()
    }
}

impl Encoder for IngestEncoder {
    type Item = Outgoing;
    type Error = Status;

    fn encode(&mut self, message: Outgoing, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // Encoding fails only where the buffer can't grow.
        message.write(buffer).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Outgoing {
    fn write(self, buffer: &mut impl BufMut) -> Result<(), prost::EncodeError> {
        let message = match self {
            Self::Hello(hello) => Request::Hello(hello),
            Self::Ledger(ledger) => Request::Ledger(ledger),
            Self::Batch { sequence, ledger, exchanges } => {
                let head = v1::Batch { sequence, exchanges: Vec::new(), ledger };
                buffer.put_u8(BATCH_TAG);
                prost::encode_length_delimiter(head.encoded_len() + exchanges.len(), buffer)?;
                head.encode(buffer)?;
                buffer.put(exchanges);
                return Ok(());
            }
        };
        v1::IngestRequest { message: Some(message) }.encode(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{batch::OpenBatch, registry::TargetKey};

    #[test]
    fn a_batch_decodes_to_what_was_put_together() {
        let exchange = v1::Exchange { id: "a".repeat(300), ..v1::Exchange::default() };
        let ledger = v1::Ledger { agent: "node".to_owned(), ..v1::Ledger::default() };
        let mut batch = OpenBatch::default();
        for _ in 0..2 {
            batch.push(TargetKey(0), exchange.clone(), 0).unwrap();
        }
        let exchanges = batch.seal().unwrap().encoded;

        let mut buffer = Vec::new();
        Outgoing::Batch { sequence: 300, ledger: Some(ledger.clone()), exchanges }
            .write(&mut buffer)
            .unwrap();

        let expected =
            v1::Batch { sequence: 300, exchanges: vec![exchange.clone(), exchange], ledger: Some(ledger) };
        let decoded = v1::IngestRequest::decode(buffer.as_slice()).unwrap();
        assert_eq!(decoded.message, Some(Request::Batch(expected)));
    }
}
