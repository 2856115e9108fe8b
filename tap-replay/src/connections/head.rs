//! The head of an answer, as it stands in the connection's buffer.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Status and headers.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    status: u16,
    /// The minor version of HTTP/1.
    version: u8,
    headers: &'a [httparse::Header<'a>],
}

impl<'a> Head<'a> {
    pub(crate) fn new(status: u16, version: u8, headers: &'a [httparse::Header<'a>]) -> Self {
        Self { status, version, headers }
    }

    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    /// The first value of the header of this name, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// All values of the headers of this name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name.eq_ignore_ascii_case(name))
            .map(|header| header.value)
    }

    /// In the order and spelling of the wire.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + Clone {
        self.headers.iter().map(|header| (header.name, header.value))
    }

    /// What can be put into a map: all that is valid.
    pub(crate) fn to_map(self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.headers.len());
        for (name, value) in self.headers() {
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value))
            {
                // A map that is full keeps what it has.
                let _ = map.try_append(name, value);
            }
        }
        map
    }

    /// Whether the target keeps the connection open after this answer.
    pub(super) fn keeps_alive(&self) -> bool {
        let says = |word: &str| {
            let options = self.all("connection").flat_map(|options| options.split(|&byte| byte == b','));
            options.map(<[u8]>::trim_ascii).any(|option| option.eq_ignore_ascii_case(word.as_bytes()))
        };
        if self.version == 0 { says("keep-alive") } else { !says("close") }
    }
}

impl std::fmt::Debug for Head<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Head({}, {} headers)", self.status, self.headers.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_kept_as_its_version_and_options_say() {
        let keeps = |version, options: &str| {
            let headers = [httparse::Header { name: "CONNECTION", value: options.as_bytes() }];
            Head::new(200, version, &headers).keeps_alive()
        };
        assert!(keeps(1, ""));
        assert!(keeps(1, "keep-alive"));
        assert!(!keeps(1, "x, Close"));
        assert!(!keeps(0, ""));
        assert!(keeps(0, "Keep-Alive"));
    }
}
