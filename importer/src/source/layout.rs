//! Finds the predecessor's tables: which one holds its users, in which columns, with which groups and tokens.
//!
//! Plain functions over a description of the schema; no database. Names are compared as SQL does, without regard to case.

use serde::Serialize;

use crate::error::SourceError;

const OUTSTANDING: &str = "token_blacklist_outstandingtoken";
const BLACKLISTED: &str = "token_blacklist_blacklistedtoken";

/// What the operator names instead of having it found.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// `--users-table`
    pub users_table: Option<String>,
    /// `--username-column`
    pub username_column: Option<String>,
    /// `--email-column`
    pub email_column: Option<String>,
    /// `--role-column`
    pub role_column: Option<String>,
}

/// The tables and columns that are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The table of users.
    pub table: String,
    /// Its primary key.
    pub id: String,
    /// The name that people sign in with.
    pub username: String,
    /// Django's encoded hash.
    pub password: String,
    /// E-mail addresses.
    pub email: Option<String>,
    /// How people are called.
    pub names: Names,
    /// A role per user, beside groups.
    pub role: Option<String>,
    /// Who may sign in; `None`: everybody, as Django has it for a model without the field.
    pub active: Option<String>,
    /// Django's `is_staff`.
    pub staff: Option<String>,
    /// Django's `is_superuser`.
    pub superuser: Option<String>,
    /// When they last signed in.
    pub last_login: Option<String>,
    /// Since when they have been users.
    pub joined: Option<String>,
    /// Which users are in which groups.
    pub groups: Option<Groups>,
    /// SimpleJWT's tables.
    pub tokens: Option<Tokens>,
}

/// How people are called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// Nothing says.
    None,
    /// One column.
    Full(String),
    /// A first name and a last name.
    Parts(String, String),
}

/// The table between users and `auth_group`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Groups {
    pub(crate) table: String,
    pub(crate) user: String,
    pub(crate) group: String,
}

/// SimpleJWT's tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tokens {
    pub(crate) outstanding: String,
    pub(crate) blacklisted: Option<String>,
    /// Whether the tokens themselves are kept.
    #[serde(skip)]
    pub(crate) kept: bool,
}

/// A table as its database describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub(crate) name: String,
    pub(crate) columns: Vec<Column>,
    /// (column, table it refers to)
    pub(crate) references: Vec<(String, String)>,
}

/// A column as its database describes it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The declared type, in lower case.
    pub(crate) kind: String,
    /// Part of the primary key.
    pub(crate) primary: bool,
    /// Unique by itself.
    pub(crate) unique: bool,
}

impl Column {
    fn is_text(&self) -> bool {
        self.kind.contains("char") || self.kind.contains("text")
    }
}

impl Table {
    fn find(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }

    fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The first of `names` that is a column.
    fn first(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.find(name)).map(|column| column.name.clone())
    }

    /// The column that `option` names; an error where it names none.
    fn named(&self, option: &'static str, name: &str) -> Result<String, SourceError> {
        let found = self.find(name).map(|column| column.name.clone());
        found.ok_or_else(|| SourceError::NoSuchColumn {
            option,
            column: name.into(),
            table: self.name.clone(),
            columns: self.column_names(),
        })
    }

    fn need(&self, column: &'static str) -> Result<String, SourceError> {
        let missing = || SourceError::MissingColumn { table: self.name.clone(), column, columns: self.column_names() };
        self.first(&[column]).ok_or_else(missing)
    }

    /// The column that refers to `table`.
    fn referring(&self, table: &str) -> Option<String> {
        self.references.iter().find(|(_, to)| to.eq_ignore_ascii_case(table)).map(|(column, _)| column.clone())
    }

    /// The table that `column` refers to.
    fn referred(&self, column: &str) -> Option<&str> {
        self.references.iter().find(|(from, _)| from.eq_ignore_ascii_case(column)).map(|(_, to)| to.as_str())
    }

    fn column_names(&self) -> Vec<String> {
        self.columns.iter().map(|column| column.name.clone()).collect()
    }
}

/// Finds everything, or says what is missing and which option names it.
pub(crate) fn find(tables: &[Table], wanted: &Wanted) -> Result<Layout, SourceError> {
    let users = users_table(tables, wanted.users_table.as_deref())?;
    let username = username(users, wanted.username_column.as_deref())?;
    let optional = |option, name: Option<&String>| name.map(|name| users.named(option, name)).transpose();
    Ok(Layout {
        table: users.name.clone(),
        id: primary_key(users)?,
        password: users.need("password")?,
        email: optional("--email-column", wanted.email_column.as_ref())?.or_else(|| users.first(&["email"])),
        names: names(users),
        role: optional("--role-column", wanted.role_column.as_ref())?.or_else(|| role(users)),
        active: users.first(&["is_active", "active"]),
        staff: users.first(&["is_staff"]),
        superuser: users.first(&["is_superuser"]),
        last_login: users.first(&["last_login"]),
        joined: users.first(&["date_joined", "created_at", "created"]),
        groups: groups(tables, users),
        tokens: tokens(tables)?,
        username,
    })
}

/// Refuses tokens that refer to other users than those of `layout`.
pub(crate) fn check_holders(tables: &[Table], layout: &Layout) -> Result<(), SourceError> {
    match table(tables, OUTSTANDING).and_then(|tokens| tokens.referred("user_id")) {
        Some(owner) if !owner.eq_ignore_ascii_case(&layout.table) => {
            Err(SourceError::TokensElsewhere { table: layout.table.clone(), owner: owner.into() })
        }
        _ => Ok(()),
    }
}

