//! The small CA itself: roots and leaves as X.509, ECDSA P-256. Knows no files.
//!
//! A root is called after its key, so that the key alone is enough to sign under it, and two roots are told apart.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use carelink_platform::{clock::Timestamp, random::Random};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// How long a root is good for.
pub(super) const ROOT_DAYS: u32 = 3_650;
/// Clocks of a fleet may differ: what is new must not be of tomorrow anywhere.
const BACKDATED: Duration = Duration::from_secs(600);
const SERIAL_BYTES: usize = 16;

/// A certificate and its key, both as PEM.
pub(super) struct Made {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

/// A root that can sign.
pub(super) struct Authority(Issuer<'static, KeyPair>);

/// What a leaf says.
pub(super) struct Leaf<'a> {
    /// Its common name, for people.
    pub(super) common: &'a str,
    /// DNS names and addresses; the first is who it is.
    pub(super) names: Vec<String>,
    /// Valid until.
    pub(super) until: Timestamp,
}

/// How a root with this key is called.
fn called(key: &KeyPair) -> String {
    let mut id = hex::encode(digest(&SHA256, key.public_key_raw()));
    id.truncate(16);
    format!("CareLink CA {id}")
}

/// What every root says about itself.
fn root(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, called(key));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// The end of so many days from now.
pub(super) fn days(now: Timestamp, days: u32) -> Timestamp {
    now + Duration::from_secs(u64::from(days) * 86_400)
}

/// Makes a root, and its key.
pub(super) fn make_root(now: Timestamp, random: &Random) -> Result<Made, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = root(&key);
    valid(&mut params, now, days(now, ROOT_DAYS));
    params.serial_number = Some(SerialNumber::from_slice(&random.bytes::<SERIAL_BYTES>()));
    Ok(Made { certificate: params.self_signed(&key)?.pem(), key: Zeroizing::new(key.serialize_pem()) })
}

impl Authority {
    /// The root that has this key.
    pub(super) fn of_key(pem: &str) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(pem)?;
        Ok(Self(Issuer::new(root(&key), key)))
    }

    /// How its certificates name it.
    pub(super) fn name(&self) -> String {
        called(self.0.key())
    }

    /// Makes a leaf and its key: good for both ends of a connection, but for one that strangers connect to by another name, which must not
    /// be a way in.
    pub(super) fn issue(&self, leaf: &Leaf<'_>, now: Timestamp, random: &Random) -> Result<Made, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(leaf.names.clone())?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, leaf.common);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        if leaf.names.len() == 1 {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        params.serial_number = Some(SerialNumber::from_slice(&random.bytes::<SERIAL_BYTES>()));
        valid(&mut params, now, leaf.until);
        Ok(Made { certificate: params.signed_by(&key, &self.0)?.pem(), key: Zeroizing::new(key.serialize_pem()) })
    }
}

fn valid(params: &mut CertificateParams, now: Timestamp, until: Timestamp) {
    params.not_before = offset(now - BACKDATED);
    params.not_after = offset(until);
}

fn offset(at: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(at.as_secs()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
