//! What token-service must know of a user, whole and at one version (U1).

use uuid::Uuid;

use super::roles::Roles;

/// The first number of users who were not numbered by a predecessor (U4).
pub const FIRST_OWN_USER_ID: i64 = 1_000_000_000;
/// Numbers stay below 2^31 (U4).
pub const USER_IDS: std::ops::Range<i64> = 1..(1 << 31);

/// A snapshot: the whole subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Who.
    pub id: Uuid,
    /// The number of U4.
    pub user_id: i64,
    /// Raised by every change.
    pub version: u64,
    /// Sessions begun below it end, but for the excepted one.
    pub min_version: u64,
    /// The one session that survives `min_version`.
    pub excepted_session: Option<Uuid>,
    /// Whether they may have sessions.
    pub active: bool,
    /// What they may do.
    pub roles: Roles,
    /// Why `active` or `min_version` last changed; empty for never.
    pub end_reason: String,
}

/// A change of a user that token-service must know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// May not sign in any more: all sessions end.
    Disabled,
    /// May sign in again; what has ended stays ended.
    Enabled,
    /// A new password: all sessions end but the one that changed it.
    PasswordChanged {
        /// The session that changed it, where the user did.
        by: Option<Uuid>,
    },
    /// Other roles: sessions go on with them.
    RolesChanged(Roles),
}

impl Subject {
    /// A user that has just been made.
    pub fn new(id: Uuid, user_id: i64, active: bool, roles: Roles) -> Self {
        Self { id, user_id, version: 1, min_version: 0, excepted_session: None, active, roles, end_reason: String::new() }
    }

    /// Applies a change: a new version, and a new `min_version` where sessions must end (U1).
    #[must_use]
    pub fn after(self, change: Change) -> Self {
        let version = self.version.saturating_add(1);
        let next = Self { version, ..self };
        match change {
            Change::Disabled => {
                Self { active: false, min_version: version, excepted_session: None, end_reason: "disabled".to_owned(), ..next }
            }
            Change::Enabled => Self { active: true, ..next },
            Change::PasswordChanged { by } => {
                Self { min_version: version, excepted_session: by, end_reason: "password_changed".to_owned(), ..next }
            }
            Change::RolesChanged(roles) => Self { roles, ..next },
        }
    }

    /// Raised past a version that token-service holds and we do not know of: this database was restored (U2). Nothing is revived by it:
    /// what has ended there stays ended.
    #[must_use]
    pub fn raised_past(self, held: u64) -> Self {
        Self { version: self.version.max(held).saturating_add(1), excepted_session: None, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amina() -> Subject {
        Subject::new(Uuid::from_u128(7), 21, true, Roles::new(["nurse"]).unwrap())
    }

    #[test]
    fn u1_disabling_and_a_password_change_raise_min_version_to_the_new_version() {
        let disabled = amina().after(Change::Disabled);
        assert_eq!((disabled.version, disabled.min_version, disabled.active), (2, 2, false));
        assert_eq!(disabled.end_reason, "disabled");
        let session = Uuid::from_u128(9);
        let changed = disabled.after(Change::Enabled).after(Change::PasswordChanged { by: Some(session) });
        assert_eq!((changed.version, changed.min_version, changed.excepted_session), (4, 4, Some(session)));
        assert_eq!(changed.end_reason, "password_changed");
        assert_eq!(changed.after(Change::Disabled).excepted_session, None, "an exception is for its own change only");
    }

    #[test]
    fn u1_a_role_change_and_enabling_do_not() {
        let changed = amina().after(Change::RolesChanged(Roles::default())).after(Change::Enabled);
        assert_eq!((changed.version, changed.min_version), (3, 0));
        assert!(changed.roles.is_empty());
    }

    #[test]
    fn u2_a_restored_service_raises_past_what_is_held() {
        assert_eq!(amina().raised_past(41).version, 42);
        let disabled = amina().after(Change::Disabled);
        assert_eq!(disabled.clone().raised_past(41), Subject { version: 42, ..disabled });
    }
}
