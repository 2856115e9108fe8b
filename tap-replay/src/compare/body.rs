//! Two bodies whose bytes differ, by their type.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use sha2::{Digest as _, Sha256};

use super::{
    difference::{Differences, Kind},
    document::{Json, long_numbers},
    json,
    redacted::Redacted,
    settings::{Bodies, Rules},
    text,
};

const BODY: &str = "body";

/// A body with its declared type.
#[derive(Clone, Copy)]
pub(super) struct Typed<'a> {
    pub(super) content: &'a [u8],
    pub(super) content_type: &'a str,
}

/// Compares `left`, what is expected, with `right`. Returns false where nothing can be said, because what was
/// redacted can't be told from the rest.
pub(super) fn compare(
    left: Typed<'_>,
    right: Typed<'_>,
    rules: &Rules,
    redacted: &Redacted<'_>,
    differences: &mut Differences,
) -> bool {
    if rules.bodies == Bodies::Bytes {
        return !redacted.body() && binary(left.content, right.content, differences);
    }
    if left.looks_like_json()
        && let Some(expected) = Json::parse(left.content)
    {
        match Json::parse(right.content) {
            Some(answered) => {
                let before = differences.list.len();
                json::compare(&expected, &answered, rules, redacted, "body.", differences);
                if differences.list.len() == before
                    && long_numbers(left.content) != long_numbers(right.content)
                {
                    differences.add("body.$", Kind::Value, "a number of many digits", "another one");
                }
            }
            None => {
                let excerpt = excerpt(right.content);
                differences.add(BODY, Kind::Type, &format!("JSON, {}", expected.type_name()), &excerpt);
            }
        }
        return true;
    }
    if left.is_form() && right.is_form() {
        json::compare(&form(left.content), &form(right.content), rules, redacted, "body.", differences);
        return true;
    }
    if redacted.body() {
        return false;
    }
    match (std::str::from_utf8(left.content), std::str::from_utf8(right.content)) {
        (Ok(left), Ok(right)) if !left.contains('\0') && !right.contains('\0') => {
            text::compare(left, right, rules.classes, BODY, differences);
            true
        }
        _ => binary(left.content, right.content, differences),
    }
}

impl Typed<'_> {
    fn looks_like_json(&self) -> bool {
        let first = self.content.iter().find(|byte| !byte.is_ascii_whitespace());
        contains(self.content_type, "json") || matches!(first, Some(b'{' | b'['))
    }

    fn is_form(&self) -> bool {
        contains(self.content_type, "x-www-form-urlencoded")
    }
}

fn contains(content_type: &str, word: &str) -> bool {
    content_type.to_ascii_lowercase().contains(word)
}

/// A form as a document: a repeated name is a repeated member.
fn form(content: &[u8]) -> Json<'_> {
    let decoded = |part: &[u8]| -> Cow<'_, str> {
        let spaces: Vec<u8> = part.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        percent_decode(&spaces).decode_utf8_lossy().into_owned().into()
    };
    let pairs = content.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let members = pairs.map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let value = pair.get(end + 1..).unwrap_or_default();
        (decoded(&pair[..end]).into_owned().into(), Json::Text(decoded(value).into_owned().into()))
    });
    Json::Object(members.collect())
}

fn binary(left: &[u8], right: &[u8], differences: &mut Differences) -> bool {
    differences.add(BODY, Kind::Binary, &described(left), &described(right));
    true
}

fn described(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{} bytes, sha256 {digest}…", content.len())
}

/// The beginning of what is not the type that it should be.
fn excerpt(content: &[u8]) -> String {
    match std::str::from_utf8(&content[..content.len().min(256)]) {
        Ok(text) => text.to_owned(),
        Err(error) if error.valid_up_to() > 128 => {
            String::from_utf8_lossy(&content[..error.valid_up_to()]).into_owned()
        }
        Err(_) => described(content),
    }
}
