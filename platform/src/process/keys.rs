//! The keys of a process (K3): its own master key, and the public halves that others gave it.

use super::{Failed, Process};
use crate::{
    config::ConfigError,
    location::Location,
    public_keys::{read_assertion_keys, read_sealing_key},
    seal::{PURPOSE, SealingKeyPair, SealingPublicKey},
    secrets::MasterKey,
};

impl Process {
    /// The service's own master key: the file that `keys.master_key_file` names. On SQLite without it the data directory's, made where
    /// there is none; on PostgreSQL, which other replicas read too, never one that a process made by itself.
    ///
    /// # Errors
    /// Where it cannot be read or written.
    pub fn master_key(&self) -> Result<MasterKey, Failed> {
        let key = "keys.master_key_file";
        match (&self.keys.master_key_file, &self.at) {
            (Some(path), _) => MasterKey::load(path).map_err(|error| ConfigError::invalid(key, error.to_string()).into()),
            (None, Location::Postgres(_)) => {
                Err(ConfigError::invalid(key, "is missing: with PostgreSQL all replicas need the same; make it with `carelink key init`")
                    .into())
            }
            (None, Location::File(_)) => {
                let path = self.data.join(format!("{}.key", self.service.short));
                Ok(MasterKey::load_or_create(&path, &self.random).map(|(key, _)| key)?)
            }
        }
    }

    /// Whose sign-in assertions are believed (G1): nobody's where this process talks to nobody.
    ///
    /// # Errors
    /// Where `keys.assertion_keys_file` is missing or cannot be used.
    pub fn assertion_keys(&self) -> Result<Vec<[u8; 32]>, ConfigError> {
        let key = "keys.assertion_keys_file";
        match &self.keys.assertion_keys_file {
            Some(path) => read_assertion_keys(path).map_err(|error| ConfigError::invalid(key, error.to_string())),
            None if self.peers.is_some() => {
                Err(ConfigError::invalid(key, "is missing: without auth-service's public key nobody can sign in"))
            }
            None => Ok(Vec::new()),
        }
    }

    /// What personal parts of events are sealed to (A3): the key that audit-service gave out.
    ///
    /// # Errors
    /// Where `keys.sealing_key_file` is missing or cannot be used.
    pub fn sealing_key(&self) -> Result<Option<SealingPublicKey>, ConfigError> {
        let key = "keys.sealing_key_file";
        match &self.keys.sealing_key_file {
            Some(path) => read_sealing_key(path).map(Some).map_err(|error| ConfigError::invalid(key, error.to_string())),
            None if self.peers.is_some() => {
                Err(ConfigError::invalid(key, "is missing: personal parts of events are sealed to audit-service's public key"))
            }
            None => Ok(None),
        }
    }

    /// The same for a service that keeps events until they are delivered; alone, it seals them under its own key.
    ///
    /// # Errors
    /// Where `keys.sealing_key_file` is missing or cannot be used.
    pub fn sealing_key_or(&self, master: &MasterKey) -> Result<SealingPublicKey, Failed> {
        match self.sealing_key()? {
            Some(key) => Ok(key),
            None => Ok(SealingKeyPair::from_secret(&master.derive(PURPOSE))?.public().clone()),
        }
    }
}
