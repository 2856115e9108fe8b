//! Protobuf's canonical JSON, as grpcurl prints it.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};

static DESCRIPTORS: LazyLock<Result<DescriptorPool, prost_reflect::DescriptorError>> =
    LazyLock::new(|| DescriptorPool::decode(tap_proto::DESCRIPTOR_SET));

/// A message with its name in the protocol.
pub trait Named: Message {
    const NAME: &str;
}

/// Why a message has no JSON: the descriptors that were built in do not fit it.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no descriptor of {0}")]
pub struct NoDescriptor(&'static str);

macro_rules! named {
    ($($message:ident),+) => {
        $(impl Named for tap_proto::v1::$message {
            const NAME: &str = concat!("tap.v1.", stringify!($message));
        })+
    };
}

named!(Exchange, GetLedgerResponse, ListMirrorsResponse, Mirror, ReplayReport, SearchResponse, StatsResponse);

/// The message that `json` is; `None` where it is none. Fields that there are not are skipped. No error is given,
/// for one would quote what was captured.
pub fn parse<M: Named + Default>(json: &[u8]) -> Option<M> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let message = from::<M>(&mut deserializer)?;
    deserializer.end().ok()?;
    Some(message)
}

/// The message that `value` is; `None` where it is none.
pub(crate) fn of_value<M: Named + Default>(value: &serde_json::Value) -> Option<M> {
    from(value)
}

fn from<'d, M: Named + Default>(deserializer: impl serde::Deserializer<'d>) -> Option<M> {
    let descriptor = DESCRIPTORS.as_ref().ok()?.get_message_by_name(M::NAME)?;
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(descriptor, deserializer, &options).ok()?;
    message.transcode_to().ok()
}

/// What serialises as the message's JSON.
pub fn serializable<M: Named>(message: &M) -> Result<impl serde::Serialize + use<M>, NoDescriptor> {
    let descriptors = DESCRIPTORS.as_ref().map_err(|_| NoDescriptor(M::NAME))?;
    let descriptor = descriptors.get_message_by_name(M::NAME).ok_or(NoDescriptor(M::NAME))?;
    DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(|_| NoDescriptor(M::NAME))
}
