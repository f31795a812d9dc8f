//! Taking a predecessor's user, again and again (L1, L2, L5): what of a row is new, what is ours by now, what is refused.
//!
//! Each row is compared with what was last read of it. Only what the *source* changed since is applied, and not where it was changed here
//! as well; that is reported as kept. Inactive in the source always disables. A changed hash alone ends nothing.

#[cfg(test)]
mod tests;

use aws_lc_rs::digest;

use super::{
    hasher::{self, Refused, Stored},
    names::{NameError, UserName},
    roles::{ADMIN, Roles},
};
use carelink_platform::clock::Timestamp;

/// What the operator decided for the whole import.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// is_superuser grants `admin` (L2).
    pub superusers_as_admins: bool,
    /// Names that collide become `name@source` (L1).
    pub qualify: bool,
    /// Whether MD5 hashes can sign in.
    pub allow_md5: bool,
}

/// A predecessor's row as it came.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// User name there.
    pub username: &'a str,
    /// E-mail address there, or empty.
    pub email: &'a str,
    /// Full name there, or empty.
    pub full_name: &'a str,
    /// Django's encoded hash.
    pub password_hash: &'a str,
    /// is_active
    pub active: bool,
    /// is_staff
    pub staff: bool,
    /// is_superuser
    pub superuser: bool,
    /// Groups and the role column.
    pub roles: &'a [String],
    /// Last sign-in there; zero for never.
    pub last_login: Timestamp,
}

/// A row that can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// User name there.
    pub username: UserName,
    /// E-mail address there, or empty.
    pub email: String,
    /// Full name there, or empty.
    pub full_name: String,
    /// The hash as text.
    pub hash: String,
    /// The hash, understood.
    pub stored: Stored,
    /// is_active
    pub active: bool,
    /// What groups, role column and is_staff and is_superuser grant; never a reserved role.
    pub roles: Roles,
    /// is_superuser
    pub superuser: bool,
    /// Last sign-in there; zero for never.
    pub last_login: Timestamp,
    /// Reserved roles that were dropped (L2).
    pub dropped: Vec<String>,
}

/// What was last read of a row; the hash only as its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRead {
    /// User name there, then.
    pub username: String,
    /// E-mail address there, then.
    pub email: String,
    /// Full name there, then.
    pub full_name: String,
    /// SHA-256 of the hash.
    pub hash_digest: [u8; 32],
    /// is_active, then.
    pub active: bool,
    /// What the row granted, then.
    pub roles: Roles,
    /// Whether is_superuser has granted `admin` here.
    pub admin: bool,
    /// Last sign-in there, then.
    pub last_login: Timestamp,
}

/// The user here, as the import needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    /// User name here.
    pub username: String,
    /// E-mail address here.
    pub email: String,
    /// Full name here.
    pub full_name: String,
    /// Whether the password is one that was set here.
    pub password_set_here: bool,
    /// Whether they may sign in.
    pub active: bool,
    /// Whether somebody here had the last word on that.
    pub active_set_here: bool,
    /// Roles here.
    pub roles: Roles,
}

/// Why a row is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowRefused {
    /// Its name cannot be kept.
    Name(NameError),
    /// Its hash cannot be kept.
    Hash(Refused),
    /// Somebody else here has its name (L1).
    NameTaken,
    /// Its key is not a positive number.
    KeyInvalid,
}

impl RowRefused {
    /// The stable reason of the report.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Name(_) => "name_invalid",
            Self::Hash(refused) => refused.reason(),
            Self::NameTaken => "name_taken",
            Self::KeyInvalid => "id_invalid",
        }
    }
}

/// What to apply to a user that was imported before. `None` leaves a field alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// The new name, if it is free.
    pub username: Option<UserName>,
    /// The new e-mail address.
    pub email: Option<String>,
    /// The new full name.
    pub full_name: Option<String>,
    /// The new hash, which ends nothing.
    pub hash: Option<(String, Stored)>,
    /// Disabled or enabled in the source.
    pub active: Option<bool>,
    /// The new roles.
    pub roles: Option<Roles>,
    /// A later sign-in there.
    pub last_login: Option<Timestamp>,
    /// Fields the source changed but that were changed here too.
    pub kept: Vec<&'static str>,
    /// Whether is_superuser grants `admin` from now on.
    pub admin: bool,
}

