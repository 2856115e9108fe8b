//! Europe.

use super::{all_equal, is_date, two, values};
use crate::detect::check_digits::{luhn, mod_11_10, number, weighted};

/// Sozialversicherungsnummer: MOD 11 in the fourth place, date of birth.
pub(super) fn austria(number: &[u8]) -> bool {
    let Some(digits) = values::<10>(number) else { return false };
    let sum = weighted(&digits, &[3, 7, 9, 0, 5, 8, 4, 2, 1, 6]);
    digits[0] != 0 && is_date(two(&digits, 6), two(&digits, 4)) && sum % 11 == u32::from(digits[3])
}

/// Rijksregisternummer: date of birth, MOD 97; from 2000 on with a 2 before it.
pub(super) fn belgium(rrn: &[u8]) -> bool {
    let Some(digits) = values::<11>(rrn) else { return false };
    let (body, check) = (number(&digits[..9]), number(&digits[9..]));
    let valid = |body: u64| 97 - body % 97 == check;
    is_date(two(&digits, 2), two(&digits, 4)) && (valid(body) || valid(2_000_000_000 + body))
}

/// AHV/AVS number: 756 and an EAN-13.
pub(super) fn switzerland(ahv: &[u8]) -> bool {
    values::<13>(ahv).is_some_and(|digits| {
        digits.starts_with(&[7, 5, 6])
            && weighted(&digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
    })
}

/// Rodné číslo: date of birth, women's months 50 later; divisible by 11.
pub(super) fn czechia(rc: &[u8]) -> bool {
    let Some(digits) = values::<10>(rc) else { return false };
    let month = match two(&digits, 2) {
        month @ 71..=82 => month - 70,
        month @ 51..=62 => month - 50,
        month @ 21..=32 => month - 20,
        month => month,
    };
    is_date(month, two(&digits, 4)) && number(&digits).is_multiple_of(11)
}

/// Steuerliche Identifikationsnummer: ISO 7064 MOD 11,10; of the first ten digits one is there twice or three times.
pub(super) fn germany(id: &[u8]) -> bool {
    let Some(digits) = values::<11>(id) else { return false };
    let mut counts = [0; 10];
    digits[..10].iter().for_each(|digit| counts[usize::from(*digit)] += 1);
    let repeated = counts.iter().filter(|count| **count > 1).count();
    digits[0] != 0 && repeated == 1 && counts.iter().all(|count| *count <= 3) && mod_11_10(&digits)
}

/// CPR number: date of birth. The check digit was given up in 2007.
pub(super) fn denmark(cpr: &[u8]) -> bool {
    values::<10>(cpr).is_some_and(|digits| is_date(two(&digits, 2), two(&digits, 0)))
}

/// DNI and NIE: MOD 23 to a letter.
pub(super) fn spain(dni: &[u8]) -> bool {
    let Some((letter, digits)) = dni.split_last() else { return false };
    let prefix = match digits.first() {
        Some(b'X') => 0,
        Some(b'Y') => 1,
        Some(b'Z') => 2,
        Some(digit @ b'0'..=b'9') => u64::from(digit - b'0'),
        _ => return false,
    };
    let rest: Vec<u8> = digits[1..].iter().map(|digit| digit.wrapping_sub(b'0')).collect();
    let value = prefix * 10_u64.pow(rest.len() as u32) + number(&rest);
    digits.len() == 8 && *letter == b"TRWAGMYFPDXBNJZSQVHLCKE"[(value % 23) as usize]
}

/// Henkilötunnus: date of birth, a mark for the century, MOD 31 to a digit or letter.
pub(super) fn finland(hetu: &[u8]) -> bool {
    let Some(date) = hetu.get(..6).and_then(values::<6>) else { return false };
    let rest = match hetu.get(6) {
        Some(b'A'..=b'F' | b'U'..=b'Y') if hetu.len() == 11 => &hetu[7..],
        _ => &hetu[6..],
    };
    let Some(individual) = rest.get(..3).and_then(values::<3>) else { return false };
    let value = number(&date) * 1000 + number(&individual);
    rest.len() == 4
        && is_date(two(&date, 2), two(&date, 0))
        && rest[3] == b"0123456789ABCDEFHJKLMNPRSTUVWXY"[(value % 31) as usize]
}

/// NIR: sex, year and month of birth, place, MOD 97; `2A` and `2B` for Corsica.
pub(super) fn france(nir: &[u8]) -> bool {
    let mut digits: Vec<u8> = nir.to_vec();
    match digits.get(5..7) {
        Some(b"2A") => digits[5..7].copy_from_slice(b"19"),
        Some(b"2B") => digits[5..7].copy_from_slice(b"18"),
        _ => {}
    }
    let Some(digits) = values::<15>(&digits) else { return false };
    let month = two(&digits, 3);
    matches!(digits[0], 1..=4 | 7 | 8)
        && matches!(month, 1..=12 | 20..=42 | 50..=99)
        && 97 - number(&digits[..13]) % 97 == number(&digits[13..])
}

/// NHS number: MOD 11.
pub(super) fn nhs(nhs: &[u8]) -> bool {
    values::<10>(nhs).is_some_and(|digits| {
        let check = 11 - weighted(&digits[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        !all_equal(&digits) && check % 11 == u32::from(digits[9])
    })
}

/// National insurance number: letters that are given out, no check digit.
pub(super) fn nino(nino: &[u8]) -> bool {
    let [first, second, digits @ .., last] = nino else { return false };
    let unused = |letter: &u8| b"DFIQUV".contains(letter);
    digits.len() == 6
        && digits.iter().all(u8::is_ascii_digit)
        && !unused(first)
        && !unused(second)
        && *second != b'O'
        && !matches!(&[*first, *second], b"BG" | b"GB" | b"KN" | b"NK" | b"NT" | b"TN" | b"ZZ")
        && matches!(last, b'A'..=b'D')
}

/// PPS number: MOD 23 to a letter, with a second letter since 2013.
pub(super) fn ireland(pps: &[u8]) -> bool {
    let Some(digits) = pps.get(..7).and_then(values::<7>) else { return false };
    let second = match pps.get(8) {
        Some(letter @ b'A'..=b'I') => u32::from(letter - b'A') + 1,
        Some(b'W') | None => 0,
        Some(_) => return false,
    };
    let sum = weighted(&digits, &[8, 7, 6, 5, 4, 3, 2]) + second * 9;
    pps[7] == b"WABCDEFGHIJKLMNOPQRSTUV"[(sum % 23) as usize]
}

/// Codice fiscale: name, date and place of birth, MOD 26 to a letter. Digits may be written as letters where two
/// people would have the same.
pub(super) fn italy(cf: &[u8]) -> bool {
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let digit = |at: usize| match cf[at] {
        digit @ b'0'..=b'9' => Some(u32::from(digit - b'0')),
        letter => b"LMNPQRSTUV".iter().position(|known| *known == letter).map(|value| value as u32),
    };
    let Some(digits) = [6, 7, 9, 10, 12, 13, 14].into_iter().map(digit).collect::<Option<Vec<u32>>>() else {
        return false;
    };
    let day = digits[2] * 10 + digits[3];
    let place = |byte: u8| u32::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
    let sum: u32 = cf[..15]
        .iter()
        .enumerate()
        .map(|(at, byte)| if at % 2 == 0 { ODD[place(*byte) as usize] } else { place(*byte) })
        .sum();
    b"ABCDEHLMPRST".contains(&cf[8])
        && matches!(day, 1..=31 | 41..=71)
        && u32::from(cf[15] - b'A') == sum % 26
}

/// Burgerservicenummer: the eleven test.
pub(super) fn netherlands(bsn: &[u8]) -> bool {
    values::<9>(bsn).is_some_and(|digits| {
        let sum = weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
        !all_equal(&digits) && sum % 11 == u32::from(digits[8])
    })
}

/// Fødselsnummer: date of birth, 40 later for D-numbers; two check digits by MOD 11.
pub(super) fn norway(fnr: &[u8]) -> bool {
    let Some(digits) = values::<11>(fnr) else { return false };
    let day = two(&digits, 0);
    let day = if day > 40 { day - 40 } else { day };
    let check = |count: usize, weights: &[u32]| (11 - weighted(&digits[..count], weights) % 11) % 11;
    is_date(two(&digits, 2), day)
        && check(9, &[3, 7, 6, 1, 8, 9, 4, 5, 2]) == u32::from(digits[9])
        && check(10, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2]) == u32::from(digits[10])
}

/// PESEL: date of birth with the century in the month, MOD 10.
pub(super) fn poland(pesel: &[u8]) -> bool {
    values::<11>(pesel).is_some_and(|digits| {
        let sum = weighted(&digits[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
        is_date(two(&digits, 2) % 20, two(&digits, 4)) && (10 - sum % 10) % 10 == u32::from(digits[10])
    })
}

/// NIF of a person: MOD 11.
pub(super) fn portugal(nif: &[u8]) -> bool {
    values::<9>(nif).is_some_and(|digits| {
        let check = 11 - weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        matches!(digits[0], 1..=4) && (if check >= 10 { 0 } else { check }) == u32::from(digits[8])
    })
}

/// CNP: sex and century, date of birth, county, MOD 11.
pub(super) fn romania(cnp: &[u8]) -> bool {
    values::<13>(cnp).is_some_and(|digits| {
        let rest = weighted(&digits[..12], &[2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9]) % 11;
        (1..=8).contains(&digits[0])
            && is_date(two(&digits, 3), two(&digits, 5))
            && (1..=52).contains(&two(&digits, 7))
            && (if rest == 10 { 1 } else { rest }) == u32::from(digits[12])
    })
}

/// Personnummer: date of birth, 60 later for coordination numbers; Luhn over ten digits, with the century or without.
pub(super) fn sweden(pnr: &[u8]) -> bool {
    let ten = match pnr.len() {
        12 if pnr.starts_with(b"19") || pnr.starts_with(b"20") => &pnr[2..],
        _ => pnr,
    };
    let Some(digits) = values::<10>(ten) else { return false };
    let day = two(&digits, 4);
    is_date(two(&digits, 2), if day > 60 { day - 60 } else { day }) && luhn(&digits)
}

/// T.C. kimlik numarası: two check digits.
pub(super) fn turkey(tckn: &[u8]) -> bool {
    let Some(digits) = values::<11>(tckn) else { return false };
    let odd = weighted(&digits[..9], &[1, 0, 1, 0, 1, 0, 1, 0, 1]);
    let even = weighted(&digits[..8], &[0, 1, 0, 1, 0, 1, 0, 1]);
    let sum = weighted(&digits[..10], &[1; 10]);
    digits[0] != 0
        && (odd * 7 + 10 * even - even) % 10 == u32::from(digits[9])
        && sum % 10 == u32::from(digits[10])
}
