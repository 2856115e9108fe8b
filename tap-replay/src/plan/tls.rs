//! TLS to https targets: who is trusted, and under which name.

use std::sync::Arc;

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
};
use rustls_pki_types::pem::PemObject as _;
use tap_proto::v1::UpstreamTls;

use super::Target;

/// How an https target is verified, as given.
#[derive(Clone, Default)]
pub struct RawTls {
    /// PEM. Empty: what this machine trusts.
    pub ca_certificates: Vec<u8>,
    /// Instead of the target's own name.
    pub server_name: String,
    pub insecure: bool,
    /// PEM: a certificate with those that vouch for it, and its key.
    pub client_certificate: Option<(Vec<u8>, Vec<u8>)>,
}

/// A checked configuration with the name that the target must prove.
pub(crate) type Tls = (Arc<ClientConfig>, ServerName<'static>);

/// Why TLS can't be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error("the target is not https")]
    NotHttps,
    #[error("server name {0:?}: neither a DNS name nor an address")]
    ServerName(String),
    #[error("CA certificates: {0}")]
    CaCertificates(String),
    #[error("this machine trusts no certificates; name a file of CA certificates")]
    NothingTrusted,
    #[error("client certificate: {0}")]
    ClientCertificate(String),
}

impl std::fmt::Debug for RawTls {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ca_certificates, server_name, insecure, client_certificate } = self;
        formatter
            .debug_struct("RawTls")
            .field("ca_certificates", &ca_certificates.len())
            .field("server_name", server_name)
            .field("insecure", insecure)
            .field("client_certificate", &client_certificate.is_some())
            .finish()
    }
}

impl From<&UpstreamTls> for RawTls {
    fn from(tls: &UpstreamTls) -> Self {
        let UpstreamTls { ca_certificates, server_name, insecure } = tls;
        Self {
            ca_certificates: ca_certificates.clone(),
            server_name: server_name.clone(),
            insecure: *insecure,
            client_certificate: None,
        }
    }
}

impl RawTls {
    fn is_default(&self) -> bool {
        let Self { ca_certificates, server_name, insecure, client_certificate } = self;
        ca_certificates.is_empty() && server_name.is_empty() && !insecure && client_certificate.is_none()
    }

    /// What connections to `target` need: nothing where it is not https.
    pub(crate) fn validate(&self, target: &Target) -> Result<Option<Tls>, TlsError> {
        if !target.is_https() {
            return if self.is_default() { Ok(None) } else { Err(TlsError::NotHttps) };
        }
        let name = if self.server_name.is_empty() { target.host() } else { &self.server_name };
        let name =
            ServerName::try_from(name.to_owned()).map_err(|_| TlsError::ServerName(name.to_owned()))?;
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::CaCertificates(error.to_string()))?;
        let builder = if self.insecure {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAny { provider }))
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        let mut config = match &self.client_certificate {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                let unusable = |error: &dyn std::fmt::Display| TlsError::ClientCertificate(error.to_string());
                let certificates = CertificateDer::pem_slice_iter(certificates)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(|error| unusable(&error))?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| unusable(&error))?;
                builder.with_client_auth_cert(certificates, key).map_err(|error| unusable(&error))?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some((Arc::new(config), name)))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if self.ca_certificates.is_empty() {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return if roots.is_empty() { Err(TlsError::NothingTrusted) } else { Ok(roots) };
        }
        for certificate in CertificateDer::pem_slice_iter(&self.ca_certificates) {
            let certificate = certificate.map_err(|error| TlsError::CaCertificates(error.to_string()))?;
            roots.add(certificate).map_err(|error| TlsError::CaCertificates(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(TlsError::CaCertificates("there is none in PEM".to_owned()));
        }
        Ok(roots)
    }
}

/// Believes every certificate. The report of whoever uses it says so.
#[derive(Debug)]
struct AcceptAny {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(tls: RawTls, target: &str) -> TlsError {
        tls.validate(&Target::parse(target).unwrap()).unwrap_err()
    }

    #[test]
    fn settings_of_tls_without_tls_are_a_mistake() {
        let plain = Target::parse("http://shop").unwrap();
        assert!(RawTls::default().validate(&plain).unwrap().is_none());
        let insecure = RawTls { insecure: true, ..RawTls::default() };
        assert_eq!(error(insecure, "http://shop"), TlsError::NotHttps);
    }

    #[test]
    fn what_can_not_be_used_is_refused_before_anything_is_sent() {
        let wrong = RawTls { ca_certificates: b"no PEM".to_vec(), ..RawTls::default() };
        assert!(matches!(error(wrong, "https://shop"), TlsError::CaCertificates(_)));
        let wrong = RawTls { server_name: "no name".into(), insecure: true, ..RawTls::default() };
        assert!(matches!(error(wrong, "https://shop"), TlsError::ServerName(_)));
        let wrong = RawTls {
            insecure: true,
            client_certificate: Some((b"x".to_vec(), b"y".to_vec())),
            ..RawTls::default()
        };
        assert!(matches!(error(wrong, "https://shop"), TlsError::ClientCertificate(_)));
    }
}