/// The tables of outstanding and of blacklisted tokens, where what became of rotated ones can be asked.
pub(crate) fn rotations<'a>(tables: &[Table], layout: &'a Layout) -> Option<(&'a str, &'a str)> {
    table(tables, "django_migrations")?;
    let Tokens { outstanding, blacklisted, .. } = layout.tokens.as_ref()?;
    Some((outstanding, blacklisted.as_deref()?))
}

/// The table of outstanding tokens, where it keeps the tokens themselves.
pub(crate) fn kept_tokens(layout: &Layout) -> Option<&Tokens> {
    layout.tokens.as_ref().filter(|tokens| tokens.kept)
}

fn table<'a>(tables: &'a [Table], name: &str) -> Option<&'a Table> {
    tables.iter().find(|table| table.name.eq_ignore_ascii_case(name))
}

/// The one named; or the one that Django's own tables refer to; or `auth_user`; or the only one that looks like it.
fn users_table<'a>(tables: &'a [Table], named: Option<&str>) -> Result<&'a Table, SourceError> {
    let seen = || tables.iter().map(|table| table.name.clone()).collect();
    if let Some(name) = named {
        return table(tables, name).ok_or_else(|| SourceError::NoSuchTable { table: name.into(), tables: seen() });
    }
    let referred = [OUTSTANDING, "django_admin_log", "authtoken_token"].iter().find_map(|name| table(tables, name)?.referred("user_id"));
    if let Some(found) = referred.or(Some("auth_user")).and_then(|name| table(tables, name)) {
        return Ok(found);
    }
    let alike: Vec<&Table> = tables.iter().filter(|table| table.has("password") && table.has("last_login")).collect();
    match alike.as_slice() {
        [only] => Ok(only),
        [] => Err(SourceError::NoUsersTable { tables: seen() }),
        several => Err(SourceError::SeveralUsersTables { tables: several.iter().map(|table| table.name.clone()).collect() }),
    }
}

/// The one named; or `username`; or `email`; or the only text column that is unique by itself.
fn username(users: &Table, named: Option<&str>) -> Result<String, SourceError> {
    if let Some(name) = named {
        return users.named("--username-column", name);
    }
    if let Some(found) = users.first(&["username", "email"]) {
        return Ok(found);
    }
    let unique: Vec<&Column> = users.columns.iter().filter(|column| column.unique && !column.primary && column.is_text()).collect();
    match unique.as_slice() {
        [only] => Ok(only.name.clone()),
        _ => Err(SourceError::NoUsername { table: users.name.clone(), columns: users.column_names() }),
    }
}

fn primary_key(users: &Table) -> Result<String, SourceError> {
    let keys: Vec<&Column> = users.columns.iter().filter(|column| column.primary).collect();
    match keys.as_slice() {
        [key] if key.kind.contains("int") || key.kind.contains("serial") => Ok(key.name.clone()),
        [key] => Err(SourceError::KeyNotANumber { table: users.name.clone(), found: format!("{} is {}", key.name, key.kind) }),
        [] => Err(SourceError::KeyNotANumber { table: users.name.clone(), found: "it has none".into() }),
        _ => Err(SourceError::KeyNotANumber { table: users.name.clone(), found: "it has several columns".into() }),
    }
}

fn names(users: &Table) -> Names {
    match (users.first(&["full_name", "name"]), users.first(&["first_name"]), users.first(&["last_name"])) {
        (Some(full), ..) => Names::Full(full),
        (None, Some(first), Some(last)) => Names::Parts(first, last),
        (None, Some(only), None) | (None, None, Some(only)) => Names::Full(only),
        (None, None, None) => Names::None,
    }
}

/// A column `role` of text; a number in it would be a key or an enum whose meaning only the predecessor's code knows.
fn role(users: &Table) -> Option<String> {
    users.find("role").filter(|column| column.is_text()).map(|column| column.name.clone())
}

/// `<users>_groups`, or whichever table refers to both.
fn groups(tables: &[Table], users: &Table) -> Option<Groups> {
    table(tables, "auth_group").filter(|groups| groups.has("id") && groups.has("name"))?;
    let own = format!("{}_groups", users.name);
    let between = |table: &&Table| table.referring(&users.name).is_some() && table.referring("auth_group").is_some();
    let found = table(tables, &own).or_else(|| tables.iter().find(between))?;
    Some(Groups {
        table: found.name.clone(),
        user: found.referring(&users.name).or_else(|| found.first(&["user_id"]))?,
        group: found.referring("auth_group").or_else(|| found.first(&["group_id"]))?,
    })
}

fn tokens(tables: &[Table]) -> Result<Option<Tokens>, SourceError> {
    let Some(outstanding) = table(tables, OUTSTANDING) else { return Ok(None) };
    for column in ["id", "jti", "user_id", "created_at", "expires_at"] {
        outstanding.need(column)?;
    }
    let blacklisted = table(tables, BLACKLISTED);
    if let Some(blacklisted) = blacklisted {
        blacklisted.need("token_id")?;
    }
    Ok(Some(Tokens {
        outstanding: outstanding.name.clone(),
        blacklisted: blacklisted.map(|table| table.name.clone()),
        kept: outstanding.has("token"),
    }))
}

#[cfg(test)]
mod tests;
