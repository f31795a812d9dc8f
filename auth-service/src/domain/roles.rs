//! Roles: plain words, of which two are ours alone (L2).

use std::collections::BTreeSet;

/// Administers users, sessions and keys.
pub const ADMIN: &str = "admin";
/// Reads the trail.
pub const AUDITOR: &str = "auditor";
/// What no import grants by its name.
pub const RESERVED: [&str; 2] = [ADMIN, AUDITOR];

const MAX_ROLE_CHARACTERS: usize = 150;
const MAX_ROLES: usize = 200;

/// A user's roles: sorted, distinct.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roles(BTreeSet<String>);

/// A role that cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// Empty, too long, surrounded by white space, or with a comma or control character in it.
    #[error("a role is 1 to {MAX_ROLE_CHARACTERS} characters, without commas, control characters and surrounding white space")]
    Invalid,
    /// More than anybody needs.
    #[error("a user has at most {MAX_ROLES} roles")]
    TooMany,
}

/// What granting and taking changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RolesChanged {
    /// Roles the user did not have before.
    pub added: Roles,
    /// Roles the user does not have any more.
    pub removed: Roles,
}

impl Roles {
    /// Takes roles as they are named, and refuses what cannot be one.
    pub fn new<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self, RoleError> {
        let mut roles = BTreeSet::new();
        for name in names {
            let name = name.as_ref();
            if !valid(name) {
                return Err(RoleError::Invalid);
            }
            roles.insert(name.to_owned());
        }
        if roles.len() > MAX_ROLES { Err(RoleError::TooMany) } else { Ok(Self(roles)) }
    }

    /// Takes a predecessor's roles: reserved ones and what cannot be a role are dropped, the former told (L2).
    pub fn imported<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> (Self, Vec<String>) {
        let (mut roles, mut dropped) = (BTreeSet::new(), BTreeSet::new());
        for name in names {
            let name = super::names::trim(name.as_ref());
            if RESERVED.contains(&name) {
                dropped.insert(name.to_owned());
            } else if valid(name) && roles.len() < MAX_ROLES {
                roles.insert(name.to_owned());
            }
        }
        (Self(roles), dropped.into_iter().collect())
    }

    /// With one more.
    #[must_use]
    pub fn with(mut self, role: &str) -> Self {
        self.0.insert(role.to_owned());
        self
    }

    /// Grants some and takes some; what is in both is taken.
    pub fn change(&self, add: &Self, remove: &Self) -> Result<(Self, RolesChanged), RoleError> {
        let after = Self(self.0.union(&add.0).filter(|role| !remove.0.contains(*role)).cloned().collect());
        if after.0.len() > MAX_ROLES {
            return Err(RoleError::TooMany);
        }
        let changed = RolesChanged { added: after.without(self), removed: self.without(&after) };
        Ok((after, changed))
    }

    /// Those that `others` does not have.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        Self(self.0.difference(&others.0).cloned().collect())
    }

    /// Whether this one is among them.
    pub fn contains(&self, role: &str) -> bool {
        self.0.contains(role)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// As the database keeps them: a JSON list, sorted.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// As the database kept them; what is no list of roles grants nothing.
    pub fn from_json(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_default())
    }

    /// One role as it stands in [`Roles::to_json`], for finding those who have it.
    pub fn needle(role: &str) -> String {
        serde_json::to_string(role).unwrap_or_default()
    }

    /// As messages carry them.
    pub fn to_vec(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

fn valid(name: &str) -> bool {
    !name.is_empty()
        && name == super::names::trim(name)
        && name.chars().count() <= MAX_ROLE_CHARACTERS
        && !name.chars().any(|character| character == ',' || character.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(names: &[&str]) -> Roles {
        Roles::new(names).unwrap()
    }

    #[test]
    fn l2_an_imported_name_never_yields_a_reserved_role() {
        let (kept, dropped) = Roles::imported(["nurse", "admin", " admin ", "auditor", "", "a,b", "\0"]);
        assert_eq!(kept, roles(&["nurse"]));
        assert_eq!(dropped, ["admin", "auditor"]);
    }

    #[test]
    fn granting_and_taking_says_what_changed() {
        let (after, changed) = roles(&["nurse", "staff"]).change(&roles(&["doctor", "nurse"]), &roles(&["staff", "patient"])).unwrap();
        assert_eq!(after, roles(&["doctor", "nurse"]));
        assert_eq!(changed, RolesChanged { added: roles(&["doctor"]), removed: roles(&["staff"]) });
        let (same, changed) = after.change(&roles(&["patient"]), &roles(&["patient"])).unwrap();
        assert_eq!((same, changed), (after, RolesChanged::default()));
    }

    #[test]
    fn roles_survive_the_database_sorted() {
        let some = roles(&["ward \"7\"", "doctor", "nurse"]);
        assert_eq!(some.to_json(), r#"["doctor","nurse","ward \"7\""]"#);
        assert_eq!(Roles::from_json(&some.to_json()), some);
        assert!(some.to_json().contains(&Roles::needle("ward \"7\"")));
        assert!(Roles::from_json("gibberish").is_empty());
    }

    #[test]
    fn what_cannot_be_a_role_is_refused() {
        for name in ["", " nurse", "nu,rse", "nu\nrse", &"n".repeat(151)] {
            assert_eq!(Roles::new([name]), Err(RoleError::Invalid));
        }
        assert_eq!(Roles::new((0..201).map(|n| n.to_string())), Err(RoleError::TooMany));
    }
}
