//! One-time links: by whoever gets the letter a user sets their password, once and for a while.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// An administrator invites somebody to choose their first password.
    Invitation,
    /// Somebody asks for a new password.
    Reset,
}

/// The longest token that could be one of ours.
const MAX_TOKEN: usize = 64;
/// How often a link is mailed to one user within the hour.
pub const PER_USER: u32 = 3;
/// How often links are asked for from one network within the hour.
pub const PER_NETWORK: u32 = 30;

impl Purpose {
    /// As rows and events call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invitation => "invitation",
            Self::Reset => "reset",
        }
    }

    /// How long the link is good.
    pub const fn lifetime(self) -> Duration {
        match self {
            Self::Invitation => Duration::from_secs(24 * 60 * 60),
            Self::Reset => Duration::from_secs(60 * 60),
        }
    }
}

/// What is mailed: 256 random bits.
pub fn token(random: &[u8; 32]) -> String {
    URL_SAFE_NO_PAD.encode(random)
}

/// What is kept of a token; none where it cannot be one.
pub fn digest(token: &str) -> Option<[u8; 32]> {
    let plausible = !token.is_empty() && token.len() <= MAX_TOKEN;
    plausible.then(|| digest::digest(&digest::SHA256, token.as_bytes()).as_ref().first_chunk().copied())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_text_for_a_link_and_only_its_digest_is_kept() {
        let made = token(&[7; 32]);
        assert_eq!(made.len(), 43);
        assert!(made.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
        assert_ne!(digest(&made), digest(&token(&[8; 32])));
        assert_eq!((digest(""), digest(&"x".repeat(65))), (None, None));
    }
}
