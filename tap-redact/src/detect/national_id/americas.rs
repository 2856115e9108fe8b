//! Brazil, Canada, Chile, Mexico, the United States.

use super::{all_equal, is_date, two, values};
use crate::detect::check_digits::{luhn, number, weighted};

/// CPF: two check digits by MOD 11.
pub(super) fn brazil(cpf: &[u8]) -> bool {
    let Some(digits) = values::<11>(cpf) else { return false };
    let check = |count: usize| {
        let first = count as u32 + 1;
        let weights: [u32; 10] = std::array::from_fn(|at| first.saturating_sub(at as u32));
        weighted(&digits[..count], &weights) * 10 % 11 % 10
    };
    !all_equal(&digits) && check(9) == u32::from(digits[9]) && check(10) == u32::from(digits[10])
}

/// SIN: Luhn; no province gives out 0 and 8.
pub(super) fn canada(sin: &[u8]) -> bool {
    values::<9>(sin).is_some_and(|digits| !matches!(digits[0], 0 | 8) && !all_equal(&digits) && luhn(&digits))
}

/// RUT: MOD 11, `K` for 10.
pub(super) fn chile(rut: &[u8]) -> bool {
    let Some((check, digits)) = rut.split_last() else { return false };
    if !(7..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .zip([2, 3, 4, 5, 6, 7, 2, 3])
        .map(|(digit, weight)| u32::from(digit - b'0') * weight)
        .sum();
    let expected = match 11 - sum % 11 {
        11 => b'0',
        10 => b'K',
        digit => b'0' + digit as u8,
    };
    *check == expected && !all_equal(digits)
}

/// CURP: date of birth, sex, MOD 10 over the places in an alphabet with Ñ.
pub(super) fn mexico(curp: &[u8]) -> bool {
    let value = |byte: u8| match byte {
        b'0'..=b'9' => u32::from(byte - b'0'),
        b'A'..=b'N' => u32::from(byte - b'A') + 10,
        _ => u32::from(byte - b'A') + 11,
    };
    let date: Vec<u8> = curp[4..10].iter().map(|byte| byte - b'0').collect();
    let sum: u32 = curp[..17].iter().zip((2..=18).rev()).map(|(byte, weight)| value(*byte) * weight).sum();
    matches!(curp[10], b'H' | b'M' | b'X')
        && is_date(two(&date, 2), two(&date, 4))
        && (10 - sum % 10) % 10 == u32::from(curp[17] - b'0')
}

/// SSN: no check digit; areas, groups and serials that were never given out.
pub(super) fn ssn(ssn: &[u8]) -> bool {
    let Some(digits) = values::<9>(ssn) else { return false };
    let (area, group, serial) = (number(&digits[..3]), number(&digits[3..5]), number(&digits[5..]));
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0 && !all_equal(&digits)
}

/// ITIN: as an SSN in the areas from 900 on, in the groups of the IRS.
pub(super) fn itin(itin: &[u8]) -> bool {
    let Some(digits) = values::<9>(itin) else { return false };
    digits[0] == 9 && matches!(number(&digits[3..5]), 50..=65 | 70..=88 | 90..=92 | 94..=99)
}
