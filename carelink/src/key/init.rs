//! `carelink key init`: the keys of a fleet that live in files. Works offline.

use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use carelink_platform::{
    public_keys::{self, PublicKeyError, Purpose},
    random::Random,
    seal::{self, SealingKeyPair},
    secrets::MasterKey,
};
use serde::Serialize;

use crate::{cli::Context, error::failed, output::Table};

/// A file of keys.
#[derive(Serialize)]
struct Kept {
    file: PathBuf,
    id: String,
    made: bool,
}

/// Makes what is not there yet.
pub(super) fn run(dir: &Path, context: &mut Context) -> anyhow::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| failed("keys", format!("{}: {error}", dir.display())))?;
    let (auth, kept_auth) = master(dir, "auth", &context.random)?;
    let (_, kept_token) = master(dir, "token", &context.random)?;
    let (audit, kept_audit) = master(dir, "audit", &context.random)?;
    let assertion = auth_service::assertion_key(&auth)?;
    let sealing = SealingKeyPair::from_secret(&audit.derive(seal::PURPOSE))?;
    let sealing_key: [u8; 32] = sealing.public().as_bytes().try_into()?;
    let public = |name: &str, purpose, key: &[u8; 32], id: &str| -> anyhow::Result<Kept> {
        let file = dir.join(name);
        let made = public_keys::put(&file, purpose, key).map_err(|error| told(&error))?;
        Ok(Kept { file, id: id.to_owned(), made })
    };
    let files = [
        kept_auth,
        kept_token,
        kept_audit,
        public("assertion.pub", Purpose::Assertion, &assertion.public_key, &assertion.kid)?,
        public("sealing.pub", Purpose::Sealing, &sealing_key, sealing.public().id())?,
    ];
    context.console.value(&serde_json::json!({ "keys": files }))?;
    let mut table = Table::new(["FILE", "KEY", ""]);
    for Kept { file, id, made } in files {
        table.row([file.display().to_string(), id, if made { "made" } else { "was there" }.to_owned()]);
    }
    context.console.table(table)?;
    context.console.note("Keep a copy of the .key files where backups of the databases are not: without them nothing sealed can be read.");
    Ok(())
}

fn master(dir: &Path, service: &str, random: &Random) -> anyhow::Result<(MasterKey, Kept)> {
    let file = dir.join(format!("{service}.key"));
    let (key, made) = MasterKey::load_or_create(&file, random).map_err(|error| failed("master_key", error.to_string()))?;
    let kept = Kept { file, id: key.id().to_owned(), made };
    Ok((key, kept))
}

fn told(error: &PublicKeyError) -> anyhow::Error {
    failed("public_key", error.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use carelink_platform::public_keys::{read_assertion_keys, read_sealing_key};
    use clap::Parser;

    use super::*;
    use crate::{
        cli::{self, Cli},
        output::Console,
        tests::Written,
    };

    async fn init(dir: &Path) -> serde_json::Value {
        let cli = Cli::try_parse_from(["carelink", "key", "init", "--json", "--dir", dir.to_str().unwrap()]).unwrap();
        let out = Written::default();
        let mut context = Context::new(cli.global, Console::new(true, out.clone(), std::io::sink()), Random::system(), None);
        Box::pin(cli::run(cli.command, &mut context)).await.unwrap();
        serde_json::from_str(&out.text()).unwrap()
    }

    #[tokio::test]
    async fn k3_every_service_gets_a_key_of_its_own_and_others_the_public_halves() {
        let dir = tempfile::tempdir().unwrap();
        let keys = dir.path().join("keys");
        let made = init(&keys).await;
        let key = |service: &str| MasterKey::load_or_create(&keys.join(format!("{service}.key")), &Random::system()).unwrap();
        for service in ["auth", "token", "audit"] {
            assert!(!key(service).1, "{service}");
            assert_eq!(fs::metadata(keys.join(format!("{service}.key"))).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_ne!(key("auth").0.id(), key("token").0.id());
        let assertion = auth_service::assertion_key(&key("auth").0).unwrap();
        assert_eq!(read_assertion_keys(&keys.join("assertion.pub")).unwrap(), [assertion.public_key]);
        let sealing = SealingKeyPair::from_secret(&key("audit").0.derive(seal::PURPOSE)).unwrap();
        assert_eq!(read_sealing_key(&keys.join("sealing.pub")).unwrap().id(), sealing.public().id());

        let again = init(&keys).await;
        for (first, second) in made["keys"].as_array().unwrap().iter().zip(again["keys"].as_array().unwrap()) {
            assert_eq!((&first["id"], &first["made"], &second["made"]), (&second["id"], &true.into(), &false.into()));
        }
    }
}
