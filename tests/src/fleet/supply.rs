//! What a fleet needs before its first process starts: certificates, keys, schemas, and everybody's configuration.

use std::{
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use carelink_servers::TestDatabase;

use super::{Service, variable};
use crate::cli::{command, run};

/// Makes the CA, a certificate for everybody, and the keys, with the commands that operators have.
pub(super) async fn certificates(home: &Path) {
    let carelink = async |args: &[&str]| {
        let mut command = command();
        command.args(args).current_dir(home);
        run(command, "").await.ok();
    };
    carelink(&["pki", "init", "--dir", "pki"]).await;
    for service in Service::ALL {
        carelink(&["pki", "issue", service.name(), "--dir", "pki"]).await;
    }
    carelink(&["pki", "issue", "alice", "--operator", "--dir", "pki"]).await;
    carelink(&["key", "init", "--dir", "keys"]).await;
}

/// Brings the schemas up, as their owners.
pub(super) async fn migrate(home: &Path, database: &TestDatabase) {
    let mut command = command();
    command.args(["migrate"]).current_dir(home);
    for service in Service::STORES {
        let url = database.url(&format!("carelink_{}_owner", service.short()));
        command.env(variable(&format!("{}.database_url", service.short())), url);
    }
    run(command, "").await.ok();
}

fn addresses(of: &[SocketAddr]) -> String {
    of.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// What one process is told.
pub(super) fn environment(
    home: &Path,
    service: Service,
    at: SocketAddr,
    ops: SocketAddr,
    reached: &BTreeMap<Service, Vec<SocketAddr>>,
) -> Vec<(String, String)> {
    let file = |path: String| home.join(path).to_str().unwrap().to_owned();
    let mut told = vec![
        ("grpc.certificate_file".to_owned(), file(format!("pki/{}.pem", service.name()))),
        ("grpc.key_file".to_owned(), file(format!("pki/{}.key", service.name()))),
        ("grpc.ca_file".to_owned(), file("pki/ca.pem".into())),
        ("ops.listen".to_owned(), ops.ip().to_string()),
        ("keys.sealing_key_file".to_owned(), file("keys/sealing.pub".into())),
    ];
    if service == Service::Gateway {
        told.push(("gateway.listen".into(), at.to_string()));
    } else {
        told.push(("grpc.listen".into(), at.to_string()));
        told.push(("keys.master_key_file".into(), file(format!("keys/{}.key", service.short()))));
    }
    if service == Service::Token {
        told.push(("keys.assertion_keys_file".into(), file("keys/assertion.pub".into())));
    }
    told.extend(Service::STORES.map(|other| (format!("grpc.{}", other.short()), addresses(&reached[&other]))));
    told
}

/// What the command line is told.
pub(super) fn operator(home: &Path, reached: &BTreeMap<Service, Vec<SocketAddr>>) -> String {
    let file = |name: &str| home.join("pki").join(name).to_str().unwrap().to_owned();
    let (certificate, key, ca) = (file("alice.pem"), file("alice.key"), file("ca.pem"));
    let others = Service::STORES.map(|other| format!("{} = \"{}\"\n", other.short(), addresses(&reached[&other]))).concat();
    format!("[grpc]\ncertificate_file = \"{certificate}\"\nkey_file = \"{key}\"\nca_file = \"{ca}\"\n{others}")
}

/// libfaketime, which lets a process read another time; the clock that only ever goes on is left alone.
pub fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?.filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketime.so.1")));
    folders.into_iter().find(|path| path.exists())
}

/// A process whose wall clock is so far off.
pub(super) fn clock(off: &str) -> Vec<(String, String)> {
    let library = faketime().expect("libfaketime is not here (Debian: faketime)");
    [("LD_PRELOAD", library.to_str().unwrap()), ("FAKETIME", off), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
