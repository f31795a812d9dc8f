//! Who gets in at the internal ports, and certificates that change under load (G2).

use std::{fs, net::SocketAddr, path::Path, process::Stdio, time::Duration};

use carelink_tests::{
    cli::{command, run},
    eventually, figure,
    fleet::{Fleet, Load, Plan, Replica, Service, faketime},
};
use tokio::process::Command;

/// What came back from an internal port.
#[derive(Debug, PartialEq, Eq)]
enum Reached {
    /// No HTTP at all: TLS let nobody in.
    Nothing,
    /// The status of gRPC.
    Status(u16),
}

const OK: u16 = 0;
const PERMISSION_DENIED: u16 = 7;
const UNAUTHENTICATED: u16 = 16;

/// Calls a method at a port with a certificate, or with none, as any client of HTTP/2 could.
async fn call(fleet: &Fleet, replica: &Replica, method: &str, certificate: Option<&Path>) -> Reached {
    let name = format!("{}.carelink.internal", replica.service.name());
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--http2", "--max-time", "20", "--output", "/dev/null", "--dump-header", "-"]);
    curl.args(["--header", "content-type: application/grpc", "--header", "te: trailers", "--cacert"]).arg(fleet.pki().join("ca.pem"));
    // Without a body: an old curl forgets the answer that comes before it has sent all.
    curl.args(["--connect-to", &format!("{name}:443:{}", replica.at), "--request", "POST"]);
    if let Some(certificate) = certificate {
        curl.arg("--cert").arg(certificate).arg("--key").arg(certificate.with_extension("key"));
    }
    curl.arg(format!("https://{name}{method}")).stdin(Stdio::null()).kill_on_drop(true);
    let output = curl.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
    let status = said.lines().find_map(|line| line.strip_prefix("grpc-status:")?.trim().parse().ok());
    match status {
        Some(status) => Reached::Status(status),
        None if said.contains("http/2 200") => Reached::Status(OK), // it comes after a message
        None => Reached::Nothing,
    }
}

/// A method of each service that a gateway may call, and one that somebody else may not.
fn methods(service: Service) -> (&'static str, &'static str, &'static str) {
    match service {
        Service::Auth => ("/carelink.auth.v1.AuthService/GetUser", "gateway", "/carelink.auth.v1.AuthService/ImportUsers"),
        Service::Token => ("/carelink.token.v1.TokenService/Introspect", "gateway", "/carelink.token.v1.TokenService/ApplySubjects"),
        Service::Audit | Service::Gateway => {
            ("/carelink.audit.v1.AuditService/Append", "token-service", "/carelink.audit.v1.AuditService/ListEvents")
        }
    }
}

/// Issues a certificate into a folder of its own, by the fleet's CA or by another, as if it were another day.
async fn issue(fleet: &Fleet, folder: &str, name: &str, ours: bool, day: Option<&str>) -> std::path::PathBuf {
    let folder = fleet.home().join(folder);
    let carelink = async |args: &[&str], day: Option<&str>| {
        let mut command = command();
        command.args(args).arg("--dir").arg(&folder);
        if let Some(day) = day {
            command.env("LD_PRELOAD", faketime().unwrap()).env("FAKETIME", day);
        }
        run(command, "").await.ok();
    };
    carelink(&["pki", "init"], None).await;
    if ours {
        for file in ["ca.pem", "ca.key"] {
            fs::copy(fleet.pki().join(file), folder.join(file)).unwrap();
        }
    }
    carelink(&["pki", "issue", name, "--days", "30"], day).await;
    folder.join(format!("{name}.pem"))
}

