//! Whether a server is the one that is meant: its chain, its name, its pins.

use std::cell::Cell;
use std::sync::Arc;

use ring::digest::{SHA256, digest};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{
    CertificateDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme as Scheme};
use webpki::ring::*;
use webpki::{EndEntityCert, KeyUsage};

/// What a server has to show.
#[derive(Debug)]
pub struct Checks {
    /// A chain to one of these, and the server's name in its certificate. None: the pins
    /// alone decide.
    pub anchors: Option<Anchors>,
    /// SHA-256 of public keys (SPKI, RFC 7858 section 4.2), of which one has to match: in a
    /// checked chain any key, else the server's own. None: not looked at.
    pub pins: Vec<[u8; 32]>,
}

/// Root certificates that are trusted.
#[derive(Debug, Clone)]
pub enum Anchors {
    /// Mozilla's, as of the build.
    Bundled,
    /// These.
    Own(Arc<[TrustAnchor<'static>]>),
}

impl Anchors {
    fn list(&self) -> &[TrustAnchor<'static>] {
        match self {
            Self::Bundled => webpki_roots::TLS_SERVER_ROOTS,
            Self::Own(list) => list,
        }
    }
}

/// Signatures that are understood: those of the web, without SHA-1.
pub(super) const ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[
        ECDSA_P256_SHA256,
        ECDSA_P256_SHA384,
        ECDSA_P384_SHA256,
        ECDSA_P384_SHA384,
        ED25519,
        RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA384,
        RSA_PKCS1_2048_8192_SHA512,
        RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
        RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
        RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    ],
    // TLS 1.3 takes the first of a line; in TLS 1.2 the name does not bind the curve.
    mapping: &[
        (
            Scheme::ECDSA_NISTP384_SHA384,
            &[ECDSA_P384_SHA384, ECDSA_P256_SHA384],
        ),
        (
            Scheme::ECDSA_NISTP256_SHA256,
            &[ECDSA_P256_SHA256, ECDSA_P384_SHA256],
        ),
        (Scheme::ED25519, &[ED25519]),
        (
            Scheme::RSA_PSS_SHA512,
            &[RSA_PSS_2048_8192_SHA512_LEGACY_KEY],
        ),
        (
            Scheme::RSA_PSS_SHA384,
            &[RSA_PSS_2048_8192_SHA384_LEGACY_KEY],
        ),
        (
            Scheme::RSA_PSS_SHA256,
            &[RSA_PSS_2048_8192_SHA256_LEGACY_KEY],
        ),
        (Scheme::RSA_PKCS1_SHA512, &[RSA_PKCS1_2048_8192_SHA512]),
        (Scheme::RSA_PKCS1_SHA384, &[RSA_PKCS1_2048_8192_SHA384]),
        (Scheme::RSA_PKCS1_SHA256, &[RSA_PKCS1_2048_8192_SHA256]),
    ],
};

#[derive(Debug)]
pub(super) struct Verifier {
    checks: Checks,
}

impl Verifier {
    pub(super) fn new(checks: Checks) -> Self {
        Self { checks }
    }

    fn is_pinned(&self, key: &SubjectPublicKeyInfoDer<'_>) -> bool {
        let hash = digest(&SHA256, key);
        self.checks.pins.iter().any(|pin| pin == hash.as_ref())
    }

    /// Whether a key of a checked chain is pinned, or no pin is asked for.
    fn accepts(&self, path: &webpki::VerifiedPath<'_>) -> bool {
        self.checks.pins.is_empty()
            || self.is_pinned(&path.end_entity().subject_public_key_info())
            || path
                .intermediate_certificates()
                .any(|certificate| self.is_pinned(&certificate.subject_public_key_info()))
            || self.is_pinned(&webpki::spki_for_anchor(path.anchor()))
    }

    fn check_chain(
        &self,
        anchors: &Anchors,
        server: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let unpinned = Cell::new(false);
        let accept = |path: &webpki::VerifiedPath<'_>| {
            if self.accepts(path) {
                return Ok(());
            }
            unpinned.set(true);
            Err(webpki::Error::UnknownIssuer)
        };
        let verified = server.verify_for_usage(
            ALGORITHMS.all,
            anchors.list(),
            intermediates,
            now,
            KeyUsage::server_auth(),
            None,
            Some(&accept),
        );
        match verified {
            Ok(_) => Ok(()),
            Err(_) if unpinned.get() => Err(no_pin()),
            Err(error) => Err(refused(error)),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let server = EndEntityCert::try_from(end_entity).map_err(refused)?;
        match &self.checks.anchors {
            Some(anchors) => {
                self.check_chain(anchors, &server, intermediates, now)?;
                server
                    .verify_is_valid_for_subject_name(name)
                    .map_err(refused)?;
            }
            // Other certificates of an unchecked chain prove nothing: anybody can send them.
            None if self.is_pinned(&server.subject_public_key_info()) => {}
            None => return Err(no_pin()),
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<Scheme> {
        ALGORITHMS.supported_schemes()
    }
}

fn no_pin() -> Error {
    Error::General("no pin matches the server's keys".to_owned())
}

/// What is worth telling the server, and the log, apart from others.
fn refused(error: webpki::Error) -> Error {
    use webpki::Error as E;
    let reason = match error {
        E::BadDer | E::BadDerTime | E::TrailingData(_) => CertificateError::BadEncoding,
        E::CertExpired { .. } => CertificateError::Expired,
        E::CertNotValidYet { .. } => CertificateError::NotValidYet,
        E::CertNotValidForName(_) => CertificateError::NotValidForName,
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => return Error::General(format!("certificate: {other}")),
    };
    Error::InvalidCertificate(reason)
}
