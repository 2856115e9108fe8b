//! Check digits: the sums by which a number is told from mere digits. Digits are values, not characters.

/// ISO/IEC 7812-1: payment cards, and several countries.
pub(crate) fn luhn(digits: &[u8]) -> bool {
    luhn_sum(digits).is_multiple_of(10)
}

pub(crate) fn luhn_sum(digits: &[u8]) -> u32 {
    let value = |(place, digit): (usize, &u8)| {
        let digit = u32::from(*digit);
        if place % 2 == 0 { digit } else { digit * 2 % 10 + digit / 5 }
    };
    digits.iter().rev().enumerate().map(value).sum()
}

/// Σ digit·weight
pub(crate) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}

/// The digits as a number.
pub(crate) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number: u64, digit| number.wrapping_mul(10).wrapping_add(u64::from(*digit)))
}

/// ISO 7064 MOD 97-10 over letters and digits, in characters; `None` for anything else.
pub(crate) fn mod_97(characters: impl Iterator<Item = u8>) -> Option<u32> {
    let mut rest = 0;
    for character in characters {
        let value = char::from(character).to_digit(36)?;
        rest = (rest * if value < 10 { 10 } else { 100 } + value) % 97;
    }
    Some(rest)
}

/// ISO 7064 MOD 11,10 over all digits, the check digit last.
pub(crate) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else { return false };
    let product = rest.iter().fold(10, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(*check)
}

/// Verhoeff's dihedral check over all digits.
pub(crate) fn verhoeff(digits: &[u8]) -> bool {
    const PRODUCT: [[u8; 10]; 10] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
        [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
        [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
        [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
        [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
        [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
        [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
        [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
        [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
    ];
    const PERMUTATION: [[u8; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let sum = digits.iter().rev().enumerate().fold(0_u8, |sum, (place, digit)| {
        let permuted = PERMUTATION[place % 8][usize::from(*digit % 10)];
        PRODUCT[usize::from(sum)][usize::from(permuted)]
    });
    sum == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_numbers_pass_and_their_neighbours_fail() {
        assert!(luhn(&[7, 9, 9, 2, 7, 3, 9, 8, 7, 1, 3]) && !luhn(&[7, 9, 9, 2, 7, 3, 9, 8, 7, 1, 4]));
        assert!(verhoeff(&[2, 3, 6, 3]) && !verhoeff(&[2, 3, 6, 4]));
        assert!(
            mod_11_10(&[8, 6, 0, 9, 5, 7, 4, 2, 7, 1, 9]) && !mod_11_10(&[8, 6, 0, 9, 5, 7, 4, 2, 7, 1, 8])
        );
        assert_eq!(mod_97(b"3214282912345698765432161182".iter().copied()), Some(1));
        assert_eq!(mod_97(b"12-3".iter().copied()), None);
    }
}
