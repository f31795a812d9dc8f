//! The CA as an operator keeps it, checked by openssl.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command as Process,
};

use carelink_platform::random::Random;
use clap::Parser;
use serde_json::Value;

use super::*;
use crate::{
    cli::{self, Cli},
    error::Report,
    output::Console,
    tests::Written,
};

/// A CA in a throw-away folder.
struct Pki(tempfile::TempDir);

impl Pki {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self) -> PathBuf {
        self.0.path().join("pki")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Runs `carelink pki WORDS --dir DIR --json`.
    async fn run(&self, words: &[&str]) -> Result<Value, Report> {
        let dir = self.dir();
        let line = ["carelink", "pki"].into_iter().chain(words.iter().copied()).chain(["--json", "--dir", dir.to_str().unwrap()]);
        let cli = Cli::try_parse_from(line).unwrap();
        let out = Written::default();
        let mut context = Context::new(cli.global, Console::new(true, out.clone(), std::io::sink()), Random::system(), None);
        Box::pin(cli::run(cli.command, &mut context)).await.map_err(|error| Report::of(&error))?;
        Ok(serde_json::from_str(&out.text()).unwrap())
    }

    /// What openssl says of a leaf, as a server and as a client.
    fn verify(&self, roots: &Path, leaf: &str, host: &str) -> bool {
        ["sslserver", "sslclient"].iter().all(|purpose| self.verify_as(purpose, roots, leaf, host))
    }

    fn verify_as(&self, purpose: &str, roots: &Path, leaf: &str, host: &str) -> bool {
        let words = ["verify", "-x509_strict", "-purpose", purpose, "-verify_hostname", host, "-CAfile"];
        Process::new("openssl").args(words).arg(roots).arg(self.file(leaf)).output().unwrap().status.success()
    }

    fn text(&self, name: &str) -> String {
        let out = Process::new("openssl").args(["x509", "-noout", "-text", "-in"]).arg(self.file(name)).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    }
}

fn refusal(outcome: Result<Value, Report>) -> String {
    outcome.unwrap_err().message
}

#[tokio::test]
async fn a_leaf_is_who_it_says_and_good_for_both_ends() {
    let pki = Pki::new();
    pki.run(&["init"]).await.unwrap();
    let made = pki.run(&["issue", "token-service"]).await.unwrap();
    assert_eq!(made["certificates"][0]["names"], serde_json::json!(["token-service.carelink.internal"]));
    pki.run(&["issue", "alice", "--operator", "--days", "7"]).await.unwrap();
    pki.run(&["issue", "edge", "--also", "localhost", "--also", "127.0.0.1"]).await.unwrap();
    let roots = pki.file("ca.pem");
    assert!(pki.verify(&roots, "token-service.pem", "token-service.carelink.internal"));
    assert!(!pki.verify(&roots, "token-service.pem", "auth-service.carelink.internal"));
    assert!(pki.verify(&roots, "alice.pem", "alice.operator.carelink.internal"));
    assert!(pki.verify_as("sslserver", &roots, "edge.pem", "localhost") && pki.text("edge.pem").contains("IP Address:127.0.0.1"));
    assert!(!pki.verify_as("sslclient", &roots, "edge.pem", "localhost"), "what faces strangers is no way in");
    let text = pki.text("token-service.pem");
    assert!(text.contains("prime256v1") && text.contains("CA:FALSE"), "{text}");
    assert!(pki.text("ca.pem").contains("CA:TRUE, pathlen:0"));
    let modes = ["", "ca.key", "alice.key"].map(|name| fs::metadata(pki.file(name)).unwrap().permissions().mode() & 0o777);
    assert_eq!(modes, [0o700, 0o600, 0o600]);
    let shown = pki.run(&["show"]).await.unwrap();
    assert_eq!((shown["roots"][0]["role"].as_str(), shown["certificates"].as_array().unwrap().len()), (Some("signs"), 3));
}

