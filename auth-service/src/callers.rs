//! Who may call auth-service (G2). One row an RPC; no row, no entry.

use carelink_platform::grpc::{CallerRow, Lane};

use crate::domain::roles::{ADMIN, AUDITOR};

const ADMINISTRATORS: &[&str] = &[ADMIN];
const READERS: &[&str] = &[ADMIN, AUDITOR];

/// The table.
pub const CALLERS: &[CallerRow] = &[
    CallerRow::services("/carelink.auth.v1.AuthService/VerifyPassword", &["gateway"]).lane(Lane::Patient),
    CallerRow::services("/carelink.auth.v1.AuthService/GetUser", &["gateway"]).and_operators(),
    CallerRow::administration("/carelink.auth.v1.AuthService/ListUsers", READERS),
    CallerRow::administration("/carelink.auth.v1.AuthService/CreateUser", ADMINISTRATORS),
    CallerRow::administration("/carelink.auth.v1.AuthService/SetUserActive", ADMINISTRATORS).may_take_away().lane(Lane::First),
    CallerRow::administration("/carelink.auth.v1.AuthService/SetPassword", ADMINISTRATORS),
    CallerRow::administration("/carelink.auth.v1.AuthService/ChangeRoles", ADMINISTRATORS).may_take_away(),
    CallerRow::services("/carelink.auth.v1.AuthService/ImportUsers", &[]).and_operators(),
    CallerRow::own("/carelink.auth.v1.AuthService/ChangePassword").lane(Lane::Patient),
    CallerRow::services("/carelink.auth.v1.AuthService/RedeemOneTimePassword", &["gateway"]).lane(Lane::Patient),
    CallerRow::administration("/carelink.auth.v1.AuthService/InviteUser", ADMINISTRATORS),
    CallerRow::services("/carelink.auth.v1.AuthService/RequestPasswordReset", &["gateway"]).lane(Lane::Patient),
    CallerRow::services("/carelink.auth.v1.AuthService/RedeemLink", &["gateway"]).lane(Lane::Patient),
    CallerRow::administration("/carelink.auth.v1.AuthService/UnlockUser", ADMINISTRATORS),
    CallerRow::administration("/carelink.auth.v1.AuthService/ShowGuessing", ADMINISTRATORS),
];
