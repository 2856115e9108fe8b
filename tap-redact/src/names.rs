//! Names of fields that hold what must not leave the node.
//!
//! Names are compared by their letters and digits alone: `cardNumber`, `card_number`, `Card-Number` are one. A
//! path such as `user[email]` or `user.email` counts by its last part too.

use std::collections::HashSet;

/// Longest name that is looked at, in letters and digits. What is longer than this is no name of a field, and
/// counts by its end.
const MAX_NAME: usize = 64;

/// The names of the standard profile, as [`normalise`]d.
const STANDARD: &[&str] = &[
    // Credentials.
    "password",
    "passwd",
    "passwort",
    "pwd",
    "pass",
    "passphrase",
    "passcode",
    "contrasena",
    "motdepasse",
    "senha",
    "secret",
    "token",
    "jwt",
    "bearer",
    "auth",
    "authorization",
    "credential",
    "credentials",
    "apikey",
    "accesskey",
    "accesskeyid",
    "secretkey",
    "signingkey",
    "encryptionkey",
    "privatekey",
    "sig",
    "signature",
    "session",
    "sessionid",
    "sessid",
    "sid",
    "jsessionid",
    "phpsessid",
    "sessionkey",
    "otp",
    "totp",
    "mfacode",
    "verificationcode",
    "onetimecode",
    "code2fa",
    "recoverycode",
    "pin",
    "pincode",
    "securityanswer",
    "samlresponse",
    "samlrequest",
    "assertion",
    "clientassertion",
    "codeverifier",
    "xamzsignature",
    "xamzcredential",
    // Payment and accounts.
    "card",
    "cardnumber",
    "cardno",
    "cardnum",
    "creditcard",
    "debitcard",
    "ccnumber",
    "ccnum",
    "ccno",
    "cc",
    "pan",
    "cvv",
    "cvc",
    "cvv2",
    "cvc2",
    "csc",
    "securitycode",
    "iban",
    "bankaccount",
    "accountnumber",
    "routingnumber",
    "sortcode",
    // Identity.
    "ssn",
    "socialsecurity",
    "socialsecuritynumber",
    "nationalid",
    "nationalinsurancenumber",
    "nino",
    "taxid",
    "tin",
    "passport",
    "passportnumber",
    "driverslicense",
    "driverlicense",
    "licensenumber",
    "personalnumber",
    "personnummer",
    "cpf",
    "dni",
    "nif",
    "steuerid",
    // Person.
    "email",
    "emailaddress",
    "mail",
    "correo",
    "phone",
    "phonenumber",
    "telephone",
    "telefon",
    "telefono",
    "tel",
    "mobile",
    "mobilenumber",
    "mobilephone",
    "cell",
    "cellphone",
    "fax",
    "msisdn",
    "dob",
    "dateofbirth",
    "birthdate",
    "birthday",
    "geburtsdatum",
    "firstname",
    "lastname",
    "fullname",
    "middlename",
    "maidenname",
    "surname",
    "forename",
    "givenname",
    "familyname",
    "vorname",
    "nachname",
    "nom",
    "prenom",
    "apellido",
    "cardholder",
    "cardholdername",
    "accountholder",
    // Address.
    "address",
    "address1",
    "address2",
    "addressline1",
    "addressline2",
    "addr",
    "street",
    "streetaddress",
    "homeaddress",
    "billingaddress",
    "shippingaddress",
    "deliveryaddress",
    "postaladdress",
    "adresse",
    "strasse",
    "zip",
    "zipcode",
    "postcode",
    "postalcode",
    "plz",
];

/// Wherever they stand in a name, as in `newPasswordAgain`.
const STEMS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "apikey",
    "privatekey",
    "creditcard",
    "accesstoken",
    "refreshtoken",
];

/// Where a name ends with them, as in `customerEmail`.
const ENDINGS: &[&str] = &[
    "token",
    "email",
    "emailaddress",
    "phone",
    "phonenumber",
    "ssn",
    "iban",
    "cardnumber",
    "cvv",
    "cvc",
    "firstname",
    "lastname",
    "fullname",
    "dateofbirth",
    "credentials",
    "sessionid",
];

/// A set of names.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    exact: HashSet<Box<[u8]>>,
}

/// The rule that a name fell under, without what precedes it: "password".
pub(crate) type Rule<'n> = &'n str;

impl Names {
    /// The standard names and these.
    pub(crate) fn standard_and<'c>(configured: impl Iterator<Item = &'c str>) -> Self {
        let configured = configured.map(|name| {
            let mut buffer = [0; MAX_NAME];
            normalise(name.as_bytes(), &mut buffer).into()
        });
        Self { exact: STANDARD.iter().map(|name| name.as_bytes().into()).chain(configured).collect() }
    }

    /// The rule for a field of this name; `None` where it may pass.
    pub(crate) fn find(&self, name: &[u8]) -> Option<Rule<'_>> {
        let mut buffer = [0; MAX_NAME];
        self.find_normal(normalise(name, &mut buffer)).or_else(|| {
            let part = last_part(name)?;
            let mut buffer = [0; MAX_NAME];
            self.find_normal(normalise(part, &mut buffer))
        })
    }

    fn find_normal(&self, name: &[u8]) -> Option<Rule<'_>> {
        if let Some(exact) = self.exact.get(name) {
            return Some(std::str::from_utf8(exact).unwrap_or("configured"));
        }
        let ending = ENDINGS.iter().find(|ending| name.ends_with(ending.as_bytes()));
        let stem =
            || STEMS.iter().find(|stem| name.windows(stem.len()).any(|window| window == stem.as_bytes()));
        ending.or_else(stem).copied()
    }
}

/// Whether anything is left of a name to compare.
pub(crate) fn is_comparable(name: &str) -> bool {
    !normalise(name.as_bytes(), &mut [0; MAX_NAME]).is_empty()
}

/// Letters and digits in lower case; bytes beyond ASCII as they are.
fn normalise<'b>(name: &[u8], buffer: &'b mut [u8; MAX_NAME]) -> &'b [u8] {
    let mut at = MAX_NAME;
    for byte in name.iter().rev() {
        if !byte.is_ascii_alphanumeric() && byte.is_ascii() {
            continue;
        }
        if at == 0 {
            break;
        }
        at -= 1;
        buffer[at] = byte.to_ascii_lowercase();
    }
    &buffer[at..]
}

/// `email` of `user[email]`, `users[0].email`, `email[]` and `/callback?email`; `None` for a single part.
fn last_part(name: &[u8]) -> Option<&[u8]> {
    let separator = |byte: &u8| b".[]/:$?#!".contains(byte);
    let mut parts = name.split(separator).filter(|part| !part.is_empty());
    let last = parts.next_back()?;
    (last.len() < name.len()).then_some(last)
}
