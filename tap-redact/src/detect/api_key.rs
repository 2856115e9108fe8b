//! Keys and tokens of vendors, by the beginnings that they gave them so that they can be found, their characters and
//! their length.

use super::{Detector, Found, Text, catalogue::Vendor};

/// A kind of key.
pub(super) struct Key {
    pub(super) beginning: &'static str,
    vendor: Vendor,
    /// What follows the beginning.
    characters: Characters,
    /// How many of them at least.
    min: usize,
    max: usize,
    where_it_stands: Stands,
}

#[derive(Clone, Copy)]
enum Characters {
    Upper,
    Hex,
    Alphanumeric,
    /// And `_`, `-`.
    Url,
    /// And `.`.
    Dotted,
    /// Base64 with its padding, percent-encoded or not.
    Base64,
    /// A path.
    Path,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// The key begins with the beginning, which begins a word.
    AtStart,
    /// The key follows it: `AccountKey=`.
    Before,
    /// So many of the key's characters stand before it.
    After(usize),
    /// As `AtStart`, and a digit must be in it: words have such beginnings, too.
    WithDigit,
}

use Characters::{Alphanumeric, Base64, Dotted, Hex, Path, Upper, Url};
use Stands::{After, AtStart, Before, WithDigit};

const fn key(
    vendor: Vendor,
    beginning: &'static str,
    characters: Characters,
    min: usize,
    max: usize,
    where_it_stands: Stands,
) -> Key {
    Key { beginning, vendor, characters, min, max, where_it_stands }
}

pub(super) const KEYS: &[Key] = &[
    key(Vendor::Aws, "AKIA", Upper, 16, 16, AtStart),
    key(Vendor::Aws, "ASIA", Upper, 16, 16, AtStart),
    key(Vendor::Aws, "ABIA", Upper, 16, 16, AtStart),
    key(Vendor::Aws, "ACCA", Upper, 16, 16, AtStart),
    key(Vendor::Gcp, "AIza", Url, 35, 35, AtStart),
    key(Vendor::Gcp, "ya29.", Dotted, 20, 2048, AtStart),
    key(Vendor::Gcp, "GOCSPX-", Url, 20, 40, AtStart),
    key(Vendor::Azure, "AccountKey=", Base64, 40, 128, Before),
    key(Vendor::Azure, "SharedAccessKey=", Base64, 40, 128, Before),
    key(Vendor::Azure, "SharedAccessSignature=", Base64, 20, 512, Before),
    key(Vendor::Azure, "8Q~", Dotted, 31, 34, After(3)),
    key(Vendor::Azure, "7Q~", Dotted, 31, 34, After(3)),
    key(Vendor::GitHub, "ghp_", Alphanumeric, 30, 255, AtStart),
    key(Vendor::GitHub, "gho_", Alphanumeric, 30, 255, AtStart),
    key(Vendor::GitHub, "ghu_", Alphanumeric, 30, 255, AtStart),
    key(Vendor::GitHub, "ghs_", Alphanumeric, 30, 255, AtStart),
    key(Vendor::GitHub, "ghr_", Alphanumeric, 30, 255, AtStart),
    key(Vendor::GitHub, "github_pat_", Url, 22, 255, AtStart),
    key(Vendor::GitLab, "glpat-", Url, 20, 64, AtStart),
    key(Vendor::GitLab, "gldt-", Url, 20, 64, AtStart),
    key(Vendor::GitLab, "glrt-", Url, 20, 64, AtStart),
    key(Vendor::GitLab, "glptt-", Url, 20, 64, AtStart),
    key(Vendor::GitLab, "glcbt-", Url, 20, 64, AtStart),
    key(Vendor::Slack, "xoxb-", Url, 10, 255, WithDigit),
    key(Vendor::Slack, "xoxp-", Url, 10, 255, WithDigit),
    key(Vendor::Slack, "xoxa-", Url, 10, 255, WithDigit),
    key(Vendor::Slack, "xoxr-", Url, 10, 255, WithDigit),
    key(Vendor::Slack, "xoxs-", Url, 10, 255, WithDigit),
    key(Vendor::Slack, "xoxe-", Url, 10, 255, WithDigit),
    key(Vendor::Slack, "xapp-", Url, 10, 255, WithDigit),
    key(Vendor::Slack, "hooks.slack.com/services/", Path, 20, 128, Before),
    key(Vendor::Stripe, "sk_live_", Alphanumeric, 10, 255, AtStart),
    key(Vendor::Stripe, "sk_test_", Alphanumeric, 10, 255, AtStart),
    key(Vendor::Stripe, "rk_live_", Alphanumeric, 10, 255, AtStart),
    key(Vendor::Stripe, "rk_test_", Alphanumeric, 10, 255, AtStart),
    key(Vendor::Stripe, "whsec_", Alphanumeric, 16, 255, AtStart),
    key(Vendor::Npm, "npm_", Alphanumeric, 36, 36, AtStart),
    key(Vendor::PyPi, "pypi-", Url, 50, 1024, WithDigit),
    key(Vendor::SendGrid, "SG.", Dotted, 40, 80, WithDigit),
    key(Vendor::DigitalOcean, "dop_v1_", Hex, 64, 64, AtStart),
    key(Vendor::DigitalOcean, "doo_v1_", Hex, 64, 64, AtStart),
    key(Vendor::DigitalOcean, "dor_v1_", Hex, 64, 64, AtStart),
    key(Vendor::Docker, "dckr_pat_", Url, 20, 64, AtStart),
    key(Vendor::Shopify, "shpat_", Hex, 32, 32, AtStart),
    key(Vendor::Shopify, "shpca_", Hex, 32, 32, AtStart),
    key(Vendor::Shopify, "shppa_", Hex, 32, 32, AtStart),
    key(Vendor::Shopify, "shpss_", Hex, 32, 32, AtStart),
    key(Vendor::Square, "sq0atp-", Url, 22, 64, AtStart),
    key(Vendor::Square, "sq0csp-", Url, 40, 64, AtStart),
    key(Vendor::Anthropic, "sk-ant-", Url, 24, 255, WithDigit),
    key(Vendor::OpenAi, "sk-", Url, 32, 255, WithDigit),
    key(Vendor::HuggingFace, "hf_", Alphanumeric, 30, 64, AtStart),
    key(Vendor::HashiCorp, "hvs.", Url, 20, 255, WithDigit),
    key(Vendor::HashiCorp, "hvb.", Url, 20, 512, WithDigit),
    key(Vendor::HashiCorp, ".atlasv1.", Url, 60, 128, After(14)),
    key(Vendor::Grafana, "glsa_", Url, 32, 64, AtStart),
    key(Vendor::Grafana, "glc_", Base64, 32, 400, WithDigit),
    key(Vendor::Mailgun, "key-", Hex, 32, 32, AtStart),
];

