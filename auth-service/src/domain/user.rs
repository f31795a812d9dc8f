//! A user as auth-service keeps them.

use carelink_platform::clock::Timestamp;

use super::{
    hasher::{CostClass, Stored},
    password::{Owner, PasswordForm},
    subject::Subject,
};

/// A user, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What token-service knows of them.
    pub subject: Subject,
    /// What they sign in with.
    pub username: String,
    /// Or empty.
    pub email: String,
    /// Or empty.
    pub full_name: String,
    /// Whether somebody here had the last word on their being active (L5).
    pub active_set_here: bool,
    /// How their password was prepared.
    pub form: PasswordForm,
    /// How their password is hashed; none where there is none.
    pub cost_class: Option<CostClass>,
    /// Whether their password is one that was set here (L5).
    pub password_set_here: bool,
    /// When.
    pub password_changed_at: Option<Timestamp>,
    /// Here, or before in the source.
    pub last_sign_in_at: Option<Timestamp>,
    /// Here, or before in the source.
    pub created_at: Timestamp,
    /// The predecessor's database, or empty.
    pub source: String,
}

/// A user with their stored hash.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Who.
    pub user: User,
    /// The hash as it stands in the row.
    pub hash: StoredHash,
}

/// A stored hash as text. Shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredHash(String);

impl User {
    /// What somebody who knows them would try as their password (C7).
    pub fn owner(&self) -> Owner<'_> {
        Owner { username: &self.username, email: &self.email, full_name: &self.full_name }
    }

    /// How their password is hashed, as reports call it.
    pub fn hasher(&self) -> &'static str {
        self.cost_class.map_or("unusable", CostClass::hasher)
    }
}

impl StoredHash {
    /// No password opens it; Django's mark.
    pub const UNUSABLE: &str = "!";

    /// As it stands in the row, or shall.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// No password at all.
    pub fn unusable() -> Self {
        Self(Self::UNUSABLE.to_owned())
    }

    /// What it means; one that cannot be understood any more opens nothing.
    pub fn stored(&self) -> Stored {
        super::hasher::parse(&self.0).unwrap_or(Stored::Unusable)
    }

    /// For the database.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for StoredHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoredHash(..)")
    }
}
