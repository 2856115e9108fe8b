//! Redaction: the gate through which every exchange leaves the node.
//!
//! [`Redactor::redact`] is the only constructor of [`Redacted`], and only `Redacted` can be spooled or
//! sent: the type is the proof that redaction ran.
//!
//! It goes through the places of an exchange (target, header fields, cookies, trailers, bodies), finds there
//! by name what must not leave, and puts a [keyed token](Key) of the same format in its place. Clean bytes pass
//! as they came, mostly without a copy. A body that is not understood does not pass at all
//! ([`DropReason`]). What was done is recorded by rule and place, never with a value. Traffic is hostile input:
//! nothing here panics on it, and time and memory are linear in its length.

#![forbid(unsafe_code)]

mod body;
mod captured;
mod detect;
mod encoded;
mod headers;
mod json;
mod key;
mod names;
mod pairs;
mod policy;
mod record;
mod redactor;
mod scan;
mod session;
mod settings;
mod signs;
mod splice;
mod token;
mod trail;
mod url;
mod value;

pub use body::DropReason;
pub use captured::{Captured, Subject};
pub use detect::{Country, Detector, DetectorSet, Vendor};
pub use key::{Key, KeyError, Keyring, MIN_KEY_BYTES};
pub use policy::check;
pub use record::Redaction;
pub use redactor::Redactor;
pub use scan::{Match, Scan};
pub use settings::{
    Action, AllowSettings, BodySettings, Message, OpaqueBodies, ProfileSettings, RuleSettings, Settings,
    SettingsError, SettingsErrors, UnsureBodies,
};

use std::sync::Arc;

use tap_flow::Exchange;

/// A value that has passed redaction. There is no other way to make one:
///
/// ```compile_fail,E0451
/// let redactions = Vec::new();
/// let forged =
///     tap_redact::Redacted { value: 1, redactions, request_dropped: None, response_dropped: None, key_id: "".into() };
/// ```
///
/// nor to change one:
///
/// ```compile_fail
/// fn change(redacted: &mut tap_redact::Redacted<tap_flow::Exchange>) {
///     redacted.get_mut().request = None;
/// }
/// ```
#[derive(Debug)]
pub struct Redacted<T> {
    value: T,
    redactions: Vec<Redaction>,
    request_dropped: Option<DropReason>,
    response_dropped: Option<DropReason>,
    key_id: Arc<str>,
}

impl<T> Redacted<T> {
    /// The redacted value.
    pub fn get(&self) -> &T {
        &self.value
    }

    /// What was done to it.
    pub fn redactions(&self) -> &[Redaction] {
        &self.redactions
    }

    /// The id of the key that its tokens were made with.
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// Takes it apart.
    pub fn into_parts(self) -> (T, Vec<Redaction>) {
        (self.value, self.redactions)
    }
}

impl Redacted<Exchange> {
    /// The redacted exchange as conditions read it.
    pub fn view<'e>(&'e self, subject: Subject<'e>) -> Captured<'e> {
        let mut view = Captured::new(&self.value, subject);
        (view.request_dropped, view.response_dropped) = (self.request_dropped, self.response_dropped);
        view
    }

    /// Why the request's body was dropped, if it was.
    pub fn request_body_dropped(&self) -> Option<DropReason> {
        self.request_dropped
    }

    /// Why the response's body was dropped, if it was.
    pub fn response_body_dropped(&self) -> Option<DropReason> {
        self.response_dropped
    }
}
