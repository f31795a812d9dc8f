//! Who is let in, and what they may call (G2).

use std::sync::Arc;

use carelink_platform::{
    errors::Reason,
    grpc::{Caller, Operator, OperatorProof, server_name},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::TlsConnector;

use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, ServerReflectionResponse, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use crate::bed::{Authority, Papers, SERVICE, Server, append, list, reason, until};

/// Shakes hands as whoever is given, believing `authority`; the server says the first word once it has accepted both.
pub(crate) async fn greeted(server: &Server, authority: &Authority, pair: Option<&(String, String)>) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match pair {
        Some((certificate, key)) => {
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![certificate], PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from(server_name(SERVICE)).unwrap();
    let mut tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| error.to_string())?;
    match tls.read(&mut [0; 9]).await {
        Ok(0) => Err("closed".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[tokio::test]
async fn g2_only_certificates_of_the_deployments_authority_that_name_somebody_and_are_in_force_are_let_in() {
    let (ours, other) = (Authority::new(), Authority::new());
    let server = Server::start(&ours).await;
    let name = "gateway.carelink.internal";
    greeted(&server, &ours, Some(&ours.issue(name, (-1, 1)))).await.unwrap();
    for (who, pair) in [
        ("nobody", None),
        ("other authority", Some(other.issue(name, (-1, 1)))),
        ("expired", Some(ours.issue(name, (-3, -1)))),
        ("not yet valid", Some(ours.issue(name, (1, 3)))),
        ("wrong name", Some(ours.issue("gateway.example.org", (-1, 1)))),
        ("everybody", Some(ours.issue("*.carelink.internal", (-1, 1)))),
    ] {
        let refused = greeted(&server, &ours, pair.as_ref()).await;
        assert!(refused.is_err(), "{who} was let in");
    }
    assert_eq!(server.ward.calls(), 0);
}

#[tokio::test]
async fn g2_a_client_believes_only_a_server_that_is_whom_it_calls() {
    let (ours, other) = (Authority::new(), Authority::new());
    let gateway = Papers::of(&ours, "gateway");
    for (who, papers) in [
        ("another service", Papers::of(&ours, "token-service")),
        ("other authority", Papers::of(&other, SERVICE)),
        ("expired", Papers::from(&ours.issue(&server_name(SERVICE), (-3, -1)), &ours.pem())),
    ] {
        let server = crate::bed::Start { papers, ..crate::bed::Start::with(&ours) }.start().await;
        let refused = list(&gateway.client(&[server.address])).await.unwrap_err();
        assert_eq!((reason(&refused), server.ward.calls()), (Reason::Unready, 0), "{who} was believed");
    }
}

#[tokio::test]
async fn g2_who_was_let_in_calls_only_what_its_row_says() {
    let ours = Authority::new();
    let server = Server::start(&ours).await;
    let client = |name| Papers::of(&ours, name).client(&[server.address]);

    let gateway = client("gateway");
    append(&gateway).await.unwrap();
    list(&gateway).await.unwrap();
    assert_eq!(server.ward.last().0, Caller::Service("gateway"));

    let operator = client("alice.operator");
    list(&operator).await.unwrap();
    let alice = Operator { by: OperatorProof::Certificate("alice".into()), claimed: None };
    assert_eq!(server.ward.last().0, Caller::Operator(alice));

    let before = server.ward.calls();
    for (who, refused) in [
        ("another service", list(&client("token-service")).await),
        ("an operator on a service's method", append(&operator).await),
        ("a service that is none of ours", append(&client("billing")).await),
    ] {
        assert_eq!(reason(&refused.unwrap_err()), Reason::CallerRefused, "{who}");
    }
    assert_eq!(server.ward.calls(), before);
}

#[tokio::test]
async fn health_and_reflection_are_for_everybody_who_was_let_in() {
    let ours = Authority::new();
    let server = Server::start(&ours).await;
    let channel = Papers::of(&ours, "billing").channel(&[server.address]);
    let health = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        HealthClient::new(channel.clone()).check(request).await.map(|answer| answer.into_inner().status())
    };
    until(async || health("").await.is_ok_and(|status| status == ServingStatus::Serving)).await;
    server.is_ready(false);
    until(async || health("").await.unwrap() == ServingStatus::NotServing).await;
    assert_eq!(health("carelink.nobody").await.unwrap_err().code(), tonic::Code::NotFound);

    for version in ["v1", "v1alpha"] {
        let list = ServerReflectionRequest { message_request: Some(MessageRequest::ListServices(String::new())), ..Default::default() };
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo").parse().unwrap();
        let codec = tonic_prost::ProstCodec::<ServerReflectionRequest, ServerReflectionResponse>::default();
        let asked = tonic::Request::new(tokio_stream::once(list));
        let mut answers = client.streaming(asked, path, codec).await.unwrap().into_inner();
        let Some(MessageResponse::ListServicesResponse(services)) = answers.message().await.unwrap().unwrap().message_response else {
            panic!("no list of services");
        };
        assert!(services.service.iter().any(|service| service.name == "carelink.audit.v1.AuditService"), "{version}");
    }
}
