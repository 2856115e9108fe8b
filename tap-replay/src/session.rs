//! Sessions: requests that belong together are sent in order, all or none of them, and share state.

pub(crate) mod key;

pub use key::{SessionKey, SessionKeyError};
