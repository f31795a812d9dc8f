//! The statements that read a source, made from its layout: the same for every engine but for how each says it.
//!
//! A server answers all values as text, whatever their types: [`Dialect::value`] says how, and [`Kind`] how they are read.

use super::{
    layout::{Groups, Layout, Names, Tokens},
    row::LONGEST,
    signatures::LOOKED_AT,
};

/// How an engine says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
    MariaDb,
}

/// What a value is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A whole number.
    Number,
    /// Text, at most a little of it where it is too long.
    Text,
    /// A boolean, as 0 or 1.
    Flag,
    /// A point in time, in UTC.
    Time,
}

/// What [`select_users`] selects, in its order.
pub(crate) const USER_KINDS: [Kind; 12] = [
    Kind::Number,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Flag,
    Kind::Flag,
    Kind::Flag,
    Kind::Text,
    Kind::Time,
    Kind::Time,
];

/// What [`select_tokens`] selects, in its order.
pub(crate) const TOKEN_KINDS: [Kind; 6] = [Kind::Text, Kind::Number, Kind::Time, Kind::Time, Kind::Flag, Kind::Text];

/// Rows whose keys lie after the first and up to the second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range(pub(crate) i64, pub(crate) i64);

impl Dialect {
    /// A name, in the quotes of the engine.
    pub(crate) fn quoted(self, name: &str) -> String {
        match self {
            Self::MariaDb => format!("`{}`", name.replace('`', "``")),
            Self::Sqlite | Self::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
        }
    }

    /// A column's value as the reader of the engine takes it.
    fn value(self, kind: Kind, column: &str) -> String {
        match (self, kind) {
            (Self::Sqlite, _) => column.to_owned(),
            (Self::Postgres, Kind::Text) => format!("left(cast({column} AS text), {})", LONGEST + 1),
            (Self::Postgres, Kind::Flag) => {
                format!("CASE cast({column} AS text) WHEN 'true' THEN '1' WHEN 'false' THEN '0' ELSE cast({column} AS text) END")
            }
            (Self::Postgres, Kind::Number | Kind::Time) => format!("cast({column} AS text)"),
            (Self::MariaDb, Kind::Text) => format!("left(cast({column} AS char), {})", LONGEST + 1),
            (Self::MariaDb, _) => format!("cast({column} AS char)"),
        }
    }

    /// How far two points in time lie apart.
    fn seconds_between(self, one: &str, other: &str) -> String {
        match self {
            Self::Sqlite => format!("abs(julianday({one}) - julianday({other})) * 86400.0"),
            Self::Postgres => format!("abs(extract(epoch FROM ({one} - {other})))"),
            Self::MariaDb => format!("abs(timestampdiff(microsecond, {other}, {one})) / 1000000"),
        }
    }
}

/// Users, in the order of their ids.
pub(crate) fn select_users(dialect: Dialect, layout: &Layout, range: Option<Range>) -> String {
    let text = |name: &String| dialect.value(Kind::Text, &dialect.quoted(name));
    let or = |kind, name: &Option<String>, otherwise: &str| {
        name.as_ref().map_or_else(|| otherwise.to_owned(), |name| dialect.value(kind, &dialect.quoted(name)))
    };
    let (name, last_name) = match &layout.names {
        Names::None => ("NULL".to_owned(), "NULL".to_owned()),
        Names::Full(full) => (text(full), "NULL".to_owned()),
        Names::Parts(first, last) => (text(first), text(last)),
    };
    // Qualified: PostgreSQL would take the name alone for the text that is selected, and put 10 before 9.
    let id = format!("u.{}", dialect.quoted(&layout.id));
    let columns = [
        dialect.value(Kind::Number, &id),
        text(&layout.username),
        or(Kind::Text, &layout.email, "NULL"),
        name,
        last_name,
        text(&layout.password),
        or(Kind::Flag, &layout.active, "1"),
        or(Kind::Flag, &layout.staff, "0"),
        or(Kind::Flag, &layout.superuser, "0"),
        or(Kind::Text, &layout.role, "NULL"),
        or(Kind::Time, &layout.last_login, "NULL"),
        or(Kind::Time, &layout.joined, "NULL"),
    ];
    format!("SELECT {} FROM {} u{} ORDER BY {id}", columns.join(", "), dialect.quoted(&layout.table), within(&id, range))
}

