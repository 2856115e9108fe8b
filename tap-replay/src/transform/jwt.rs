//! Signs a web token (RFC 7519) again, so that a target that has another key accepts it.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
        RsaEncoding, RsaKeyPair,
    },
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Map, Value};

use super::{Problem, dates::Shift};
use crate::request::Draft;

pub(super) const NO_TOKEN: Problem = "jwt_not_found";
const NOT_SIGNED: Problem = "jwt_not_signed";
/// Times among the registered claims.
const TIMES: [&str; 3] = ["exp", "nbf", "iat"];
const BEARER: &str = "bearer ";

/// Signs the token of one header.
pub(super) struct Signer {
    algorithm: &'static str,
    key: Key,
    header: String,
    claims: BTreeMap<String, Value>,
}

enum Key {
    Hmac(hmac::Key),
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Signer({}, {})", self.algorithm, self.header)
    }
}

impl Signer {
    pub(super) fn new(
        algorithm: &str,
        key: &[u8],
        header: String,
        claims: BTreeMap<String, Value>,
    ) -> Result<Self, String> {
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let key = pkcs8(key)?;
            let pair =
                RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|error| format!("key: {error}"))?;
            Ok::<_, String>(Key::Rsa(pair, encoding))
        };
        // A secret in a file ends with a line feed that is not part of it.
        let secret = key.strip_suffix(b"\n").unwrap_or(key);
        let (algorithm, key) = match algorithm {
            "HS256" => ("HS256", Key::Hmac(hmac::Key::new(hmac::HMAC_SHA256, secret))),
            "HS384" => ("HS384", Key::Hmac(hmac::Key::new(hmac::HMAC_SHA384, secret))),
            "HS512" => ("HS512", Key::Hmac(hmac::Key::new(hmac::HMAC_SHA512, secret))),
            "RS256" => ("RS256", rsa(&RSA_PKCS1_SHA256)?),
            "RS384" => ("RS384", rsa(&RSA_PKCS1_SHA384)?),
            "RS512" => ("RS512", rsa(&RSA_PKCS1_SHA512)?),
            "ES256" => {
                let key = pkcs8(key)?;
                let pair = EcdsaKeyPair::from_pkcs8(
                    &ECDSA_P256_SHA256_FIXED_SIGNING,
                    key.secret_pkcs8_der(),
                    &SystemRandom::new(),
                );
                ("ES256", Key::Ecdsa(pair.map_err(|error| format!("key: {error}"))?))
            }
            other => {
                return Err(format!(
                    "algorithm {other:?}: must be HS256, HS384, HS512, RS256, RS384, RS512 or ES256"
                ));
            }
        };
        Ok(Self { algorithm, key, header, claims })
    }

    /// Signs the token in `draft` with its recorded claims, those of the settings, and times that have moved with
    /// the replay.
    pub(super) fn apply(&self, draft: &mut Draft<'_>, shift: Option<&Shift>, problems: &mut Vec<Problem>) {
        let header = draft.headers.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(&self.header));
        let Some((value, text)) = header.and_then(|(_, value)| {
            let text = std::str::from_utf8(value).ok()?.to_owned();
            Some((value, text))
        }) else {
            problems.push(NO_TOKEN);
            return;
        };
        let start = text.get(..BEARER.len()).filter(|start| start.eq_ignore_ascii_case(BEARER));
        let scheme = start.unwrap_or_default();
        match self.sign(text[scheme.len()..].trim(), shift) {
            Some(token) => *value = format!("{scheme}{token}").into_bytes().into(),
            None => problems.push(NOT_SIGNED),
        }
    }

    fn sign(&self, token: &str, shift: Option<&Shift>) -> Option<String> {
        let mut parts = token.split('.');
        // What redaction has replaced may be no JSON any more; the settings' claims then stand alone.
        let mut header = parts.next().and_then(object).unwrap_or_default();
        let mut claims = parts.next().and_then(object).unwrap_or_default();
        if let Some(shift) = shift {
            for name in TIMES {
                let moved = claims.get(name).and_then(Value::as_i64).and_then(|time| shift.seconds(time));
                if let Some(moved) = moved {
                    claims.insert(name.to_owned(), moved.into());
                }
            }
        }
        claims.extend(self.claims.iter().map(|(name, value)| (name.clone(), value.clone())));
        header.insert("alg".to_owned(), self.algorithm.into());
        header.entry("typ").or_insert_with(|| "JWT".into());
        let encode = |object: Map<String, Value>| URL_SAFE_NO_PAD.encode(Value::Object(object).to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = self.key.sign(signed.as_bytes())?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Key {
    fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Hmac(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Self::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &SystemRandom::new(), message, &mut signature).ok()?;
                Some(signature)
            }
            Self::Ecdsa(pair) => Some(pair.sign(&SystemRandom::new(), message).ok()?.as_ref().to_vec()),
        }
    }
}

fn pkcs8(pem: &[u8]) -> Result<PrivatePkcs8KeyDer<'static>, String> {
    PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| format!("key: must be PKCS #8 in PEM: {error}"))
}

fn object(part: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7515, A.1, signs other bytes of the same claims; this checks what a server would.
    #[test]
    fn a_signed_token_verifies_and_keeps_its_claims() {
        let claims = BTreeMap::from([("aud".to_owned(), Value::from("staging"))]);
        let signer = Signer::new("HS256", b"secret\n", "Authorization".into(), claims).unwrap();
        let token = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJzdWIiOiJhbm4iLCJhdWQiOiJwcm9kIn0.c2ln";
        let signed = signer.sign(token, None).unwrap();

        let (message, signature) = signed.rsplit_once('.').unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        hmac::verify(&key, message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let (header, claims) = message.split_once('.').unwrap();
        assert_eq!(
            Value::Object(object(header).unwrap()),
            serde_json::json!({"alg": "HS256", "kid": "k1", "typ": "JWT"})
        );
        assert_eq!(
            Value::Object(object(claims).unwrap()),
            serde_json::json!({"sub": "ann", "aud": "staging"})
        );
    }

    #[test]
    fn keys_of_pairs_sign_what_their_public_half_verifies() {
        use ring::signature::{ECDSA_P256_SHA256_FIXED, KeyPair as _, UnparsedPublicKey};
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.as_ref(), &random).unwrap();
        let encoded = base64::engine::general_purpose::STANDARD.encode(der.as_ref());
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----\n");
        let signer = Signer::new("ES256", pem.as_bytes(), "X".into(), BTreeMap::new()).unwrap();
        let signed = signer.sign("", None).unwrap();
        let (message, signature) = signed.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
        public.verify(message.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    }

    #[test]
    fn wrong_keys_are_told_before_anything_is_sent() {
        for (algorithm, key) in [("none", "x"), ("RS256", "no PEM"), ("ES256", "no PEM")] {
            assert!(
                Signer::new(algorithm, key.as_bytes(), "X".into(), BTreeMap::new()).is_err(),
                "{algorithm}"
            );
        }
    }
}
