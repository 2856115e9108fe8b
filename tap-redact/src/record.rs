//! What was done: rules, places and counts; never values.

/// Most entries for one exchange. What is beyond them is counted in one more.
const MAX_ENTRIES: usize = 64;

/// Longest place, in bytes. A deep path is cut.
const MAX_PLACE_BYTES: usize = 160;

/// Longest part of a place that comes from traffic.
const MAX_PART_BYTES: usize = 48;

/// One rule's effect at one place: never the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// "header.authorization", "field.password", "detector.email", "rule.voucher", "profile.strict", "body.opaque".
    pub rule: String,
    /// "request.headers.authorization", "request.target.token", "response.body.$.user.email". Names that may be
    /// data themselves (an address, a number, a long text) are given as `*`, elements of arrays as `[]`.
    pub place: String,
    /// "token", "hash", "mask", "drop", or "shape" where `strict` left types and lengths.
    pub action: String,
    pub count: u32,
}

/// Collects what is done to one exchange.
#[derive(Debug, Default)]
pub(crate) struct Record {
    entries: Vec<Redaction>,
    /// Of the entries that found no room.
    more: u32,
}

impl Record {
    /// Counts one effect of a rule, `kind.name`.
    pub(crate) fn add(&mut self, kind: &str, name: &str, place: String, action: &str) {
        let known = self.entries.iter_mut().find(|entry| {
            entry.place == place
                && entry.action == action
                && entry.rule.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')) == Some(name)
        });
        if let Some(entry) = known {
            entry.count = entry.count.saturating_add(1);
        } else if self.entries.len() < MAX_ENTRIES {
            let rule = format!("{kind}.{name}");
            self.entries.push(Redaction { rule, place, action: action.to_owned(), count: 1 });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Adds what was done to a part that was looked at on its own.
    pub(crate) fn append(&mut self, other: Self) {
        let Self { entries, more } = other;
        let room = MAX_ENTRIES - self.entries.len();
        let counts = entries.iter().skip(room).map(|entry| entry.count);
        self.more = counts.fold(self.more.saturating_add(more), u32::saturating_add);
        self.entries.extend(entries.into_iter().take(room));
    }

    pub(crate) fn into_entries(self) -> Vec<Redaction> {
        let Self { mut entries, more } = self;
        if more > 0 {
            let (rule, place) = ("*".to_owned(), "*".to_owned());
            entries.push(Redaction { rule, place, action: "token".to_owned(), count: more });
        }
        entries
    }
}

/// Builds a place from names; those from traffic are shown only where they look like names.
#[derive(Clone, Debug)]
pub(crate) struct Place(String);

impl Place {
    pub(crate) fn new(known: &str) -> Self {
        Self(known.to_owned())
    }

    /// Appends `.known`, or what is not a name as it is.
    pub(crate) fn known(mut self, known: &str) -> Self {
        if known.as_bytes().first().is_some_and(u8::is_ascii_alphabetic) {
            self.push(".");
        }
        self.push(known);
        self
    }

    /// Appends `.name`.
    pub(crate) fn name(mut self, name: &[u8]) -> Self {
        self.push(".");
        match shown(name) {
            Some(name) => self.push(name),
            None => self.push("*"),
        }
        self
    }

    /// Appends an array's element.
    pub(crate) fn element(mut self) -> Self {
        self.push("[]");
        self
    }

    fn push(&mut self, part: &str) {
        if self.0.ends_with('…') {
            return;
        }
        if self.0.len() + part.len() > MAX_PLACE_BYTES {
            self.0.push('…');
        } else {
            self.0.push_str(part);
        }
    }

    pub(crate) fn build(self) -> String {
        self.0
    }
}

/// Whether a name is an identifier, as most names of fields are.
pub(crate) fn is_name(name: &[u8]) -> bool {
    shown(name).is_some()
}

/// The name, where it is an identifier: no address, no number, no sentence, no key of a lookup table.
fn shown(name: &[u8]) -> Option<&str> {
    let identifier = name.len() <= MAX_PART_BYTES
        && name.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        && name.iter().filter(|byte| byte.is_ascii_digit()).count() <= 3;
    if identifier { std::str::from_utf8(name).ok() } else { None }
}
