//! Judges one row: what a user or token must have to be handed over. What a row lacks is its reason to be refused.
//!
//! The values come as [`Cell`]s, whatever database they are from.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use carelink_platform::clock::Timestamp;
use carelink_proto::auth::LegacyUser;
use prost::Message;
use serde::Deserialize;

use super::{SourceToken, texts::Kind};
use crate::{datetime, report::RefusedUser};

/// The most that one value, and that one row may have; what Django writes stays far below.
pub(crate) const LONGEST: usize = 64 * 1024;
/// Django's own bound on `jti`.
const LONGEST_JTI: usize = 255;
/// The first id that is too large (U4).
const TOO_LARGE: i64 = 1 << 31;
/// How Django marks that nobody can sign in with a password.
const UNUSABLE: &str = "!";

/// A value of the source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Text(String),
    /// Longer than [`LONGEST`]; not even copied.
    TooLong,
    /// What no column read here holds: bytes, a fraction, text that is not UTF-8.
    Other,
}

impl Cell {
    /// What a server says in text.
    pub(crate) fn of_text(bytes: &[u8]) -> Self {
        if bytes.len() > LONGEST {
            return Self::TooLong;
        }
        std::str::from_utf8(bytes).map_or(Self::Other, |text| Self::Text(text.to_owned()))
    }

    /// Read as what its column is there for; a flag also as MySQL's BIT, which is a byte.
    pub(crate) fn read_as(self, kind: Kind) -> Self {
        match (kind, self) {
            (Kind::Number | Kind::Flag, Self::Text(text)) => match (kind, text.as_str()) {
                (Kind::Flag, "\0") => Self::Integer(0),
                (Kind::Flag, "\u{1}") => Self::Integer(1),
                _ => text.parse().map_or(Self::Text(text), Self::Integer),
            },
            (_, cell) => cell,
        }
    }

    /// Text, or a whole number as text; nothing is empty.
    fn text(self) -> Result<String, &'static str> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Integer(number) => Ok(number.to_string()),
            Self::Null => Ok(String::new()),
            Self::TooLong => Err("too_long"),
            Self::Other => Err("text_malformed"),
        }
    }

    /// A boolean as Django writes it; nothing is no.
    fn flag(&self) -> Result<bool, &'static str> {
        match self {
            Self::Null | Self::Integer(0) => Ok(false),
            Self::Integer(1) => Ok(true),
            _ => Err("flag_malformed"),
        }
    }

    /// A point in time; nothing is never.
    fn time(&self) -> Result<Timestamp, &'static str> {
        match self {
            Self::Null => Ok(Timestamp::ZERO),
            Self::Text(text) => datetime::parse(text).ok_or("date_malformed"),
            _ => Err("date_malformed"),
        }
    }
}

/// A user's row.
#[derive(Debug)]
pub(crate) struct UserCells {
    pub(crate) id: Cell,
    pub(crate) username: Cell,
    pub(crate) email: Cell,
    pub(crate) name: Cell,
    pub(crate) last_name: Cell,
    pub(crate) password: Cell,
    pub(crate) active: Cell,
    pub(crate) staff: Cell,
    pub(crate) superuser: Cell,
    pub(crate) role: Cell,
    pub(crate) last_login: Cell,
    pub(crate) joined: Cell,
    pub(crate) groups: Vec<Cell>,
}

impl UserCells {
    /// The values that `select_users` selects, in its order, and the names of groups.
    pub(crate) fn of(cells: Vec<Cell>, groups: Vec<Cell>) -> Self {
        let mut cells = cells.into_iter();
        let mut next = || cells.next().unwrap_or(Cell::Null);
        Self {
            id: next(),
            username: next(),
            email: next(),
            name: next(),
            last_name: next(),
            password: next(),
            active: next(),
            staff: next(),
            superuser: next(),
            role: next(),
            last_login: next(),
            joined: next(),
            groups,
        }
    }

    /// The user, or why there is none.
    pub(crate) fn read(self) -> Result<LegacyUser, RefusedUser> {
        let legacy_id = if let Cell::Integer(id) = self.id { Some(id) } else { None };
        let username = if let Cell::Text(name) = &self.username { Some(name.clone()) } else { None };
        let hasher = hasher(&self.password);
        self.decode().map_err(|reason| RefusedUser { legacy_id, username, hasher: hasher.into(), reason: reason.into() })
    }

    fn decode(self) -> Result<LegacyUser, &'static str> {
        let user = LegacyUser {
            legacy_id: legacy_id(&self.id).ok_or("id_invalid")?.into(),
            username: Some(self.username.text()?).filter(|name| !name.is_empty()).ok_or("username_missing")?,
            email: self.email.text()?,
            full_name: join(self.name.text()?, self.last_name.text()?),
            password_hash: if self.password == Cell::Null { UNUSABLE.into() } else { self.password.text()? },
            active: self.active.flag()?,
            staff: self.staff.flag()?,
            superuser: self.superuser.flag()?,
            roles: roles(self.groups, self.role)?,
            last_login_us: self.last_login.time()?.as_micros(),
            joined_us: self.joined.time()?.as_micros(),
        };
        if user.encoded_len() > LONGEST { Err("too_long") } else { Ok(user) }
    }
}

