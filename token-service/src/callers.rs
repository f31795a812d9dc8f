//! Who may call token-service (G2). One row an RPC; no row, no entry.

use carelink_platform::grpc::{CallerRow, Lane};

const ADMINISTRATORS: &[&str] = &["admin"];
const READERS: &[&str] = &["admin", "auditor"];
const EVERY_SERVICE: &[&str] = &["gateway", "auth-service", "token-service", "audit-service"];

/// The table.
pub const CALLERS: &[CallerRow] = &[
    CallerRow::services("/carelink.token.v1.TokenService/CreateSession", &["gateway"]),
    CallerRow::services("/carelink.token.v1.TokenService/Refresh", &["gateway"]),
    CallerRow::services("/carelink.token.v1.TokenService/SignOut", &["gateway"]).lane(Lane::First),
    CallerRow::services("/carelink.token.v1.TokenService/Introspect", EVERY_SERVICE).and_every_service().lane(Lane::First),
    CallerRow::services("/carelink.token.v1.TokenService/Watch", EVERY_SERVICE).and_every_service().lane(Lane::First),
    CallerRow::services("/carelink.token.v1.TokenService/IssueServiceToken", &[]).and_every_service(),
    CallerRow::services("/carelink.token.v1.TokenService/ApplySubjects", &["auth-service"]).lane(Lane::First),
    CallerRow::services("/carelink.token.v1.TokenService/ReportActivity", EVERY_SERVICE).and_every_service(),
    // One's own, by whoever one is; anybody's by who may.
    CallerRow::own("/carelink.token.v1.TokenService/RevokeSessions").and_operators().lane(Lane::First),
    CallerRow::own("/carelink.token.v1.TokenService/ListSessions").and_operators(),
    CallerRow::administration("/carelink.token.v1.TokenService/ListKeys", READERS),
    CallerRow::administration("/carelink.token.v1.TokenService/RotateKeys", ADMINISTRATORS),
    CallerRow::administration("/carelink.token.v1.TokenService/WithdrawKey", ADMINISTRATORS).lane(Lane::First),
    CallerRow::services("/carelink.token.v1.TokenService/RegisterSource", &[]).and_operators(),
    CallerRow::services("/carelink.token.v1.TokenService/ImportSessions", &[]).and_operators(),
];
