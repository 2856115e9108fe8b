//! Payment cards: issuer ranges (ISO/IEC 7812), their lengths, Luhn's check digit.

use super::{Detector, Found, Text, check_digits::luhn, digits::Runs};

pub(super) const MIN_DIGITS: usize = 13;
const MAX_DIGITS: usize = 19;

/// A card network, as far as its numbers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brand {
    Visa,
    Mastercard,
    Amex,
    Diners,
    Discover,
    Jcb,
    UnionPay,
    Maestro,
}

impl Brand {
    /// The range of the brand's published test numbers, which no issuer gives out, and a digit after which none of
    /// them goes on: tokens begin with it, and are told by it.
    pub(crate) fn token_range(self) -> &'static [u8; 7] {
        match self {
            Self::Visa => &[4, 0, 0, 0, 0, 0, 9],
            Self::Mastercard => &[5, 5, 5, 5, 5, 5, 9],
            Self::Amex => &[3, 7, 8, 2, 8, 2, 9],
            Self::Diners => &[3, 0, 5, 6, 9, 3, 9],
            Self::Discover => &[6, 0, 1, 1, 1, 1, 9],
            Self::Jcb => &[3, 5, 3, 0, 1, 1, 9],
            Self::UnionPay => &[6, 2, 0, 0, 0, 0, 9],
            Self::Maestro => &[6, 3, 0, 4, 0, 0, 9],
        }
    }
}

/// The brand whose range and length these digits have.
pub(crate) fn brand_of(digits: &[u8]) -> Option<Brand> {
    let prefix = |length: usize| {
        digits.iter().take(length).fold(0_u32, |number, digit| number * 10 + u32::from(*digit))
    };
    let (two, four) = (prefix(2), prefix(4));
    let brand = match two {
        40..=49 => Brand::Visa,
        51..=55 => Brand::Mastercard,
        22..=27 if (2221..=2720).contains(&four) => Brand::Mastercard,
        34 | 37 => Brand::Amex,
        30 | 36 | 38 | 39 => Brand::Diners,
        35 if (3528..=3589).contains(&four) => Brand::Jcb,
        62 | 81 => Brand::UnionPay,
        60 if four == 6011 => Brand::Discover,
        64 | 65 => Brand::Discover,
        50 | 56..=58 | 63 | 67 | 68 => Brand::Maestro,
        _ => return None,
    };
    let long_enough = match brand {
        Brand::Visa => matches!(digits.len(), 13 | 16 | 19),
        Brand::Mastercard => digits.len() == 16,
        Brand::Amex => digits.len() == 15,
        Brand::Diners => (14..=19).contains(&digits.len()),
        Brand::Maestro => (13..=19).contains(&digits.len()),
        Brand::Discover | Brand::Jcb | Brand::UnionPay => (16..=19).contains(&digits.len()),
    };
    long_enough.then_some(brand)
}

pub(crate) fn is_card(digits: &[u8]) -> bool {
    brand_of(digits).is_some() && luhn(digits)
}

/// Whether a card number is a token.
pub(crate) fn is_token(digits: &[u8]) -> bool {
    brand_of(digits).is_some_and(|brand| digits.starts_with(brand.token_range()))
}

/// A card that begins with the word of digits at `start`; where it ends.
pub(super) fn find_at(text: &Text<'_>, start: usize, found: &mut Found) -> Option<usize> {
    let mut runs = Runs::read(text, start, b" -", 1, MAX_DIGITS);
    loop {
        let digits = runs.digits();
        if digits.len() < MIN_DIGITS {
            return None;
        }
        if is_card(digits)
            && grouped(&runs)
            && text.stands_alone(start, runs.end())
            && (is_common(digits) || text.context.has(text, start, WORDS))
        {
            if !is_token(digits) && found.push(Detector::PaymentCard, start..runs.end()) {
                return Some(runs.end());
            }
            return is_token(digits).then_some(runs.end());
        }
        if !runs.drop_last() {
            return None;
        }
    }
}

/// Words without which a rare length or range is no card: thirteen digits are also a time or a bar code.
pub(super) const WORDS: &[&str] =
    &["card", "visa", "maestro", "diners", "pan", "cc", "karte", "carte", "tarjeta", "cartao", "unionpay"];

fn is_common(digits: &[u8]) -> bool {
    match brand_of(digits) {
        Some(Brand::Maestro | Brand::Diners) => false,
        Some(Brand::Visa) => digits.len() == 16,
        _ => matches!(digits.len(), 15 | 16),
    }
}

/// As it is printed on cards: all together, in fours, or 4-6-4 and 4-6-5.
fn grouped(runs: &Runs) -> bool {
    let mut lengths = runs.lengths();
    if runs.count() == 1 {
        return true;
    }
    if lengths.next() != Some(4) {
        return false;
    }
    let six = runs.run(1).1 == 6;
    if six {
        return runs.count() == 3 && matches!(runs.run(2).1, 4 | 5);
    }
    let last = runs.count() - 1;
    runs.lengths().enumerate().all(|(index, length)| length == 4 || (index == last && length < 4))
}
