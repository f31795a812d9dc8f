//! Secrets: files that hold one, the master key of a data directory, and what is derived from it (K3).

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest, hkdf,
};
pub use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::random::Random;

/// Why a secret could not be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others than its owner may read it.
    #[error("{path} may be read by others; make it private: chmod 600 {path}", path = .0.display())]
    Exposed(PathBuf),
    /// It does not hold what it should.
    #[error("{path} is not a master key (32 bytes as 64 hexadecimal digits); restore it from where it was kept", path = .0.display())]
    Malformed(PathBuf),
    /// What was sealed was sealed under another key, or has been changed.
    #[error("sealed under another master key, or damaged")]
    Unreadable,
}

/// Reads a secret from a file; one trailing newline is not part of it.
///
/// # Errors
/// Where the file cannot be read as text.
pub fn read_secret_file(path: &Path) -> Result<SecretString, SecretError> {
    let text = fs::read_to_string(path).map_err(|source| SecretError::File { path: path.into(), source })?;
    let text = Zeroizing::new(text);
    let trimmed = text.strip_suffix('\n').unwrap_or(&text);
    Ok(SecretString::from(trimmed.strip_suffix('\r').unwrap_or(trimmed)))
}

/// The one key that a data directory keeps in a file; every other is derived from it or sealed under it (K3).
#[derive(Clone)]
pub struct MasterKey {
    id: String,
    bytes: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

impl MasterKey {
    /// Takes key material as it is.
    pub fn new(bytes: [u8; 32]) -> Self {
        let mut id = hex::encode(digest::digest(&digest::SHA256, &[b"carelink master key id".as_slice(), &bytes].concat()));
        id.truncate(16);
        Self { id, bytes: Zeroizing::new(bytes) }
    }

    /// Reads the key.
    ///
    /// # Errors
    /// Where the file is not there, cannot be read, is readable by others, or is not a key.
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let meta = fs::metadata(path).map_err(|source| SecretError::File { path: path.into(), source })?;
        if meta.mode() & 0o077 != 0 {
            return Err(SecretError::Exposed(path.into()));
        }
        let text = read_secret_file(path)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.expose_secret(), &mut bytes).map_err(|_| SecretError::Malformed(path.into()))?;
        Ok(Self::new(bytes))
    }

    /// Reads the key, or makes one (mode 0600) where there is no file yet. Says whether it was made.
    ///
    /// # Errors
    /// Where the file cannot be read or written, is readable by others, or is not a key.
    pub fn load_or_create(path: &Path, random: &Random) -> Result<(Self, bool), SecretError> {
        match Self::load(path) {
            Err(SecretError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            loaded => return loaded.map(|key| (key, false)),
        }
        let bytes = Zeroizing::new(random.bytes::<32>());
        write_private(path, &Zeroizing::new(format!("{}\n", hex::encode(bytes.as_ref()))))
            .map_err(|source| SecretError::File { path: path.into(), source })?;
        Ok((Self::new(*bytes), true))
    }

    /// Names the key without telling it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Key material for one purpose (HKDF-SHA256).
    #[allow(clippy::expect_used)] // fails only past 255 blocks
    pub fn derive<const N: usize>(&self, purpose: &str) -> [u8; N] {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let mut out = [0; N];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"carelink/v1")
            .extract(self.bytes.as_ref())
            .expand(&[purpose.as_bytes()], Length(N))
            .and_then(|okm| okm.fill(&mut out))
            .expect("at most 255 blocks of output");
        out
    }

    /// Seals bytes under a key for `purpose` (AES-256-GCM); `context` must be the same when opened.
    #[allow(clippy::expect_used)] // an AES key of 32 bytes
    pub fn seal(&self, purpose: &str, random: &Random, plain: &[u8], context: &[u8]) -> Vec<u8> {
        let nonce = random.bytes::<NONCE_LEN>();
        let mut sealed = plain.to_vec();
        self.aead(purpose)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), &mut sealed)
            .expect("below the size limit of AES-GCM");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Opens what [`MasterKey::seal`] made.
    ///
    /// # Errors
    /// Where it was sealed under another key, for another purpose or context, or was changed.
    pub fn open(&self, purpose: &str, sealed: &[u8], context: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let (nonce, body) = sealed.split_at_checked(NONCE_LEN).ok_or(SecretError::Unreadable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SecretError::Unreadable)?;
        let mut body = Zeroizing::new(body.to_vec());
        let length = self.aead(purpose).open_in_place(nonce, Aad::from(context), &mut body).map_err(|_| SecretError::Unreadable)?.len();
        body.truncate(length);
        Ok(body)
    }

    #[allow(clippy::expect_used)] // 32 bytes are an AES-256 key
    fn aead(&self, purpose: &str) -> LessSafeKey {
        let key = Zeroizing::new(self.derive::<32>(purpose));
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).expect("32 bytes"))
    }
}

/// Writes a file that only its owner may read, created exclusively, synced before it counts.
///
/// # Errors
/// Where it exists or cannot be written.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k3_the_key_is_made_once_private_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        let (made, created) = MasterKey::load_or_create(&path, &Random::system()).unwrap();
        let (read, again) = MasterKey::load_or_create(&path, &Random::system()).unwrap();
        assert!(created && !again);
        assert_eq!((made.id(), made.derive::<32>("a")), (read.id(), read.derive::<32>("a")));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_ne!(read.derive::<32>("a"), read.derive::<32>("b"));
    }

    #[test]
    fn k3_a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        fs::write(&path, "00".repeat(32)).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
        assert!(matches!(MasterKey::load_or_create(&path, &Random::system()), Err(SecretError::Exposed(_))));
    }

    #[test]
    fn what_is_sealed_opens_only_as_it_was_sealed() {
        let (key, random) = (MasterKey::new([7; 32]), Random::seeded(1));
        let sealed = key.seal("p", &random, b"secret", b"row 1");
        assert_eq!(key.open("p", &sealed, b"row 1").unwrap().as_slice(), b"secret");
        assert!(key.open("q", &sealed, b"row 1").is_err());
        assert!(key.open("p", &sealed, b"row 2").is_err());
        assert!(MasterKey::new([8; 32]).open("p", &sealed, b"row 1").is_err());
        assert!(key.open("p", b"short", b"row 1").is_err());
    }

    #[test]
    fn one_trailing_newline_is_not_part_of_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, " a b \n\n").unwrap();
        assert_eq!(read_secret_file(&path).unwrap().expose_secret(), " a b \n");
    }
}