impl Key {
    /// The key whose beginning is at `start`, if it is one.
    pub(super) fn find_at(&self, text: &Text<'_>, start: usize, found: &mut Found) {
        let Self { beginning, vendor, characters, min, max, where_it_stands } = *self;
        let after = start + beginning.len();
        let length = text.run(after, max + 1, |byte| characters.has(byte));
        if !(min..=max).contains(&length) {
            return;
        }
        let end = after + length;
        let from = match where_it_stands {
            Before => after,
            After(count)
                if start >= count && text[start - count..start].iter().all(|byte| characters.has(*byte)) =>
            {
                start - count
            }
            After(_) => return,
            AtStart | WithDigit => start,
        };
        let begins_word = where_it_stands == Before
            || !text.before(from).is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let has_digit = where_it_stands != WithDigit || text[after..end].iter().any(u8::is_ascii_digit);
        if begins_word && has_digit {
            found.push(Detector::ApiKey(vendor), from..end);
        }
    }
}

impl Characters {
    fn has(self, byte: u8) -> bool {
        match self {
            Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Hex => byte.is_ascii_hexdigit(),
            Alphanumeric => byte.is_ascii_alphanumeric(),
            Url => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'~'),
            Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'%' | b'&'),
            Path => byte.is_ascii_alphanumeric() || byte == b'/',
        }
    }
}

/// Twilio's: the word from `start` to `end` is `SK` or `AC` and 32 hexadecimal digits.
pub(super) fn twilio_at(text: &Text<'_>, start: usize, end: usize, found: &mut Found) -> Option<usize> {
    let word = &text[start..end];
    let is_key = (word.starts_with(b"SK") || word.starts_with(b"AC"))
        && word.len() == 34
        && word[2..].iter().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte));
    (is_key && found.push(Detector::ApiKey(Vendor::Twilio), start..end)).then_some(end)
}

/// Telegram's: a bot's number, a colon and 35 characters of which the first two are `AA`.
pub(super) fn telegram_at(text: &Text<'_>, start: usize, end: usize, found: &mut Found) -> Option<usize> {
    if !(8..=10).contains(&(end - start)) || !text[end..].starts_with(b":AA") {
        return None;
    }
    let length = text.run(end + 1, 36, |byte| Url.has(byte));
    let key_end = end + 1 + length;
    (length == 35 && found.push(Detector::ApiKey(Vendor::Telegram), start..key_end)).then_some(key_end)
}
