//! Any bytes as messages of the wire: decoding never panics, and what decodes survives a round trip.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use tap_proto::v1;

fuzz_target!(|input: &[u8]| {
    round_trip::<v1::IngestRequest>(input);
    round_trip::<v1::Exchange>(input);
    round_trip::<v1::Ledger>(input);
    round_trip::<v1::SearchRequest>(input);
});

fn round_trip<M: Message + Default>(input: &[u8]) {
    let Ok(message) = M::decode(input) else { return };
    let encoded = message.encode_to_vec();
    assert_eq!(encoded.len(), message.encoded_len());
    let again = M::decode(&encoded[..]).expect("own encoding decodes");
    // By bytes, as NaN differs from itself. Maps have no order, so lengths are all that is sure of them.
    assert_eq!(again.encoded_len(), encoded.len());
}
