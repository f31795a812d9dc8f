//! Reads rows of `users`.

use carelink_database::{Row, StoreError};
use carelink_platform::clock::Timestamp;

use crate::domain::{
    password::PasswordForm,
    roles::Roles,
    subject::Subject,
    user::{Credentials, StoredHash, User},
};

/// The part of a row that is the snapshot of U1.
pub(super) fn subject(row: &Row, id: uuid::Uuid) -> Result<Subject, StoreError> {
    Ok(Subject {
        id,
        user_id: row.get("user_id")?,
        version: row.get("version")?,
        min_version: row.get("min_version")?,
        excepted_session: row.get("excepted_session")?,
        active: row.get("active")?,
        roles: Roles::from_json(&row.get::<String>("roles")?),
        end_reason: row.get("end_reason")?,
    })
}

pub(super) fn user(row: &Row) -> Result<User, StoreError> {
    Ok(User {
        subject: subject(row, row.get("id")?)?,
        username: row.get("username")?,
        email: row.get("email")?,
        full_name: row.get("full_name")?,
        active_set_here: row.get("active_set_here")?,
        form: PasswordForm::read(&row.get::<String>("password_form")?),
        cost_class: row.get::<Option<String>>("cost_class")?.and_then(|text| text.parse().ok()),
        password_set_here: row.get("password_set_here")?,
        password_changed_at: row.get::<Option<Timestamp>>("password_changed_at")?,
        last_sign_in_at: row.get::<Option<Timestamp>>("last_sign_in_at")?,
        created_at: row.get("created_at")?,
        source: row.get("source")?,
    })
}

pub(super) fn credentials(row: &Row) -> Result<Credentials, StoreError> {
    Ok(Credentials { user: user(row)?, hash: StoredHash::new(row.get("password_hash")?) })
}
