//! `up --demo`: a directory that goes when the process does, and a handful of people in it.

use carelink_proto::auth::CreateUserRequest;
use serde::Serialize;
use tempfile::TempDir;

use super::house::House;
use crate::error::failed;

/// Somebody to try.
#[derive(Serialize)]
pub(super) struct Person {
    pub(super) username: &'static str,
    pub(super) password: &'static str,
    pub(super) roles: &'static [&'static str],
}

const PEOPLE: &[Person] = &[
    Person { username: "amina", password: "night shift tea at four", roles: &["nurse"] },
    Person { username: "bjorn", password: "seven corridors and a lift", roles: &["doctor"] },
    Person { username: "chloe", password: "pharmacy keys on the hook", roles: &["pharmacist"] },
    Person { username: "dmitri", password: "who watches the watchers", roles: &["auditor"] },
    Person { username: "esra", password: "my badge opens that door", roles: &["admin"] },
];

/// A private directory under the system's temporary one.
pub(super) fn directory() -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("carelink-demo-")
        .tempdir()
        .map_err(|error| failed("demo_directory", format!("no room for a throw-away directory: {error}")))
}

/// Puts people into the house.
pub(super) async fn people(house: &House) -> anyhow::Result<Vec<Person>> {
    let mut auth = house.auth_as_operator();
    let mut made = Vec::new();
    for Person { username, password, roles } in PEOPLE {
        let roles_given = roles.iter().map(ToString::to_string).collect();
        let request = CreateUserRequest {
            username: (*username).to_owned(),
            roles: roles_given,
            password: (*password).to_owned(),
            ..Default::default()
        };
        auth.create_user(request).await?;
        made.push(Person { username, password, roles });
    }
    Ok(made)
}