impl Read {
    /// Understands a row, or says why it cannot be taken.
    pub fn new(row: &Row<'_>) -> Result<Self, RowRefused> {
        let stored = hasher::parse(row.password_hash).map_err(RowRefused::Hash)?;
        let flags = [(row.staff, "staff"), (row.superuser, "superuser")];
        let granted = flags.iter().filter(|(granted, _)| *granted).map(|(_, role)| *role);
        let (roles, dropped) = Roles::imported(row.roles.iter().map(String::as_str).chain(granted));
        Ok(Self {
            username: UserName::imported(row.username).map_err(RowRefused::Name)?,
            email: without_nul(row.email),
            full_name: without_nul(row.full_name),
            hash: row.password_hash.to_owned(),
            stored,
            active: row.active,
            roles,
            superuser: row.superuser,
            last_login: row.last_login.max(Timestamp::ZERO),
            dropped,
        })
    }

    /// Whether is_superuser grants `admin`: by the operator's word, or by an earlier one as long as it stands in the source.
    pub fn admin(&self, rules: Rules, before: Option<&LastRead>) -> bool {
        self.superuser && (rules.superusers_as_admins || before.is_some_and(|last| last.admin))
    }

    /// The roles of a user that is new here.
    pub fn granted(&self, admin: bool) -> Roles {
        if admin { self.roles.clone().with(ADMIN) } else { self.roles.clone() }
    }

    /// What will have been last read of this row.
    pub fn remembered(&self, admin: bool) -> LastRead {
        LastRead {
            username: self.username.as_str().to_owned(),
            email: self.email.clone(),
            full_name: self.full_name.clone(),
            hash_digest: hash_digest(&self.hash),
            active: self.active,
            roles: self.roles.clone(),
            admin,
            last_login: self.last_login,
        }
    }

    /// Why the user cannot sign in though imported, where that is for the configuration's sake.
    pub fn cannot_sign_in(&self, rules: Rules) -> Option<&'static str> {
        (self.stored.hasher() == "md5" && !rules.allow_md5).then_some("md5_not_allowed")
    }
}

impl Update {
    /// Decides what of a row is applied to a user that was imported before (L5).
    pub fn decide(read: &Read, last: &LastRead, ours: &Ours, rules: Rules, source: &str) -> Self {
        let admin = read.admin(rules, Some(last));
        let mut update = Self { admin, ..Self::default() };
        update.decide_name(read, last, ours, source);
        update.email = update.field("email", &read.email, &last.email, &ours.email);
        update.full_name = update.field("full_name", &read.full_name, &last.full_name, &ours.full_name);
        if hash_digest(&read.hash) != last.hash_digest {
            if ours.password_set_here {
                update.kept.push("password");
            } else {
                update.hash = Some((read.hash.clone(), read.stored.clone()));
            }
        }
        update.decide_active(read, last, ours);
        update.roles = update.field("roles", &read.granted(admin), &last_granted(last), &ours.roles);
        update.last_login = (read.last_login > last.last_login).then_some(read.last_login);
        update
    }

    /// Whether nothing of it touches the user.
    pub fn is_empty(&self) -> bool {
        *self == Self { kept: self.kept.clone(), admin: self.admin, ..Self::default() }
    }

    fn field<T: Clone + PartialEq>(&mut self, name: &'static str, read: &T, last: &T, ours: &T) -> Option<T> {
        if read == last || read == ours {
            return None;
        }
        if ours != last {
            self.kept.push(name);
            return None;
        }
        Some(read.clone())
    }

    fn decide_name(&mut self, read: &Read, last: &LastRead, ours: &Ours, source: &str) {
        let now = read.username.as_str();
        if now == last.username || now == ours.username {
            return;
        }
        let as_imported = ours.username == last.username || ours.username == format!("{}@{source}", last.username);
        if as_imported {
            self.username = Some(read.username.clone());
        } else {
            self.kept.push("username");
        }
    }

    /// Inactive in the source always disables; active there enables only whom the source had disabled.
    fn decide_active(&mut self, read: &Read, last: &LastRead, ours: &Ours) {
        if !read.active {
            self.active = ours.active.then_some(false);
        } else if !last.active && !ours.active {
            if ours.active_set_here {
                self.kept.push("active");
            } else {
                self.active = Some(true);
            }
        }
    }
}

/// SHA-256 of a stored hash: enough to see that it changed.
pub fn hash_digest(hash: &str) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(digest::digest(&digest::SHA256, hash.as_bytes()).as_ref()) {
        *to = *from;
    }
    out
}

fn last_granted(last: &LastRead) -> Roles {
    if last.admin { last.roles.clone().with(ADMIN) } else { last.roles.clone() }
}

fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}
