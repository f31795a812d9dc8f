//! The table of event types (A2); docs/EVENTS.md is made from it.

use std::fmt::Write as _;

use carelink_proto::audit::Outcome;

macro_rules! event_types {
    ($($variant:ident $name:literal $outcome:ident $text:literal)*) => {
        /// What can happen. The names are stable: whoever filters or alerts on one may rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum EventType { $(#[doc = $text] $variant,)* }

        impl EventType {
            /// Every type, in the order of docs/EVENTS.md.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The stable name.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it says unless the writer says otherwise.
            pub const fn outcome(self) -> Outcome {
                match self { $(Self::$variant => Outcome::$outcome,)* }
            }

            /// One line for the documentation.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

event_types! {
    SignInSucceeded      "sign_in.succeeded"      Success "Somebody proved who they are; the session follows as `session.started`."
    SignInFailed         "sign_in.failed"         Failure "A sign-in was refused; `reason` is its class, an unknown name stays an HMAC in `object`."
    SignInThrottled      "sign_in.throttled"      Failure "A sign-in was turned away before its password was looked at."
    SessionStarted       "session.started"        Success "A session began."
    SessionSignedOut     "session.signed_out"     Success "Somebody signed out of a session."
    SessionRefreshed     "session.refreshed"      Success "A refresh token was exchanged for its successor."
    SessionReplayed      "session.replayed"       Success "A token one older, within grace, got the same successor again."
    SessionReuseDetected "session.reuse_detected" Failure "An old refresh token came back: stolen or restored. The session ended."
    SessionStateLost     "session.state_lost"     Failure "A refresh token was ahead of the database: a lost commit or an older backup. The session ended."
    SessionEnded         "session.ended"          Success "A session ended other than by signing out; `reason` says why, the actor by whom."
    PasswordChanged      "password.changed"       Success "A password was set; the user's other sessions end."
    PasswordUpgraded     "password.upgraded"      Success "After a sign-in the same password was hashed again at today's parameters."
    UserCreated          "user.created"           Success "A user was added."
    UserImported         "user.imported"          Success "A user came, or changed, from the predecessor's database."
    UserDisabled         "user.disabled"          Success "A user may not sign in any more; all sessions end."
    UserEnabled          "user.enabled"           Success "A user may sign in again."
    UserRolesChanged     "user.roles_changed"     Success "A user's roles are different from now on."
    SubjectDeliveredLate "subject.delivered_late" Success "A change of a user reached the sessions after it had been answered; `delay_ms` says how late."
    KeyCreated           "key.created"            Success "A key was made; `object` is its id."
    KeyRotated           "key.rotated"            Success "The next key signs now; `object` is its id. The one before is kept until its last token has ended."
    KeyDeleted           "key.deleted"            Success "A key is gone: the last token it signed has ended; `object` is its id."
    ServiceTokenIssued   "service_token.issued"   Success "A service got a token for another one; the details are whom it addresses and what it grants."
    CallerRefused        "caller.refused"         Failure "Somebody called what the caller table does not allow them."
    ConfigLoaded         "config.loaded"          Success "A process read its configuration; `object` is the fingerprint."
    MigrationRun         "migration.run"          Success "A schema was brought up by one step."
    BackupRestored       "backup.restored"        Success "The databases were filled from a backup: sessions from before are over, keys that sign are new."
    AuditRead            "audit.read"             Success "Somebody read the trail; the details are the filter."
    VerifierStale        "verifier.stale"         Failure "A verifier hears nothing of revocations any more; it asks, and in the end refuses."
    VerifierFresh        "verifier.fresh"         Success "A verifier hears of revocations again; `stale_ms` says after how long."
    ServiceStarted       "service.started"        Success "A service is up."
    ServiceStopped       "service.stopped"        Success "A service was asked to stop and has drained."
    ClockStepped         "clock.stepped"          Failure "A clock jumped by more than five seconds; `step_ms` says how far."
}

/// The page docs/EVENTS.md; a test keeps the file equal to it.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Events\n\nEvery event of the trail has one of these types. The names are stable. The table is made from `platform/src/events/types.rs`.\n\n\
         | type | outcome | what happened |\n|---|---|---|\n",
    );
    for kind in EventType::ALL {
        let outcome = if kind.outcome() == Outcome::Success { "success" } else { "failure" };
        // Writing into a String cannot fail.
        let _ = writeln!(page, "| `{}` | {outcome} | {} |", kind.as_str(), kind.describe());
    }
    page
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, path::Path};

    use super::*;

    #[test]
    fn a2_every_type_has_a_name_of_its_own_and_a_line_of_documentation() {
        let names: HashSet<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), EventType::ALL.len());
        for kind in EventType::ALL {
            assert!(kind.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_'), "{kind:?}");
            assert!(kind.describe().ends_with('.'), "{kind:?}");
        }
    }

    /// With `CARELINK_WRITE_DOCS` set it writes the page instead.
    #[test]
    fn a2_the_page_of_events_is_the_table() {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/EVENTS.md");
        if std::env::var_os("CARELINK_WRITE_DOCS").is_some() {
            fs::write(&page, markdown()).unwrap();
        }
        assert_eq!(fs::read_to_string(&page).unwrap_or_default(), markdown(), "run this test once with CARELINK_WRITE_DOCS=1");
    }
}