/// A token's row.
#[derive(Debug)]
pub(crate) struct TokenCells {
    pub(crate) jti: Cell,
    pub(crate) user: Cell,
    pub(crate) created: Cell,
    pub(crate) expires: Cell,
    pub(crate) blacklisted: Cell,
    /// The token itself, where its row does not say whose it is.
    pub(crate) token: Cell,
}

impl TokenCells {
    /// The values that `select_tokens` selects, in its order.
    pub(crate) fn of(cells: Vec<Cell>) -> Self {
        let mut cells = cells.into_iter();
        let mut next = || cells.next().unwrap_or(Cell::Null);
        Self { jti: next(), user: next(), created: next(), expires: next(), blacklisted: next(), token: next() }
    }

    /// The token, or why there is none.
    pub(crate) fn read(self) -> Result<SourceToken, &'static str> {
        if self.expires == Cell::Null {
            return Err("date_malformed");
        }
        Ok(SourceToken {
            jti: Some(self.jti.text()?).filter(|jti| !jti.is_empty() && jti.len() <= LONGEST_JTI).ok_or("jti_malformed")?,
            holder: legacy_id(&self.user).or_else(|| claimed(&self.token)),
            created: self.created.time()?,
            expires: self.expires.time()?,
            blacklisted: self.blacklisted.flag()?,
        })
    }
}

fn legacy_id(cell: &Cell) -> Option<u32> {
    match cell {
        Cell::Integer(id @ 1..TOO_LARGE) => u32::try_from(*id).ok(),
        _ => None,
    }
}

/// Whom a token names, whoever signed it: it is in the source's own table.
fn claimed(token: &Cell) -> Option<u32> {
    #[derive(Deserialize)]
    struct Claims {
        user_id: serde_json::Value,
    }
    let Cell::Text(token) = token else { return None };
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let id = serde_json::from_slice::<Claims>(&payload).ok()?.user_id;
    let id = id.as_i64().or_else(|| id.as_str().and_then(|id| id.parse().ok()))?;
    legacy_id(&Cell::Integer(id))
}

fn join(first: String, last: String) -> String {
    match (first.is_empty(), last.is_empty()) {
        (_, true) => first,
        (true, false) => last,
        (false, false) => format!("{first} {last}"),
    }
}

/// Groups and the role column, each once.
fn roles(groups: Vec<Cell>, column: Cell) -> Result<Vec<String>, &'static str> {
    let mut roles = Vec::with_capacity(groups.len() + 1);
    for cell in groups.into_iter().chain([column]) {
        let role = cell.text()?;
        if !role.is_empty() && !roles.contains(&role) {
            roles.push(role);
        }
    }
    Ok(roles)
}

