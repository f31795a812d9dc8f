//! A token-service: the real one, on the one database there is.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_database::Statement;
use carelink_platform::{lifecycle::Shutdown, random::Random, seal::SealingKeyPair, secrets::MasterKey};
use carelink_proto::{
    audit::audit_service_client::AuditServiceClient,
    token::{Assertion, Subject},
};
use carelink_verifier::thumbprint;
use prost::Message;
use token_service::{App, Config, Options};
use tokio::time::sleep;
use tonic::Status;
use uuid::Uuid;

use crate::{
    net,
    world::{ACCESS_LIFETIME, Plant, World},
};

static MISNAMES: Statement = Statement::shared(
    "misnames",
    "CREATE TRIGGER IF NOT EXISTS misnames AFTER INSERT ON revocation WHEN NEW.number % 2 = 0 \
     BEGIN UPDATE revocation SET session = zeroblob(16) WHERE number = NEW.number; END;",
);
/// A key waits for so long before it signs: longer than a verifier is fresh by one heartbeat (K1).
const PUBLISHED: Duration = Duration::from_secs(6);
const AGAIN: Duration = Duration::from_millis(500);

/// One start of a replica, until it is crashed.
pub(crate) async fn run(world: World, name: &'static str) -> turmoil::Result {
    let random = world.random(name);
    let app = loop {
        match App::build(options(&world, &random)).await {
            Ok(app) => break app,
            Err(error) => world.note(name, format!("does not start: {error}")),
        }
        sleep(AGAIN).await; // a supervisor starts it again
    };
    if world.plant() == Plant::MisnamesRevocations {
        app.store().db.run(&MISNAMES, Vec::new()).await?;
    }
    world.note(name, "is up");
    let (serving, running) = (net::serve(app.stack()), app.run(Shutdown::new()));
    tokio::select! { served = serving => served, () = running => Ok(()) }
}

fn options(world: &World, random: &Random) -> Options {
    let nobody = tower::service_fn(|_| async { Err::<http::Response<tonic::body::Body>, _>(Status::unavailable("no trail here")) });
    let mut config = Config::default();
    config.session.access_lifetime = ACCESS_LIFETIME;
    config.session.grace = world.grace();
    config.token.publish_keys_for = if world.plant() == Plant::SignsUnpublished { Duration::ZERO } else { PUBLISHED };
    Options {
        config,
        backlog: Default::default(),
        database: world.database(),
        clock: world.clock(),
        random: random.clone(),
        master: MasterKey::new([1; 32]),
        sealing: SealingKeyPair::from_secret(&[2; 32]).unwrap().public().clone(),
        assertion_keys: vec![signer().public_key().as_ref().try_into().unwrap()],
        audit: AuditServiceClient::new(carelink_verifier::channel(nobody)),
    }
}

fn signer() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap()
}

/// What auth-service signs for somebody who has proved who they are.
pub(crate) fn assertion(id: Uuid, subject: Subject, issued_us: i64) -> String {
    let said = Assertion {
        id: id.as_bytes().to_vec(),
        subject: Some(subject),
        amr: vec!["pwd".into()],
        acr: "urn:carelink:acr:password".into(),
        issued_us,
        audience: "token-service".into(),
        presenter: "gateway".into(),
    };
    let signer = signer();
    let kid = thumbprint(&signer.public_key().as_ref().try_into().unwrap());
    let header = format!(r#"{{"alg":"EdDSA","typ":"carelink-assertion+jwt","kid":"{kid}"}}"#);
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(said.encode_to_vec()));
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signer.sign(signed.as_bytes())))
}
