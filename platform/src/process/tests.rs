//! What a process refuses to start with, and what it does without.

use std::path::Path;

use tower::ServiceExt;

use super::*;

const TOKEN: Service = Service { name: "token-service", short: "token", port: 8102, ops_port: 9102 };
const GATEWAY: Service = Service { name: "gateway", short: "gateway", port: 8000, ops_port: 9000 };

fn start(service: Service, data: &Path, environment: &[(&str, &str)]) -> Result<Process, Failed> {
    let args = Args { config: None, data: data.join("data"), listen: None, ops_port: None };
    Process::start(service, args, environment.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
}

#[tokio::test]
async fn a_process_alone_has_a_directory_and_a_key_of_its_own_and_calls_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(TOKEN, dir.path(), &[("CARELINK_GRPC__TOKEN", "localhost:8102"), ("CARELINK_AUDIT__DATABASE_URL", "postgres://x")]);
    let process = process.unwrap();
    assert!(matches!(process.database(), Location::File(file) if file == dir.path().join("data/token.sqlite3")));
    let made = process.master_key().unwrap();
    assert_eq!(process.master_key().unwrap().id(), made.id());
    assert!(process.assertion_keys().unwrap().is_empty() && process.sealing_key().unwrap().is_none());
    process.sealing_key_or(&made).unwrap();
    let refused = process.channel("audit-service").unwrap().oneshot(Request::new(Body::empty())).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn k3_with_postgresql_no_process_makes_itself_a_key_or_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let process = start(TOKEN, dir.path(), &[("DATABASE_URL", "postgres://carelink_token@localhost/carelink")]).unwrap();
    assert!(matches!(process.database(), Location::Postgres(_)));
    let refused = process.master_key().unwrap_err();
    assert!(refused.is::<ConfigError>() && refused.to_string().starts_with("setting `keys.master_key_file`: is missing"), "{refused}");
    start(GATEWAY, dir.path(), &[]).unwrap();
    assert!(!dir.path().join("data").exists());
}

#[tokio::test]
async fn what_a_process_of_a_fleet_lacks_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = |environment: &[(&str, &str)]| start(TOKEN, dir.path(), environment).unwrap_err().to_string();
    assert!(missing(&[("CARELINK_GRPC__CERTIFICATE_FILE", "/none.pem")]).starts_with("setting `grpc.key_file`"));
    assert!(missing(&[("CARELINK_GRPC__TOKEN", "here")]).starts_with("setting `grpc.token`: `here` is no address"));
    assert!(missing(&[("CARELINK_OPS__DRAIN_DELAY", "1h")]).starts_with("setting `ops.drain_delay`"));
    assert!(missing(&[("CARELINK_KEYS__MASTER", "x")]).contains("did you mean `keys.master_key_file`"));

    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["token-service.carelink.internal".to_owned()]).unwrap().self_signed(&key).unwrap();
    let (certificate_file, key_file) = (dir.path().join("c.pem"), dir.path().join("c.key"));
    std::fs::write(&certificate_file, certificate.pem()).unwrap();
    crate::secrets::write_private(&key_file, &key.serialize_pem()).unwrap();
    let (certificate_file, key_file) = (certificate_file.to_str().unwrap(), key_file.to_str().unwrap());
    let networked = [
        ("CARELINK_GRPC__CERTIFICATE_FILE", certificate_file),
        ("CARELINK_GRPC__KEY_FILE", key_file),
        ("CARELINK_GRPC__CA_FILE", certificate_file),
    ];
    let mut process = start(TOKEN, dir.path(), &networked).unwrap();
    for (named, error) in [
        ("grpc.audit", process.channel("audit-service").unwrap_err()),
        ("grpc.token", process.verifier().map(drop).unwrap_err()),
        ("keys.assertion_keys_file", process.assertion_keys().unwrap_err()),
        ("keys.sealing_key_file", process.sealing_key().unwrap_err()),
    ] {
        assert!(error.to_string().starts_with(&format!("setting `{named}`: is missing")), "{error}");
    }
}
