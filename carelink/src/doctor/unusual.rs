//! What is configured otherwise than most do, and what that costs. By the file and environment that this command sees.

use std::time::Duration;

use carelink_database::backlog::Policy;

use super::{Finding, Patient};

/// One line for each; one where there is nothing.
pub(super) fn findings(patient: &Patient) -> Vec<Finding> {
    let configured = &patient.configured;
    let (gateway, session) = (&configured.gateway.gateway, &configured.token.session);
    let mut found: Vec<(&str, String, &str)> = Vec::new();
    let mut unusual = |is: bool, key: &'static str, value: String, advice: &'static str| {
        if is {
            found.push((key, value, advice));
        }
    };
    let text = |duration: Duration| humantime::format_duration(duration).to_string();
    unusual(
        !configured.gateway.limits.enabled,
        "limits.enabled",
        "false".into(),
        "a password spray meets nothing but the hashing queue: turn it on",
    );
    unusual(
        configured.password.allow_md5,
        "password.allow_md5",
        "true".into(),
        "a stolen table of MD5 is read in hours: turn it off once their owners have signed in",
    );
    let floor = configured.password.failure_floor;
    unusual(
        floor < Duration::from_millis(100),
        "password.failure_floor",
        text(floor),
        "a refusal's time may tell whether a name exists: remove it",
    );
    unusual(
        configured.password.min_length < 15,
        "password.min_length",
        configured.password.min_length.to_string(),
        "fewer than 15 only where a second factor is",
    );
    unusual(session.grace.is_zero(), "session.grace", "0s".into(), "strict: two racing tabs or a lost answer sign somebody out");
    unusual(
        session.grace > Duration::from_secs(300),
        "session.grace",
        text(session.grace),
        "so long a stolen token passes for its holder's",
    );
    unusual(
        session.lifetime > Duration::from_secs(86_400),
        "session.lifetime",
        text(session.lifetime),
        "longer than a shift: whoever finds a device is in",
    );
    unusual(
        session.access_lifetime > Duration::from_secs(3_600),
        "session.access_lifetime",
        text(session.access_lifetime),
        "services that do not follow the stream accept a revoked token for so long",
    );
    let staleness = configured.verifier.max_staleness;
    unusual(
        staleness > Duration::from_secs(900),
        "verifier.max_staleness",
        text(staleness),
        "a verifier that hears nothing accepts revoked tokens for so long",
    );
    let every = configured.token.token.rotate_keys_every;
    unusual(every.is_zero(), "token.rotate_keys_every", "0s".into(), "keys sign until somebody rotates them: carelink key rotate");
    unusual(
        gateway.allowed_hosts.iter().any(|host| host == "*"),
        "gateway.allowed_hosts",
        "*".into(),
        "any host name is served: name yours",
    );
    let proxies: Vec<String> = gateway.trusted_proxies.iter().map(ToString::to_string).collect();
    let all = proxies.iter().any(|proxy| proxy.ends_with("/0"));
    unusual(all, "gateway.trusted_proxies", proxies.join(", "), "everybody may say whose address theirs is: name the proxies alone");
    let log = configured.telemetry.log.clone();
    unusual(log.contains("debug") || log.contains("trace"), "telemetry.log", log, "slow, and much to read; info is usual");
    unusual(
        configured.audit.policy == Policy::Refuse,
        "audit.policy",
        "refuse".into(),
        "past audit.max_backlog nobody signs in: watch carelink_outbox_backlog",
    );
    if found.is_empty() {
        return vec![Finding::ok("configuration", "nothing unusual")];
    }
    found.into_iter().map(|(key, value, advice)| Finding::warn(format!("setting {key}"), value, advice)).collect()
}