/// The names of one user's groups, for SQLite.
pub(crate) fn select_groups_of_one(groups: &Groups) -> String {
    let [table, user, group] = [&groups.table, &groups.user, &groups.group].map(|name| Dialect::Sqlite.quoted(name));
    format!("SELECT g.name FROM {table} m JOIN auth_group g ON g.id = m.{group} WHERE m.{user} = ?1 ORDER BY g.name")
}

/// Users' ids and the names of their groups.
pub(crate) fn select_groups(dialect: Dialect, groups: &Groups, range: Range) -> String {
    let [table, user, group] = [&groups.table, &groups.user, &groups.group].map(|name| dialect.quoted(name));
    let columns = [dialect.value(Kind::Number, &format!("m.{user}")), dialect.value(Kind::Text, "g.name")].join(", ");
    let within = within(&format!("m.{user}"), Some(range));
    format!("SELECT {columns} FROM {table} m JOIN auth_group g ON g.id = m.{group}{within}")
}

/// Outstanding tokens, in the order of their ids.
pub(crate) fn select_tokens(dialect: Dialect, tokens: &Tokens, range: Option<Range>) -> String {
    let blacklisted = match &tokens.blacklisted {
        Some(table) => {
            format!("CASE WHEN EXISTS (SELECT 1 FROM {} b WHERE b.token_id = t.id) THEN 1 ELSE 0 END", dialect.quoted(table))
        }
        None => "0".to_owned(),
    };
    let columns = [
        dialect.value(Kind::Text, "t.jti"),
        dialect.value(Kind::Number, "t.user_id"),
        dialect.value(Kind::Time, "t.created_at"),
        dialect.value(Kind::Time, "t.expires_at"),
        blacklisted,
        // Before SimpleJWT 5.4 the row of a token that was blacklisted by its rotation does not say whose it is; the token does.
        if tokens.kept {
            format!("CASE WHEN t.user_id IS NULL THEN {} END", dialect.value(Kind::Text, "t.token"))
        } else {
            "NULL".to_owned()
        },
    ];
    format!("SELECT {} FROM {} t{} ORDER BY t.id", columns.join(", "), dialect.quoted(&tokens.outstanding), within("t.id", range))
}

/// The highest key of the next page of a table; nothing where there is none.
pub(crate) fn page_end(dialect: Dialect, table: &str, id: &str, after: i64, rows: usize) -> String {
    let (table, id) = (dialect.quoted(table), dialect.quoted(id));
    let end = dialect.value(Kind::Number, "max(p.id)");
    format!("SELECT {end} FROM (SELECT {id} AS id FROM {table} WHERE {id} > {after} ORDER BY {id} LIMIT {rows}) p")
}

/// The newest tokens themselves.
pub(crate) fn select_newest(dialect: Dialect, tokens: &Tokens) -> String {
    let token = dialect.value(Kind::Text, "token");
    format!("SELECT {token} FROM {} ORDER BY id DESC LIMIT {LOOKED_AT}", dialect.quoted(&tokens.outstanding))
}

/// How many rows a table has.
pub(crate) fn count(dialect: Dialect, table: &str) -> String {
    format!("SELECT count(*) FROM {}", dialect.quoted(table))
}

/// `unrecorded_rotations.sql` for a source.
pub(crate) fn unrecorded_rotations(dialect: Dialect, outstanding: &str, blacklisted: &str) -> String {
    include_str!("unrecorded_rotations.sql")
        .replace("{outstanding}", &dialect.quoted(outstanding))
        .replace("{blacklisted}", &dialect.quoted(blacklisted))
        .replace("{apart}", &dialect.seconds_between("new.created_at", "b.blacklisted_at"))
}

fn within(id: &str, range: Option<Range>) -> String {
    range.map(|Range(after, to)| format!(" WHERE {id} > {after} AND {id} <= {to}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_a_name_whatever_is_in_it() {
        assert_eq!(Dialect::Postgres.quoted("a\"b`c"), "\"a\"\"b`c\"");
        assert_eq!(Dialect::MariaDb.quoted("a\"b`c"), "`a\"b``c`");
    }

    #[test]
    fn l1_a_page_begins_after_the_one_before_it() {
        assert_eq!(
            page_end(Dialect::MariaDb, "auth_user", "id", 500, 500),
            "SELECT cast(max(p.id) AS char) FROM (SELECT `id` AS id FROM `auth_user` WHERE `id` > 500 ORDER BY `id` LIMIT 500) p"
        );
    }
}
