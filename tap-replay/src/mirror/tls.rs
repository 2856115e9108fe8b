//! Whom a mirror trusts behind https.

use std::{fs, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::RawTls;

/// A bundle of a company's authorities is some ten.
const MAX_BYTES: usize = 256 * 1024;

/// What is verified of an https target; without it, its own name by what the collector's system trusts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificates in PEM; these are trusted, and no others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The same, in a file of the collector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The name to ask for, and to expect in the target's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl Tls {
    /// Reads what is in a file; what is wrong, with its field.
    pub(super) fn read(&self) -> Result<RawTls, (&'static str, String)> {
        let Self { ca, ca_file, server_name } = self;
        let ca_certificates = match (ca, ca_file) {
            (None, None) => Vec::new(),
            (Some(_), Some(_)) => return Err(("tls.ca", "and ca_file: one of them".to_owned())),
            (Some(ca), None) if ca.trim().is_empty() => {
                // It would stand for the system's.
                return Err(("tls.ca", "has no certificate".to_owned()));
            }
            (Some(ca), None) => ca.clone().into_bytes(),
            (None, Some(path)) => {
                let wrong = |problem: String| ("tls.ca_file", format!("{}: {problem}", path.display()));
                let length = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
                if length == 0 || length > MAX_BYTES as u64 {
                    return Err(wrong(format!("must have 1 to {MAX_BYTES} bytes, has {length}")));
                }
                fs::read(path).map_err(|error| wrong(error.to_string()))?
            }
        };
        if ca_certificates.len() > MAX_BYTES {
            return Err(("tls.ca", format!("longer than {MAX_BYTES} bytes")));
        }
        let server_name = server_name.clone().unwrap_or_default();
        Ok(RawTls { ca_certificates, server_name, ..RawTls::default() })
    }
}
