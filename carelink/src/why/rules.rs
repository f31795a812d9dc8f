//! Each type of event in words, with the rule of docs/PROTOCOL.md that decided it.

use carelink_platform::events::EventType;
use carelink_proto::audit::Event;

/// The rule and a sentence. An event of a type that is not known here, a newer version's perhaps, says its own name.
pub(super) fn explain(kind: Option<EventType>, event: &Event) -> (&'static str, String) {
    let Some(kind) = kind else { return ("A2", format!("{}, which this version does not know", event.r#type)) };
    let detail = |name: &str| event.details.get(name).map_or("", String::as_str);
    let reason = event.reason.as_str();
    match kind {
        EventType::SignInSucceeded => ("G1", format!("the password was right ({})", detail("hasher"))),
        EventType::SignInFailed => sign_in_failed(reason),
        EventType::SignInThrottled => ("C4", throttled(reason)),
        EventType::SessionStarted => ("S10", "a session began".to_owned()),
        EventType::SessionSignedOut => ("S9", "its holder signed out".to_owned()),
        EventType::SessionRefreshed => {
            ("S3", format!("the refresh token of generation {} was exchanged for its successor", detail("generation")))
        }
        EventType::SessionReplayed => {
            ("S3", format!("the token one older, {} after its exchange, got the same successor again", age(detail("age_ms"))))
        }
        EventType::SessionReuseDetected => (
            "S3",
            format!(
                "the refresh token of generation {} came back while {} was held, {} after the last exchange: stolen, or restored; the session ended",
                detail("generation"),
                detail("held"),
                age(detail("age_ms"))
            ),
        ),
        EventType::SessionStateLost => {
            ("S3", "a refresh token was ahead of the database: a commit was lost, or an older backup runs; the session ended".to_owned())
        }
        EventType::SessionEnded => ended(reason),
        EventType::PasswordChanged => password(reason),
        EventType::PasswordUpgraded => {
            ("C3", format!("after the sign-in the same password was hashed again: {} became {}", detail("from"), detail("to")))
        }
        EventType::UserCreated => ("U1", "the user was added".to_owned()),
        EventType::UserImported => ("L1", "the user came, or changed, from the predecessor's database".to_owned()),
        EventType::UserDisabled => ("U1", "the user was disabled: no sign-in, and every session ends".to_owned()),
        EventType::UserEnabled => ("U1", "the user was enabled".to_owned()),
        EventType::UserRolesChanged => ("U2", format!("roles from then on: {}; a role that was lost is refused at once", detail("roles"))),
        EventType::SubjectDeliveredLate => {
            ("U3", format!("a change of the user reached the sessions {} after it had been answered", age(detail("delay_ms"))))
        }
        EventType::KeyCreated | EventType::KeyRotated | EventType::KeyDeleted => ("K1", kind.describe().to_owned()),
        EventType::CallerRefused => ("G2", format!("a call of {} was refused: {reason}", event.object)),
        EventType::MigrationRun => ("R2", format!("{} was applied", event.object)),
        EventType::BackupRestored => ("R1", "the databases were filled from a backup: every session from before ended".to_owned()),
        EventType::BackupTaken => ("R1", "a backup was taken".to_owned()),
        EventType::AuditRead => ("A7", "somebody read the trail".to_owned()),
        EventType::VerifierStale | EventType::VerifierFresh => ("V3", kind.describe().to_owned()),
        EventType::ClockStepped => ("T1", format!("the clock jumped by {}", age(detail("step_ms")))),
        other => (by_name(other.as_str()), other.describe().to_owned()),
    }
}

/// Types whose own description says it all, by what they begin with.
fn by_name(name: &str) -> &'static str {
    match name.split_once('.').map_or(name, |(beginning, _)| beginning) {
        "guessing" => "C5",
        "user" if name == "user.unlocked" => "C5",
        "user" | "password" => "C7",
        "key" => "K1",
        "service_token" | "log" => "G2",
        _ => "A2",
    }
}

fn sign_in_failed(reason: &str) -> (&'static str, String) {
    match reason {
        "password_wrong" => ("C2", "the password was wrong".to_owned()),
        "user_unknown" => ("C1", "nobody has that name".to_owned()),
        "user_inactive" => ("U1", "the user is disabled; the answer does not say so".to_owned()),
        "password_unusable" => ("C2", "no password opens that account; one has to be set".to_owned()),
        "hasher_not_allowed" => {
            ("C2", "the stored hash is of a kind that the configuration does not allow (password.allow_md5)".to_owned())
        }
        "strangers" | "known_networks" | "known_devices" => {
            ("C5", format!("too many wrong passwords in a row by {}", reason.replace('_', " ")))
        }
        other => ("C3", format!("refused: {other}")),
    }
}

fn throttled(reason: &str) -> String {
    match reason {
        "network" => "turned away before its password was looked at: too many from that network".to_owned(),
        "account" => "turned away before its password was looked at: too many for that account from that network".to_owned(),
        other => format!("turned away before its password was looked at: {other}"),
    }
}

fn ended(reason: &str) -> (&'static str, String) {
    let (rule, why) = match reason {
        "signed_out" => ("S9", "its holder signed out"),
        "signed_out_everywhere" => ("S5", "its holder ended it from another session"),
        "password_changed" => ("U1", "the password was changed"),
        "disabled" => ("U2", "the user was disabled"),
        "revoked" => ("S5", "an administrator or operator ended it"),
        "reused" => ("S3", "an old refresh token came back"),
        "state_lost" => ("S3", "a refresh token was ahead of the database"),
        "expired" => ("S7", "its time was up, which no refresh moves"),
        "idle" => ("S12", "nobody used it for too long"),
        "replaced" => ("B4", "another sign-in in the same browser took its place"),
        "cap" => ("S5", "its holder had more sessions than one may; it was the oldest"),
        "key_withdrawn" => ("K1", "the key that had signed its refresh token was withdrawn"),
        "restored" => ("R1", "the databases were restored from a backup"),
        "blacklisted" => ("L3", "the predecessor had blacklisted its token"),
        other => return ("S5", format!("the session ended: {other}")),
    };
    (rule, format!("the session ended: {why}"))
}

fn password(reason: &str) -> (&'static str, String) {
    match reason {
        "one_time_password_issued" => ("C6", "a one-time password was made, which opens nothing but the setting of one".to_owned()),
        "restored" => ("R1", "after a restore the account needs a new password, since it was changed after the backup".to_owned()),
        _ => ("C7", "a password was set; other sessions end".to_owned()),
    }
}

/// Milliseconds as people say them.
fn age(millis: &str) -> String {
    let Ok(millis) = millis.parse::<i64>() else { return "some time".to_owned() };
    humantime::format_duration(std::time::Duration::from_millis(millis.unsigned_abs())).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventType, reason: &str, details: &[(&str, &str)]) -> Event {
        let details = details.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Event { r#type: kind.as_str().to_owned(), reason: reason.to_owned(), details, ..Event::default() }
    }

    #[test]
    fn every_type_of_event_has_words_and_a_rule() {
        let protocol = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/PROTOCOL.md")).unwrap();
        let known = |rule: &str| {
            let mut bold = protocol.split("**").skip(1).step_by(2);
            bold.any(|words| words.split_whitespace().next().is_some_and(|word| word.trim_end_matches('.') == rule))
        };
        for kind in EventType::ALL {
            let (rule, says) = explain(Some(*kind), &event(*kind, "x", &[]));
            assert!(!says.is_empty() && known(rule), "{}: {rule}: {says}", kind.as_str());
        }
        assert_eq!(explain(None, &Event { r#type: "a.b".into(), ..Event::default() }).0, "A2");
    }

    #[test]
    fn every_end_of_a_session_is_told_with_its_rule() {
        for reason in token_service::domain::session::EndReason::ALL {
            let (rule, says) = explain(Some(EventType::SessionEnded), &event(EventType::SessionEnded, reason.as_str(), &[]));
            assert!(says != format!("the session ended: {}", reason.as_str()), "{reason:?} has no words of its own ({rule})");
        }
    }

    #[test]
    fn what_was_decided_is_said_with_its_particulars() {
        let reused = event(EventType::SessionReuseDetected, "reused", &[("generation", "3"), ("held", "5"), ("age_ms", "61000")]);
        let (rule, says) = explain(Some(EventType::SessionReuseDetected), &reused);
        assert_eq!(rule, "S3");
        assert!(says.contains("generation 3 came back while 5 was held, 1m 1s after"), "{says}");
        assert_eq!(explain(Some(EventType::SignInFailed), &event(EventType::SignInFailed, "user_unknown", &[])).0, "C1");
    }
}
