//! Asia, Africa and Oceania.

use super::{all_equal, is_date, two, values};
use crate::detect::check_digits::{luhn, verhoeff, weighted};

/// TFN: MOD 11.
pub(super) fn australia(tfn: &[u8]) -> bool {
    values::<9>(tfn).is_some_and(|digits| {
        !all_equal(&digits) && weighted(&digits, &[1, 4, 3, 7, 5, 8, 6, 9, 10]).is_multiple_of(11)
    })
}

/// Resident identity number (GB 11643): date of birth, ISO 7064 MOD 11-2.
pub(super) fn china(id: &[u8]) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let Some((check, digits)) = id.split_last() else { return false };
    let Some(digits) = values::<17>(digits) else { return false };
    let century = two(&digits, 6);
    let expected = b"10X98765432"[(weighted(&digits, &WEIGHTS) % 11) as usize];
    matches!(century, 19 | 20)
        && digits[0] != 0
        && is_date(two(&digits, 10), two(&digits, 12))
        && *check == expected
}

/// Aadhaar: Verhoeff; none begins with 0 or 1.
pub(super) fn india(aadhaar: &[u8]) -> bool {
    values::<12>(aadhaar).is_some_and(|digits| digits[0] >= 2 && !all_equal(&digits) && verhoeff(&digits))
}

/// Individual number: MOD 11.
pub(super) fn japan(number: &[u8]) -> bool {
    let Some(digits) = values::<12>(number) else { return false };
    let rest = weighted(&digits[..11], &[6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11;
    let check = if rest <= 1 { 0 } else { 11 - rest };
    !all_equal(&digits) && check == u32::from(digits[11])
}

/// Resident registration number: date of birth, century and sex, MOD 11.
pub(super) fn korea(number: &[u8]) -> bool {
    let Some(digits) = values::<13>(number) else { return false };
    let sum = weighted(&digits[..12], &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    (1..=8).contains(&digits[6])
        && is_date(two(&digits, 2), two(&digits, 4))
        && (11 - sum % 11) % 10 == u32::from(digits[12])
}

/// NRIC and FIN: a letter for the status, MOD 11 to a letter.
pub(super) fn singapore(nric: &[u8]) -> bool {
    let Some(digits) = nric.get(1..8).and_then(values::<7>) else { return false };
    let offset = if matches!(nric[0], b'T' | b'G') { 4 } else { 0 };
    let letters: &[u8; 11] = match nric[0] {
        b'S' | b'T' => b"JZIHGFEDCBA",
        b'F' | b'G' => b"XWUTRQPNMLK",
        _ => return false,
    };
    let sum = weighted(&digits, &[2, 7, 6, 5, 4, 3, 2]) + offset;
    nric.len() == 9 && nric[8] == letters[(sum % 11) as usize]
}

/// South African identity number: date of birth, citizenship, Luhn.
pub(super) fn south_africa(id: &[u8]) -> bool {
    values::<13>(id)
        .is_some_and(|digits| is_date(two(&digits, 2), two(&digits, 4)) && digits[10] <= 2 && luhn(&digits))
}
