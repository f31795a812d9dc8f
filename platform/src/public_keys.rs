//! The public halves that services are given as files (K3): whose sign-in assertions token-service believes, and what producers seal to.
//!
//! One key a line, `assertion ed25519 <64 hexadecimal digits>` or `sealing x25519 <..>`, newest first; what begins with `#` is for
//! people. The first word keeps one file from being taken for the other.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::seal::SealingPublicKey;

/// What a key of a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Signs sign-in assertions (G1).
    Assertion,
    /// Personal parts of events are sealed to it (A3).
    Sealing,
}

/// Why keys could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PublicKeyError {
    /// The file cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is no such key.
    #[error("{path}, line {line}: not a key of the form `{form}`; make it with `carelink key init`", path = .path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
        /// What it should look like.
        form: String,
    },
    /// There is none.
    #[error("{path} holds no key; make it with `carelink key init`", path = .0.display())]
    Empty(PathBuf),
}

impl Purpose {
    fn words(self) -> &'static str {
        match self {
            Self::Assertion => "assertion ed25519",
            Self::Sealing => "sealing x25519",
        }
    }

    fn explained(self) -> &'static str {
        match self {
            Self::Assertion => "# Whose sign-in assertions are believed; for token-service: keys.assertion_keys_file. Newest first.",
            Self::Sealing => {
                "# What personal parts of events are sealed to; for all but audit-service: keys.sealing_key_file. Newest first."
            }
        }
    }
}

/// The keys that token-service pins.
///
/// # Errors
/// Where the file cannot be read, holds anything else, or holds none.
pub fn read_assertion_keys(path: &Path) -> Result<Vec<[u8; 32]>, PublicKeyError> {
    read(path, Purpose::Assertion)
}

/// The key that producers seal to: the newest of the file.
///
/// # Errors
/// Where the file cannot be read, holds anything else, or holds none.
pub fn read_sealing_key(path: &Path) -> Result<SealingPublicKey, PublicKeyError> {
    let keys = read(path, Purpose::Sealing)?;
    let newest = keys.first().and_then(|key| SealingPublicKey::from_bytes(key).ok());
    newest.ok_or_else(|| PublicKeyError::Malformed { path: path.into(), line: 1, form: form(Purpose::Sealing) })
}

/// Makes `key` the newest of the file, which is made where there is none; what it holds already stays. Says whether that changed it.
///
/// # Errors
/// Where the file cannot be read or written, or holds anything else.
pub fn put(path: &Path, purpose: Purpose, key: &[u8; 32]) -> Result<bool, PublicKeyError> {
    let there = if path.exists() { read(path, purpose)? } else { Vec::new() };
    if there.contains(key) {
        return Ok(false);
    }
    let mut text = format!("{}\n", purpose.explained());
    for key in [key].into_iter().chain(&there) {
        text.push_str(&format!("{} {}\n", purpose.words(), hex::encode(key)));
    }
    let beside = path.with_extension("pub.new");
    let written = || {
        fs::write(&beside, &text)?;
        fs::File::open(&beside)?.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|source| PublicKeyError::File { path: path.into(), source })?;
    Ok(true)
}

fn read(path: &Path, purpose: Purpose) -> Result<Vec<[u8; 32]>, PublicKeyError> {
    let text = fs::read_to_string(path).map_err(|source| PublicKeyError::File { path: path.into(), source })?;
    let mut keys = Vec::new();
    for (at, line) in text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let mut key = [0; 32];
        let digits = line.strip_prefix(purpose.words()).and_then(|rest| rest.strip_prefix(' '));
        digits.and_then(|digits| hex::decode_to_slice(digits, &mut key).ok()).ok_or_else(|| PublicKeyError::Malformed {
            path: path.into(),
            line: at + 1,
            form: form(purpose),
        })?;
        keys.push(key);
    }
    if keys.is_empty() { Err(PublicKeyError::Empty(path.into())) } else { Ok(keys) }
}

fn form(purpose: Purpose) -> String {
    format!("{} <64 hexadecimal digits>", purpose.words())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::SealingKeyPair;

    #[test]
    fn keys_are_read_back_newest_first_and_never_for_another_purpose() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("assertion.pub");
        assert!(put(&path, Purpose::Assertion, &[1; 32]).unwrap());
        assert!(!put(&path, Purpose::Assertion, &[1; 32]).unwrap());
        assert!(put(&path, Purpose::Assertion, &[2; 32]).unwrap());
        assert_eq!(read_assertion_keys(&path).unwrap(), [[2; 32], [1; 32]]);
        let told = read_sealing_key(&path).unwrap_err().to_string();
        assert!(told.contains("line 2: not a key of the form `sealing x25519 <64 hexadecimal digits>`"), "{told}");
        assert!(matches!(put(&path, Purpose::Sealing, &[3; 32]), Err(PublicKeyError::Malformed { .. })));
    }

    #[test]
    fn the_newest_sealing_key_is_the_one_that_is_sealed_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealing.pub");
        let pair = |byte| SealingKeyPair::from_secret(&[byte; 32]).unwrap();
        for byte in [7, 8] {
            put(&path, Purpose::Sealing, pair(byte).public().as_bytes().try_into().unwrap()).unwrap();
        }
        assert_eq!(read_sealing_key(&path).unwrap().id(), pair(8).public().id());
    }

    #[test]
    fn a_file_without_keys_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        fs::write(&path, "# nothing yet\n\n").unwrap();
        assert!(matches!(read_assertion_keys(&path), Err(PublicKeyError::Empty(_))));
        assert!(matches!(read_assertion_keys(&dir.path().join("none")), Err(PublicKeyError::File { .. })));
    }
}
