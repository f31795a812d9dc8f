//! Rows as the domain's types.

use carelink_database::{Row, StoreError};
use carelink_platform::clock::Timestamp;

use crate::domain::session::{EndReason, Jti, Minted, Mode, Session};

/// A session's row.
pub(super) fn session(row: &Row) -> Result<Session, StoreError> {
    let ended_at: Option<Timestamp> = row.get("ended_at")?;
    let end_reason: Option<String> = row.get("end_reason")?;
    Ok(Session {
        id: row.get("id")?,
        subject: row.get("subject")?,
        user_id: row.get("user_id")?,
        generation: row.get("generation")?,
        jti: Jti(row.get("jti")?),
        previous_jti: row.get::<Option<[u8; 16]>>("previous_jti")?.map(Jti),
        rotated_at: row.get("rotated_at")?,
        roles: row.get("roles")?,
        minted: Minted {
            access_kid: row.get("access_kid")?,
            refresh_kid: row.get("refresh_kid")?,
            at: row.get("access_at")?,
            access_expires: row.get("access_expires")?,
            roles: row.get("access_roles")?,
        },
        amr: row.get("amr")?,
        acr: row.get("acr")?,
        auth_time: row.get("auth_time")?,
        created_at: row.get("created_at")?,
        ends_at: row.get("ends_at")?,
        refused_generation: row.get("refused_generation")?,
        rotated_by: row.get("rotated_by")?,
        mode: mode(row.get("cookies")?),
        seen_generation: row.get("seen_generation")?,
        ended: ended_at.map(|at| (at, EndReason::parse(end_reason.as_deref().unwrap_or_default()))),
    })
}

pub(super) const fn mode(cookies: bool) -> Mode {
    if cookies { Mode::Cookies } else { Mode::Bearer }
}