#[tokio::test]
async fn g2_every_internal_port_lets_in_whom_it_should_and_nobody_else() {
    let fleet = Plan::default().up().await;
    let gateway = fleet.pki().join("gateway.pem");
    let mut strangers = vec![("of another CA", Some(issue(&fleet, "other-ca", "gateway", false, None).await)), ("none", None)];
    if faketime().is_some() {
        strangers.push(("expired", Some(issue(&fleet, "expired", "gateway", true, Some("-60d")).await)));
        strangers.push(("not yet valid", Some(issue(&fleet, "not-yet", "gateway", true, Some("+60d")).await)));
    } else {
        println!("SKIPPED: certificates of other days, since there is no libfaketime here (Debian: faketime)");
    }
    let billing = issue(&fleet, "billing", "billing", true, None).await;
    let mut refusals = 0;
    for replica in fleet.replicas.iter().filter(|replica| replica.service != Service::Gateway) {
        let (allowed, whose, forbidden) = methods(replica.service);
        let whose = fleet.pki().join(format!("{whose}.pem"));
        let at = replica.name();
        let good = call(&fleet, replica, allowed, Some(&gateway)).await;
        assert!(!matches!(good, Reached::Nothing | Reached::Status(PERMISSION_DENIED | UNAUTHENTICATED)), "the gateway at {at}: {good:?}");
        for (what, certificate) in &strangers {
            let reached = call(&fleet, replica, allowed, certificate.as_deref()).await;
            assert_eq!(reached, Reached::Nothing, "a certificate that is {what}, at {at}");
            refusals += 1;
        }
        let wrong_name = if replica.service == Service::Token { "/carelink.token.v1.TokenService/Refresh" } else { allowed };
        assert_eq!(call(&fleet, replica, wrong_name, Some(&billing)).await, Reached::Status(PERMISSION_DENIED), "another service at {at}");
        assert_eq!(
            call(&fleet, replica, forbidden, Some(&whose)).await,
            Reached::Status(PERMISSION_DENIED),
            "a method not its own at {at}"
        );
        refusals += 2;
    }
    figure(&format!(
        "certificates that are none, of another CA, expired, not yet valid, of a wrong name, or for another method: {refusals} of {refusals} refused"
    ));
    // Whoever keeps saying nothing takes no place from others, and everything goes on.
    let nurse = fleet.nurses("nurse", 1).await;
    nurse[0].stays().await;
}

/// What a port shows of itself.
async fn shown(at: SocketAddr) -> String {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-connect", &at.to_string()]).stdin(Stdio::null()).kill_on_drop(true);
    let said = String::from_utf8(openssl.output().await.unwrap().stdout).unwrap();
    said.split_once("-----BEGIN CERTIFICATE-----")
        .and_then(|(_, rest)| rest.split_once("-----END"))
        .map_or(String::new(), |(pem, _)| pem.trim().to_owned())
}

async fn reloads(fleet: &Fleet) -> Vec<f64> {
    let mut counts = Vec::new();
    for replica in &fleet.replicas {
        counts.push(replica.metrics().await.sum("carelink_tls_reloads_total", &["taken"]));
    }
    counts
}

/// Runs a step of a rotation, and waits until every process has taken it.
async fn step(fleet: &Fleet, load: &Load, args: &[&str]) {
    let before = reloads(fleet).await;
    let mut carelink = command();
    carelink.args(args).arg("--dir").arg(fleet.pki());
    run(carelink, "").await.ok();
    eventually(format!("every process has taken `{}`", args.join(" ")), async || {
        reloads(fleet).await.iter().zip(&before).all(|(now, before)| now > before).then_some(())
    })
    .await;
    load.goes_on(100).await;
}

#[tokio::test]
async fn g2_certificates_and_their_authority_change_under_load_and_no_request_fails() {
    let fleet = Plan::default().set("grpc.max_connection_age", "2s").up().await;
    let load = Load::of(fleet.nurses("nurse", 8).await, &fleet.journal, Duration::from_millis(10));
    load.goes_on(100).await;
    let token = fleet.replica(Service::Token, 0).at;
    let first = shown(token).await;
    step(&fleet, &load, &["pki", "renew", "--all"]).await;
    assert_ne!(shown(token).await, first, "a new certificate");
    step(&fleet, &load, &["pki", "init", "--next"]).await;
    step(&fleet, &load, &["pki", "renew", "--switch"]).await;
    step(&fleet, &load, &["pki", "retire"]).await;
    // Connections of before are gone by now, and those that come know the second authority alone.
    tokio::time::sleep(Duration::from_secs(4)).await;
    load.goes_on(100).await;
    fleet.cli(&["user", "list"], "").await.ok();
    let (nurses, signed_out) = load.stop().await;
    let (good, refused, nothing) = fleet.journal.counts();
    figure(&format!("leaf certificates, then the authority, changed under load: {good} refreshes, {refused} refused, {nothing} failed"));
    assert_eq!((refused, nothing, signed_out), (0, 0, Vec::new()));
    let trail = fleet.whole_trail().await;
    assert_eq!((trail.against(&nurses), trail.doubled, trail.disorderly()), ((0, 0), 0, Vec::<&str>::new()));
}
