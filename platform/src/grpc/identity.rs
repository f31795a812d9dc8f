//! Who a certificate says its holder is: names below one domain that only the deployment's own authority issues.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use super::{Caller, Operator, OperatorProof};

/// Below it lie all names: `token-service.carelink.internal`, `alice.operator.carelink.internal`.
pub const DOMAIN: &str = "carelink.internal";
/// CareLink's own services; every other name is one of the deployment's.
const SERVICES: [&str; 4] = ["gateway", "auth-service", "token-service", "audit-service"];
const MAX_LABEL: usize = 63;

/// The name in a service's certificate.
pub fn server_name(service: &str) -> String {
    format!("{service}.{DOMAIN}")
}

/// Whom a certificate names: its first DNS name that fits. Whether the certificate is to be believed is not asked here.
pub(crate) fn caller(certificate: &CertificateDer<'_>) -> Option<Caller> {
    EndEntityCert::try_from(certificate).ok()?.valid_dns_names().find_map(named)
}

fn named(name: &str) -> Option<Caller> {
    let name = name.strip_suffix(DOMAIN)?.strip_suffix('.')?;
    if let Some(person) = name.strip_suffix(".operator") {
        let operator = || Operator { by: OperatorProof::Certificate(Arc::from(person)), claimed: None };
        return is_label(person).then(|| Caller::Operator(operator()));
    }
    if let Some(service) = SERVICES.into_iter().find(|service| *service == name) {
        return Some(Caller::Service(service));
    }
    (is_label(name) && name != "operator").then(|| Caller::Internal(Arc::from(name)))
}

/// One label, in small letters: nobody is `*`, and nobody is two.
fn is_label(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    plain && (1..=MAX_LABEL).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g2_a_name_of_ours_is_one_service_or_one_operator_and_anything_else_is_nobody() {
        assert_eq!(named("token-service.carelink.internal"), Some(Caller::Service("token-service")));
        assert_eq!(named("billing.carelink.internal"), Some(Caller::Internal(Arc::from("billing"))));
        let alice = Operator { by: OperatorProof::Certificate(Arc::from("alice")), claimed: None };
        assert_eq!(named("alice.operator.carelink.internal"), Some(Caller::Operator(alice)));
        for nobody in [
            "carelink.internal",
            "gateway",
            "gateway.example.org",
            "gatewaycarelink.internal",
            "*.carelink.internal",
            "*.operator.carelink.internal",
            "operator.carelink.internal",
            "a.b.carelink.internal",
            "gateway.operator.x.carelink.internal",
            "Gateway.carelink.internal",
            "-a.carelink.internal",
            ".operator.carelink.internal",
            "gateway.carelink.internal.evil.org",
        ] {
            assert_eq!(named(nobody), None, "{nobody}");
        }
    }
}
