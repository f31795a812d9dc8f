//! mTLS between processes: certificate, key and authorities from files that are watched, and swapped without dropping a connection.
//!
//! TLS 1.3 on aws-lc, HTTP/2 only. Sessions are never resumed: every connection shows its certificate anew.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::{Resumption, danger::HandshakeSignatureValid},
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    time_provider::TimeProvider,
    version::TLS13,
};

use super::{GrpcConfig, identity, settings::Files};
use crate::{
    clock::Clock,
    config::ConfigError,
    lifecycle::Shutdown,
    watched::{Source, Unusable, Watched},
};

/// Seconds ahead beyond which nobody cares when a certificate ends: about 30 years.
const FAR: u64 = 1 << 30;

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One does not hold what it should.
    #[error("{} holds no usable {what}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The certificate names nobody.
    #[error("{} has no DNS name of ours, such as token-service.carelink.internal", .0.display())]
    Nameless(PathBuf),
    /// The library refuses it, such as the key of another certificate.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Unusable,
    },
}

/// What a process proves itself by and believes others by, at one time.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
    peers: Arc<dyn ClientCertVerifier>,
}

/// The same as it changes with its files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Credentials {
    watched: Watched<Material>,
    clock: Clock,
}

impl Credentials {
    /// Reads the files that `grpc` names; `None` where it names none.
    ///
    /// # Errors
    /// Where they cannot be used.
    pub fn open(config: &GrpcConfig, clock: &Clock) -> Result<Option<Self>, ConfigError> {
        let Some(files) = config.files()? else { return Ok(None) };
        let sources = vec![Source::Public(files.certificate.clone()), Source::Private(files.key.clone()), Source::Public(files.ca.clone())];
        let time = clock.clone();
        let make = move |contents: &[Vec<u8>]| Material::of(contents, &files, &time).map_err(Into::into);
        let watched = Watched::open("certificates between services", sources, make);
        let watched = watched.map_err(|error| ConfigError::invalid("grpc.certificate_file, key_file, ca_file", error.to_string()))?;
        Ok(Some(Self { watched, clock: clock.clone() }))
    }

    pub(crate) fn current(&self) -> Arc<Material> {
        self.watched.current()
    }

    /// Whether a peer that once was let in would be let in now: its certificate has not run out, and its authority is still one.
    pub(crate) fn still_admits(&self, chain: &[CertificateDer<'_>]) -> bool {
        let (Some((leaf, between)), Some(now)) = (chain.split_first(), Time(self.clock.clone()).current_time()) else { return false };
        self.current().peers.verify_client_cert(leaf, between, now).is_ok()
    }

    /// Takes up what the files come to hold, until the stop is requested. What cannot be used is an error in the log, and the old goes on.
    pub async fn watch(self, shutdown: Shutdown) {
        self.watched.watch(shutdown).await;
    }
}

impl Material {
    fn of(contents: &[Vec<u8>], files: &Files, clock: &Clock) -> Result<Self, TlsError> {
        let [certificate, key, authorities] = contents else { return Err(TlsError::Nameless(files.certificate.clone())) };
        let malformed = |path: &Path, what| TlsError::Malformed { path: path.into(), what };
        let refused = |path: &Path, source: Unusable| TlsError::Unusable { path: path.into(), source };
        let chain = certificates(certificate).ok_or_else(|| malformed(&files.certificate, "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| malformed(&files.key, "private key"))?;
        if chain.first().and_then(identity::caller).is_none() {
            return Err(TlsError::Nameless(files.certificate.clone()));
        }
        let mut roots = RootCertStore::empty();
        for root in certificates(authorities).ok_or_else(|| malformed(&files.ca, "certificate authority"))? {
            roots.add(root).map_err(|error| refused(&files.ca, error.into()))?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
        let time = || Arc::new(Time(clock.clone()));
        let unusable = |error: rustls::Error| refused(&files.certificate, error.into());

        let peers = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider)).build();
        let peers = Arc::new(NamedPeers(peers.map_err(|error| refused(&files.ca, error.into()))?));
        note_expiry(&*peers, &chain, clock);
        let mut server = ServerConfig::builder_with_details(Arc::clone(&provider), time())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_client_cert_verifier(Arc::clone(&peers) as Arc<dyn ClientCertVerifier>)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(unusable)?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;

        let mut client = ClientConfig::builder_with_details(provider, time())
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(unusable)?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        client.resumption = Resumption::disabled();
        Ok(Self { server: Arc::new(server), client: Arc::new(client), peers })
    }
}

/// Tells metrics until when others that believe the same authorities would let us in.
fn note_expiry(peers: &dyn ClientCertVerifier, chain: &[CertificateDer<'_>], clock: &Clock) {
    let now = u64::try_from(clock.now().as_secs()).unwrap_or(0);
    let until = admitted_until(peers, chain, now).unwrap_or_else(|error| {
        tracing::error!(%error, "others will refuse the certificate of this process");
        now
    });
    let until = f64::from(u32::try_from(until).unwrap_or(u32::MAX));
    metrics::gauge!("carelink_tls_certificate_expires_timestamp_seconds").set(until);
}

/// The last second, from now on, at which a certificate is let in; found by asking.
fn admitted_until(peers: &dyn ClientCertVerifier, chain: &[CertificateDer<'_>], now: u64) -> Result<u64, rustls::Error> {
    let (leaf, between) = chain.split_first().ok_or(rustls::Error::NoCertificatesPresented)?;
    let ask = |second: u64| peers.verify_client_cert(leaf, between, UnixTime::since_unix_epoch(Duration::from_secs(second)));
    ask(now)?;
    let (mut good, mut bad) = (now, now.saturating_add(FAR));
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        *(if ask(middle).is_ok() { &mut good } else { &mut bad }) = middle;
    }
    Ok(good)
}

fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty())
}

/// The process's clock, for the dates in certificates.
#[derive(Debug)]
struct Time(Clock);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        u64::try_from(self.0.now().as_secs()).ok().map(|seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Lets in whom an authority vouches for *and* whose certificate names somebody: nobody else gets as far as a request.
#[derive(Debug)]
struct NamedPeers(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for NamedPeers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(leaf, between, now)?;
        identity::caller(leaf).map(|_| verified).ok_or(rustls::Error::InvalidCertificate(CertificateError::NotValidForName))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use time::{OffsetDateTime, macros::datetime};

    use super::*;

    const NOW: OffsetDateTime = datetime!(2030-01-01 0:00 UTC);

    fn params(until: OffsetDateTime) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["gateway.carelink.internal".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (datetime!(2029-01-01 0:00 UTC), until);
        params
    }

    fn until(leaf_until: OffsetDateTime, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let mut root = params(datetime!(2040-01-01 0:00 UTC));
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let leaf = params(leaf_until).signed_by(&KeyPair::generate().unwrap(), &root).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(root.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let peers = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let found = admitted_until(&*peers, &[leaf.der().clone()], u64::try_from(now.unix_timestamp()).unwrap());
        found.ok().map(|second| OffsetDateTime::from_unix_timestamp(i64::try_from(second).unwrap()).unwrap())
    }

    #[test]
    fn the_end_of_a_certificate_is_known_to_the_second_and_one_that_has_ended_too() {
        let soon = datetime!(2030-03-04 5:06:07 UTC);
        assert_eq!(until(soon, NOW), Some(soon));
        assert_eq!(until(soon, soon + Duration::from_secs(2)), None);
    }
}