#[tokio::test]
async fn nothing_is_overwritten_and_every_refusal_says_what_to_do() {
    let pki = Pki::new();
    assert!(refusal(pki.run(&["issue", "gateway"]).await).contains("make one with: carelink pki init --dir"));
    pki.run(&["init"]).await.unwrap();
    let key = fs::read(pki.file("ca.key")).unwrap();
    assert!(refusal(pki.run(&["init"]).await).contains("never overwritten"));
    pki.run(&["issue", "gateway"]).await.unwrap();
    assert!(refusal(pki.run(&["issue", "gateway"]).await).contains("carelink pki renew gateway --dir"));
    assert!(refusal(pki.run(&["renew", "nobody"]).await).contains("carelink pki issue nobody --dir"));
    for name in ["ca", "next", "operator", "Gateway", "a.b", "-a", "../a", ""] {
        let words = ["issue", "--", name];
        let dir = pki.dir();
        let line = ["carelink", "pki", "--json"].into_iter().chain(["issue", "--dir", dir.to_str().unwrap(), "--", name]);
        assert!(Cli::try_parse_from(line).is_ok(), "{words:?}");
        assert!(label(name).is_err(), "{name}");
    }
    assert!(refusal(pki.run(&["issue", "edge", "--also", "gateway.carelink.internal"]).await).contains("say who somebody is"));
    assert_eq!(fs::read(pki.file("ca.key")).unwrap(), key);
}

#[tokio::test]
async fn a_leaf_is_renewed_under_its_names_with_a_new_key() {
    let pki = Pki::new();
    pki.run(&["init"]).await.unwrap();
    pki.run(&["issue", "gateway", "--days", "5"]).await.unwrap();
    pki.run(&["issue", "edge", "--also", "localhost", "--also", "::1"]).await.unwrap();
    let (key, before) = (fs::read(pki.file("gateway.key")).unwrap(), pki.run(&["show"]).await.unwrap());
    let renewed = pki.run(&["renew"]).await.unwrap();
    assert_eq!(renewed["certificates"].as_array().unwrap().len(), 1, "only what ends soon");
    assert_ne!(fs::read(pki.file("gateway.key")).unwrap(), key);
    assert_ne!(renewed["certificates"][0]["serial"], before["certificates"][1]["serial"]);
    pki.run(&["renew", "edge"]).await.unwrap();
    assert!(pki.verify_as("sslserver", &pki.file("ca.pem"), "edge.pem", "localhost"));
    for kind in ["pem", "key"] {
        fs::copy(pki.file(&format!("gateway.{kind}")), pki.file(&format!("mallory.{kind}"))).unwrap();
    }
    assert!(refusal(pki.run(&["renew", "mallory"]).await).contains("says that it is gateway.carelink.internal"));
    fs::remove_file(pki.file("mallory.pem")).unwrap();
    fs::remove_file(pki.file("mallory.key")).unwrap();
    assert!(pki.text("edge.pem").contains("IP Address:0:0:0:0:0:0:0:1"));
    assert!(pki.run(&["renew", "--all"]).await.unwrap()["certificates"].as_array().unwrap().len() == 2);
    assert!(fs::read_dir(pki.dir()).unwrap().all(|file| !file.unwrap().file_name().to_string_lossy().starts_with('.')));
}

#[tokio::test]
async fn a_root_is_replaced_in_three_steps_and_no_step_leaves_anybody_untrusted() {
    let pki = Pki::new();
    pki.run(&["init"]).await.unwrap();
    pki.run(&["issue", "gateway"]).await.unwrap();
    let (old, gateway) = (pki.0.path().join("old.pem"), "gateway.carelink.internal");
    fs::copy(pki.file("ca.pem"), &old).unwrap();
    assert!(refusal(pki.run(&["renew", "--switch"]).await).contains("carelink pki init --next"));
    assert!(refusal(pki.run(&["retire"]).await).contains("one root only"));

    pki.run(&["init", "--next"]).await.unwrap();
    assert!(refusal(pki.run(&["init", "--next"]).await).contains("renew --switch"));
    assert!(refusal(pki.run(&["retire"]).await).contains("does not sign yet"));
    pki.run(&["issue", "late"]).await.unwrap();
    assert!(pki.verify(&old, "late.pem", "late.carelink.internal"), "signed by the first, which everybody trusts");

    pki.run(&["renew", "--switch"]).await.unwrap();
    assert!(!pki.verify(&old, "gateway.pem", gateway) && pki.verify(&pki.file("ca.pem"), "gateway.pem", gateway));
    let both = pki.0.path().join("both.pem");
    fs::copy(pki.file("ca.pem"), &both).unwrap();

    pki.run(&["retire"]).await.unwrap();
    assert_eq!(pki.run(&["show"]).await.unwrap()["roots"].as_array().unwrap().len(), 1);
    assert!(pki.verify(&pki.file("ca.pem"), "gateway.pem", gateway) && pki.verify(&both, "gateway.pem", gateway));
    pki.run(&["init", "--next"]).await.unwrap();
}
