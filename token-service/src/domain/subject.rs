//! A subject as tokens know it, and what a newer one means for its sessions (U1, U2).

use carelink_platform::clock::Timestamp;
use carelink_proto::token as proto;
use uuid::Uuid;

use super::session::{EndReason, Generation};

/// The user, whole, at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Names it.
    pub id: Uuid,
    /// The number of U4.
    pub user_id: u64,
    /// Raised by every change.
    pub version: u64,
    /// Sessions begun below it end.
    pub min_version: u64,
    /// But for this one.
    pub excepted: Option<Uuid>,
    /// Whether they may have sessions.
    pub active: bool,
    /// Sorted, distinct; a JSON list.
    pub roles: String,
    /// Why `min_version` or `active` last changed.
    pub end_reason: EndReason,
}

/// A message that is no subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a subject: it wants an id of 16 bytes, a positive user_id and versions in order")]
pub struct NotASubject;

impl TryFrom<&proto::Subject> for Subject {
    type Error = NotASubject;

    fn try_from(message: &proto::Subject) -> Result<Self, NotASubject> {
        let id = Uuid::from_slice(&message.id).map_err(|_| NotASubject)?;
        let excepted = if message.excepted_session.is_empty() {
            None
        } else {
            Some(Uuid::from_slice(&message.excepted_session).map_err(|_| NotASubject)?)
        };
        let orderly = message.min_version <= message.version && i64::try_from(message.version).is_ok();
        if !orderly || message.user_id <= 0 {
            return Err(NotASubject); // a version past the last one could never be followed by another
        }
        let mut roles = message.roles.clone();
        roles.sort();
        roles.dedup();
        Ok(Self {
            id,
            user_id: u64::try_from(message.user_id).map_err(|_| NotASubject)?,
            version: message.version,
            min_version: message.min_version,
            excepted,
            active: message.active,
            roles: serde_json::Value::from(roles).to_string(),
            end_reason: if message.end_reason.is_empty() { EndReason::Revoked } else { EndReason::parse(&message.end_reason) },
        })
    }
}

/// A live session, as far as a subject concerns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    /// Which.
    pub id: Uuid,
    /// Whose.
    pub subject: Uuid,
    /// The subject's version it was begun at.
    pub subject_version: u64,
    /// Its generation, seen under the lock.
    pub generation: Generation,
    /// What its next pair would grant.
    pub roles: String,
    /// When it began.
    pub created_at: Timestamp,
}

/// What a session must do to agree with its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Nothing.
    Already,
    /// End.
    End(EndReason),
    /// Take the new roles from the next pair on.
    TakeRoles,
    /// The same, and its present access tokens are refused: a role was lost.
    TakeRolesAndRevoke,
}

impl Subject {
    /// What a live session must do.
    pub fn agree(&self, live: &Live) -> Agreement {
        if !self.active {
            return Agreement::End(EndReason::Disabled);
        }
        if live.subject_version < self.min_version && self.excepted != Some(live.id) {
            return Agreement::End(self.end_reason);
        }
        if live.roles == self.roles {
            return Agreement::Already;
        }
        let list = |json: &str| serde_json::from_str::<Vec<String>>(json).unwrap_or_default();
        let now = list(&self.roles);
        if list(&live.roles).iter().all(|had| now.contains(had)) { Agreement::TakeRoles } else { Agreement::TakeRolesAndRevoke }
    }

    /// Whether somebody who proved who they are at `version` may begin a session.
    pub fn admits(&self, version: u64) -> bool {
        self.active && version >= self.min_version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        Subject {
            id: Uuid::from_u128(1),
            user_id: 1,
            version: 7,
            min_version: 5,
            excepted: Some(Uuid::from_u128(9)),
            active: true,
            roles: r#"["doctor"]"#.into(),
            end_reason: EndReason::PasswordChanged,
        }
    }

    fn live(id: u128, version: u64, roles: &str) -> Live {
        let (id, subject) = (Uuid::from_u128(id), Uuid::from_u128(1));
        Live { id, subject, subject_version: version, generation: 0, roles: roles.into(), created_at: Timestamp::ZERO }
    }

    #[test]
    fn u1_what_no_version_could_follow_is_no_subject() {
        let good = proto::Subject { id: vec![1; 16], user_id: 1, version: 7, min_version: 7, active: true, ..Default::default() };
        assert!(Subject::try_from(&good).is_ok());
        for bad in [
            proto::Subject { version: u64::MAX, ..good.clone() },
            proto::Subject { min_version: 8, ..good.clone() },
            proto::Subject { user_id: 0, ..good.clone() },
            proto::Subject { user_id: -1, ..good.clone() },
            proto::Subject { id: vec![1; 15], ..good.clone() },
            proto::Subject { excepted_session: vec![1; 3], ..good },
        ] {
            assert_eq!(Subject::try_from(&bad), Err(NotASubject), "{bad:?}");
        }
    }

    #[test]
    fn u2_inactive_ends_everything_also_the_excepted() {
        let subject = Subject { active: false, ..subject() };
        assert_eq!(subject.agree(&live(9, 7, r#"["doctor"]"#)), Agreement::End(EndReason::Disabled));
        assert!(!subject.admits(7));
    }

    #[test]
    fn u2_below_min_version_ends_but_for_the_excepted() {
        assert_eq!(subject().agree(&live(2, 4, r#"["doctor"]"#)), Agreement::End(EndReason::PasswordChanged));
        assert_eq!(subject().agree(&live(9, 4, r#"["doctor"]"#)), Agreement::Already);
        assert_eq!(subject().agree(&live(2, 5, r#"["doctor"]"#)), Agreement::Already);
        assert!(subject().admits(5) && !subject().admits(4));
    }

    #[test]
    fn u2_a_lost_role_revokes_and_a_gained_one_does_not() {
        assert_eq!(subject().agree(&live(2, 5, "[]")), Agreement::TakeRoles);
        assert_eq!(subject().agree(&live(2, 5, r#"["doctor","nurse"]"#)), Agreement::TakeRolesAndRevoke);
        assert_eq!(subject().agree(&live(2, 5, r#"["nurse"]"#)), Agreement::TakeRolesAndRevoke);
    }
}
