//! HTTP Archive 1.2: what browsers and proxies save, and browsers' developer tools open.
//!
//! An archive has no place for much that is stored (who was tapped, how complete a message is, trailers). That is in the entry's
//! `_exchange`, as JSON lines have it, without what the archive itself holds. Values that are not text are in
//! `_base64` beside the place where they would be. Names that begin with `_` are for applications, and others skip them.

mod entry;
mod read;
mod write;

pub use read::read;
pub use write::Writer;
