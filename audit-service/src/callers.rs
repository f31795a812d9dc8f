//! Who may call what (G2).

use carelink_platform::grpc::CallerRow;

/// The roles of those who may read the trail.
pub const READERS: &[&str] = &["auditor", "admin"];

/// One row per RPC.
pub const CALLERS: &[CallerRow] = &[
    CallerRow::services("/carelink.audit.v1.AuditService/Append", &["auth-service", "token-service", "gateway", "audit-service"]),
    CallerRow::administration("/carelink.audit.v1.AuditService/ListEvents", READERS),
];