/// How a hash calls itself, for the report on rows that no service sees.
fn hasher(password: &Cell) -> &'static str {
    const KNOWN: [&str; 7] = ["argon2", "pbkdf2_sha256", "pbkdf2_sha1", "bcrypt_sha256", "bcrypt", "scrypt", "md5"];
    match password {
        Cell::Null => "unusable",
        Cell::Text(encoded) if encoded.starts_with(UNUSABLE) => "unusable",
        Cell::Text(encoded) => {
            let name = encoded.split('$').next().unwrap_or_default();
            KNOWN.into_iter().find(|known| *known == name).unwrap_or("unknown")
        }
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell {
        Cell::Text(text.into())
    }

    fn amina() -> UserCells {
        UserCells {
            id: Cell::Integer(21),
            username: text("amina21"),
            email: text("amina@carelink.example"),
            name: text("Amina"),
            last_name: text("Nguyễn"),
            password: text("md5$salt$00"),
            active: Cell::Integer(1),
            staff: Cell::Integer(0),
            superuser: Cell::Integer(0),
            role: text("nurse"),
            last_login: Cell::Null,
            joined: text("2019-03-18 06:36:54"),
            groups: vec![text("doctor"), text("nurse")],
        }
    }

    fn reason(cells: UserCells) -> String {
        cells.read().unwrap_err().reason
    }

    #[test]
    fn l1_a_row_becomes_a_user_with_groups_and_role_column_as_roles() {
        let user = amina().read().unwrap();
        assert_eq!((user.legacy_id, user.username.as_str(), user.full_name.as_str()), (21, "amina21", "Amina Nguyễn"));
        assert_eq!(user.roles, ["doctor", "nurse"]);
        assert_eq!((user.last_login_us, user.joined_us), (0, 1_552_891_014_000_000));
        assert!(user.active && !user.staff && !user.superuser);
    }

    #[test]
    fn l1_what_a_server_says_in_text_is_read_as_what_the_column_is_for() {
        let read = |kind, said: &str| Cell::of_text(said.as_bytes()).read_as(kind);
        assert_eq!([read(Kind::Number, "7"), read(Kind::Flag, "1"), read(Kind::Flag, "\0")], [7, 1, 0].map(Cell::Integer));
        assert_eq!([read(Kind::Number, "x"), read(Kind::Flag, "yes"), read(Kind::Text, "1")], ["x", "yes", "1"].map(text));
        assert_eq!((Cell::of_text(&[0xff]), Cell::of_text(&[b'x'; LONGEST + 1])), (Cell::Other, Cell::TooLong));
        assert_eq!(Cell::of_text(&[b'x'; LONGEST]), text(&"x".repeat(LONGEST)));
    }

    #[test]
    fn l1_a_malformed_row_is_refused_with_its_reason() {
        for id in [Cell::Integer(0), Cell::Integer(-1), Cell::Integer(1 << 31), Cell::Integer(i64::MIN), Cell::Null, text("7"), Cell::Other]
        {
            assert_eq!(reason(UserCells { id, ..amina() }), "id_invalid");
        }
        for username in [Cell::Null, text("")] {
            assert_eq!(reason(UserCells { username, ..amina() }), "username_missing");
        }
        assert_eq!(reason(UserCells { username: Cell::Other, ..amina() }), "text_malformed");
        assert_eq!(reason(UserCells { email: Cell::TooLong, ..amina() }), "too_long");
        assert_eq!(reason(UserCells { groups: vec![text(&"r".repeat(LONGEST))], ..amina() }), "too_long");
        for active in [text("yes"), Cell::Integer(2), Cell::Other] {
            assert_eq!(reason(UserCells { active, ..amina() }), "flag_malformed");
        }
        for last_login in [text("yesterday"), Cell::Integer(1_749_880_800), text("")] {
            assert_eq!(reason(UserCells { last_login, ..amina() }), "date_malformed");
        }
    }

    #[test]
    fn l1_a_refused_row_still_says_whose_it_was() {
        let refused = UserCells { joined: text("?"), password: text("scrypt$x"), ..amina() }.read().unwrap_err();
        assert_eq!((refused.legacy_id, refused.username.as_deref(), refused.hasher.as_str()), (Some(21), Some("amina21"), "scrypt"));
        assert_eq!(UserCells { id: Cell::Null, password: text("!x"), ..amina() }.read().unwrap_err().hasher, "unusable");
        assert_eq!(UserCells { id: Cell::Null, password: text("plain"), ..amina() }.read().unwrap_err().hasher, "unknown");
    }

    #[test]
    fn l1_nothing_in_a_nullable_column_means_no_and_never() {
        let user = UserCells { active: Cell::Null, password: Cell::Null, email: Cell::Null, joined: Cell::Null, ..amina() }.read().unwrap();
        assert!(!user.active);
        assert_eq!((user.password_hash.as_str(), user.email.as_str(), user.joined_us), ("!", "", 0));
    }

    #[test]
    fn l1_a_name_that_is_a_number_is_its_digits() {
        assert_eq!(UserCells { username: Cell::Integer(491_701), ..amina() }.read().unwrap().username, "491701");
    }

    #[test]
    fn l3_a_token_row_needs_a_jti_and_an_end() {
        let token = || TokenCells {
            jti: text("93f5"),
            user: Cell::Integer(1),
            created: Cell::Null,
            expires: text("2040-01-01 00:00:00"),
            blacklisted: Cell::Integer(1),
            token: Cell::Null,
        };
        let read = token().read().unwrap();
        assert_eq!((read.holder, read.created, read.blacklisted), (Some(1), Timestamp::ZERO, true));
        assert_eq!(TokenCells { user: Cell::Null, ..token() }.read().unwrap().holder, None);
        assert_eq!(TokenCells { user: Cell::Integer(1 << 31), ..token() }.read().unwrap().holder, None);
        let named = |claims: &str| text(&format!("e30.{}.x", URL_SAFE_NO_PAD.encode(claims)));
        for (claims, holder) in
            [(r#"{"user_id":7}"#, Some(7)), (r#"{"user_id":"7"}"#, Some(7)), (r#"{"user_id":"-7"}"#, None), ("{}", None)]
        {
            let (user, token_itself) = (Cell::Null, named(claims));
            assert_eq!(TokenCells { user, token: token_itself, ..token() }.read().unwrap().holder, holder, "{claims}");
        }
        for jti in [Cell::Null, text(""), text(&"j".repeat(256))] {
            assert_eq!(TokenCells { jti, ..token() }.read(), Err("jti_malformed"));
        }
        for expires in [Cell::Null, text("never"), Cell::Integer(1)] {
            assert_eq!(TokenCells { expires, ..token() }.read(), Err("date_malformed"));
        }
    }
}
