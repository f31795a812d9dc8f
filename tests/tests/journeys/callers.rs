//! Every RPC has one row in one caller table (G2).

use carelink_platform::{
    grpc::{CallerRow, UserRule},
    operations,
};
use prost::Message;
use prost_types::FileDescriptorSet;

fn tables() -> Vec<&'static CallerRow> {
    [auth_service::CALLERS, token_service::CALLERS, audit_service::CALLERS, operations::CALLERS].into_iter().flatten().collect()
}

/// Every RPC of the contracts, as a path.
fn rpcs() -> Vec<String> {
    let files = FileDescriptorSet::decode(carelink_proto::DESCRIPTORS).unwrap().file;
    let mut rpcs = Vec::new();
    for file in files.iter().filter(|file| file.package().starts_with("carelink.")) {
        for service in &file.service {
            let path = |method: &str| format!("/{}.{}/{method}", file.package(), service.name());
            rpcs.extend(service.method.iter().map(|method| path(method.name())));
        }
    }
    rpcs
}

#[test]
fn g2_every_rpc_has_exactly_one_row() {
    let mut rpcs = rpcs();
    let mut rows: Vec<_> = tables().iter().map(|row| row.method.to_owned()).collect();
    assert!(rpcs.len() >= 20, "{rpcs:?}");
    rpcs.sort();
    rows.sort();
    assert_eq!(rows, rpcs);
}

#[test]
fn g2_what_is_done_for_a_user_needs_that_user_and_only_operators_act_by_themselves() {
    const BY_ITSELF: [&str; 11] = [
        "VerifyPassword",
        "RedeemOneTimePassword",
        "RequestPasswordReset",
        "RedeemLink",
        "GetUser",
        "CreateSession",
        "Refresh",
        "SignOut",
        "Introspect",
        "ReportActivity", // it tells of requests that passed it, and gives nobody anything
        "Watch",
    ];
    for row in tables().iter().filter(|row| row.services.contains(&"gateway") && row.user == UserRule::None) {
        let method = row.method.rsplit('/').next().unwrap();
        assert!(BY_ITSELF.contains(&method) || method == "Append", "a captured gateway could {method}");
    }
    for name in tables().iter().flat_map(|row| row.services) {
        assert!(["gateway", "auth-service", "token-service", "audit-service"].contains(name), "nobody is called {name}");
    }
}
