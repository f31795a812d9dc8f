//! The table of event types (A2); docs/EVENTS.md is made from it.

use std::fmt::Write as _;

use carelink_proto::audit::Outcome;

/// The services that write events, as their certificates name them.
const AUTH: &str = "auth-service";
const TOKEN: &str = "token-service";
const AUDIT: &str = "audit-service";
const GATEWAY: &str = "gateway";

macro_rules! event_types {
    ($($variant:ident $name:literal $outcome:ident [$($producer:ident),+] $text:literal)*) => {
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

            /// The services that may write it, as their certificates name them.
            pub const fn producers(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($producer),+],)* }
            }

            /// The type of that name.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }

            /// One line for the documentation.
            pub const fn describe(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

impl EventType {
    /// Whether whoever brings it may have written it.
    pub fn may_come_from(self, caller: &str) -> bool {
        self.producers().contains(&caller)
    }
}

// Type, name, outcome, who may write it, what happened.
event_types! {
    SignInSucceeded      "sign_in.succeeded"      Success [AUTH] "Somebody proved who they are; the session follows as `session.started`."
    SignInFailed         "sign_in.failed"         Failure [AUTH] "A sign-in was refused; `reason` is its class, an unknown name stays an HMAC in `object`."
    SignInThrottled      "sign_in.throttled"      Failure [AUTH, GATEWAY] "A sign-in was turned away before its password was looked at."
    SessionStarted       "session.started"        Success [TOKEN] "A session began."
    SessionSignedOut     "session.signed_out"     Success [TOKEN] "Somebody signed out of a session."
    SessionRefreshed     "session.refreshed"      Success [TOKEN] "A refresh token was exchanged for its successor."
    SessionReplayed      "session.replayed"       Success [TOKEN] "A token one older, within grace, got the same successor again."
    SessionReuseDetected "session.reuse_detected" Failure [TOKEN] "An old refresh token came back: stolen or restored. The session ended."
    SessionStateLost     "session.state_lost"     Failure [TOKEN] "A refresh token was ahead of the database: a lost commit or an older backup. The session ended."
    SessionEnded         "session.ended"          Success [TOKEN] "A session ended other than by signing out; `reason` says why, the actor by whom."
    PasswordChanged      "password.changed"       Success [AUTH] "A password was set; the user's other sessions end."
    PasswordUpgraded     "password.upgraded"      Success [AUTH] "After a sign-in the same password was hashed again at today's parameters."
    UserCreated          "user.created"           Success [AUTH] "A user was added."
    UserImported         "user.imported"          Success [AUTH] "A user came, or changed, from the predecessor's database."
    UserDisabled         "user.disabled"          Success [AUTH] "A user may not sign in any more; all sessions end."
    UserEnabled          "user.enabled"           Success [AUTH] "A user may sign in again."
    UserRolesChanged     "user.roles_changed"     Success [AUTH] "A user's roles are different from now on."
    GuessingClosed       "guessing.closed"        Failure [AUTH] "So many wrong passwords in a row that one way to an account is closed until its user signs in by another or an operator unlocks it; `reason` is the way."
    UserInvited          "user.invited"           Success [AUTH] "A user was mailed a link by which they choose a password."
    PasswordResetRequested "password.reset_requested" Success [AUTH] "Somebody asked for a new password; a link was mailed if the name is somebody's, an unknown one stays an HMAC in `object`."
    UserUnlocked         "user.unlocked"          Success [AUTH] "An account was opened to guesses again; the details are how many there were by each way."
    SubjectDeliveredLate "subject.delivered_late" Success [AUTH] "A change of a user reached the sessions after it had been answered; `delay_ms` says how late."
    KeyCreated           "key.created"            Success [AUTH, TOKEN, AUDIT] "A key was made; `object` is its id."
    KeyRotated           "key.rotated"            Success [TOKEN] "The next key signs now; `object` is its id. The one before is kept until its last token has ended."
    KeyWithdrawn         "key.withdrawn"          Success [TOKEN] "A key was taken away that somebody else may know; nothing it signed is believed. `object` is its id."
    KeyDeleted           "key.deleted"            Success [TOKEN] "A key is gone: the last token it signed has ended; `object` is its id."
    ServiceTokenIssued   "service_token.issued"   Success [TOKEN] "A service got a token for another one; the details are whom it addresses and what it grants."
    CallerRefused        "caller.refused"         Failure [AUTH, TOKEN, AUDIT, GATEWAY] "Somebody called what the caller table does not allow them; `calls` says how often: of the same caller, RPC and reason at most one event a minute."
    ConfigLoaded         "config.loaded"          Success [AUTH, TOKEN, AUDIT, GATEWAY] "A process read its configuration; `object` is the fingerprint."
    LogChanged           "log.changed"            Success [AUTH, TOKEN, AUDIT, GATEWAY] "An operator changed what a process logs; the details are what, and for how long."
    MigrationRun         "migration.run"          Success [AUTH, TOKEN, AUDIT] "A schema was brought up by one step."
    BackupTaken          "backup.taken"           Success [TOKEN] "A backup of the databases was taken."
    BackupRestored       "backup.restored"        Success [AUTH] "The databases were filled from a backup: sessions from before are over, keys that sign are new."
    AuditRead            "audit.read"             Success [AUDIT] "Somebody read the trail; the details are the filter."
    VerifierStale        "verifier.stale"         Failure [GATEWAY] "A verifier hears nothing of revocations any more; it asks, and in the end refuses."
    VerifierFresh        "verifier.fresh"         Success [GATEWAY] "A verifier hears of revocations again; `stale_ms` says after how long."
    ServiceStarted       "service.started"        Success [AUTH, TOKEN, AUDIT, GATEWAY] "A service is up."
    ServiceStopped       "service.stopped"        Success [AUTH, TOKEN, AUDIT, GATEWAY] "A service was asked to stop and has drained."
    ClockStepped         "clock.stepped"          Failure [TOKEN] "A clock jumped by more than five seconds; `step_ms` says how far."
}

/// The page docs/EVENTS.md; a test keeps the file equal to it.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Events\n\nEvery event of the trail has one of these types. The names are stable. Beside each stands which services may write it: what \
         another one\nbrings is kept, and marked as of the wrong producer. The table is made from `platform/src/events/types.rs`.\n\n\
         | type | outcome | written by | what happened |\n|---|---|---|---|\n",
    );
    for kind in EventType::ALL {
        let outcome = if kind.outcome() == Outcome::Success { "success" } else { "failure" };
        // Writing into a String cannot fail.
        let _ = writeln!(page, "| `{}` | {outcome} | {} | {} |", kind.as_str(), kind.producers().join(", "), kind.describe());
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
            assert_eq!(EventType::named(kind.as_str()), Some(*kind));
        }
    }

    #[test]
    fn a4_a_type_belongs_to_the_services_that_write_it() {
        assert!(EventType::UserDisabled.may_come_from("auth-service") && !EventType::UserDisabled.may_come_from("gateway"));
        for kind in EventType::ALL {
            let of_users_and_sessions = ["user", "session", "password", "key", "audit"].contains(&kind.as_str().split('.').next().unwrap());
            assert!(!(kind.may_come_from("gateway") && of_users_and_sessions), "{kind:?}");
            assert!(!kind.may_come_from("billing") && !kind.may_come_from(""), "{kind:?}");
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
