//! Tokens of services: who may address whom, with what. Access tokens of users and these can never be taken for each other: another
//! `token_type`, another audience, no session.

use serde::{Deserialize, Serialize};

carelink_platform::settings! {
    /// What a service may get tokens for.
    #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    pub struct ServiceAccount {
        /// The services that may be shown its tokens.
        pub audiences: Vec<String>,
        /// What its tokens may grant there.
        #[serde(default)]
        pub roles: Vec<String>,
    }
}

/// Why a service gets no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing is configured for it.
    #[error("no service account of this name: see token.service_accounts")]
    NoAccount,
    /// It may not address that one.
    #[error("this service account may not address that audience")]
    Audience,
    /// It has no such role.
    #[error("this service account has no such role")]
    Role,
}

/// What a service token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceClaims {
    /// Who issued it.
    pub iss: String,
    /// The service it stands for.
    pub sub: String,
    /// The service it may be shown to.
    pub aud: String,
    /// Always [`Self::TYPE`].
    pub token_type: String,
    /// When, in seconds since the Unix epoch.
    pub iat: i64,
    /// Until when.
    pub exp: i64,
    /// Names the token.
    pub jti: String,
    /// What it grants.
    pub roles: Vec<String>,
}

impl ServiceClaims {
    /// What tells these tokens from others.
    pub const TYPE: &'static str = "service";
}

/// The roles that a token grants, sorted and distinct: those asked for, or all of the account's.
///
/// # Errors
/// Where the account does not allow it.
pub fn grant(account: Option<&ServiceAccount>, audience: &str, asked: Vec<String>) -> Result<Vec<String>, Denied> {
    let account = account.ok_or(Denied::NoAccount)?;
    if !account.audiences.iter().any(|allowed| allowed == audience) {
        return Err(Denied::Audience);
    }
    if !asked.iter().all(|role| account.roles.contains(role)) {
        return Err(Denied::Role);
    }
    let mut roles = if asked.is_empty() { account.roles.clone() } else { asked };
    roles.sort();
    roles.dedup();
    Ok(roles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_gets_what_its_account_allows_and_no_more() {
        let account = ServiceAccount { audiences: vec!["lab".into()], roles: vec!["writer".into(), "reader".into()] };
        let ask = |audience: &str, roles: &[&str]| grant(Some(&account), audience, roles.iter().map(ToString::to_string).collect());
        assert_eq!(ask("lab", &[]).unwrap(), ["reader", "writer"]);
        assert_eq!(ask("lab", &["reader", "reader"]).unwrap(), ["reader"]);
        assert_eq!(ask("ward", &[]), Err(Denied::Audience));
        assert_eq!(ask("lab", &["reader", "admin"]), Err(Denied::Role));
        assert_eq!(grant(None, "lab", vec![]), Err(Denied::NoAccount));
    }
}
