//! What a new password must be (C7, NIST 800-63B-4 3.1.1.2): long, and not one that is tried first. No rules of composition.

use std::{collections::HashSet, sync::LazyLock};

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The longest password. At four bytes a character 256 fit, twice what must be accepted.
pub const MAX_PASSWORD_BYTES: usize = 1_024;
const SERVICE_NAME: &str = "carelink";
/// A password made of a unit this short, over and over, is no longer than its unit.
const MAX_REPEATED_UNIT: usize = 8;
/// What is appended to a known word before it counts as another one.
const MAX_DECORATION: usize = 8;

static BLOCKLIST: LazyLock<HashSet<&str>> =
    LazyLock::new(|| include_str!("blocklist.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect());

/// Rows of keys, that fingers run along.
const KEYBOARD: [&str; 5] =
    ["1234567890", "qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn", "abcdefghijklmnopqrstuvwxyz"];

/// Why a new password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefused {
    /// Below the configured length.
    #[error("at least {0} characters are needed; a few words will do")]
    TooShort(usize),
    /// Above [`MAX_PASSWORD_BYTES`].
    #[error("at most {MAX_PASSWORD_BYTES} bytes can be used")]
    TooLong,
    /// One of those tried first.
    #[error("it is on the list of passwords that are tried first")]
    Common,
    /// A few characters over and over.
    #[error("it is a few characters over and over")]
    Repeated,
    /// Characters in their order on the keyboard or in the alphabet.
    #[error("it runs along the keyboard or the alphabet")]
    Sequence,
    /// The user's or the service's name with little besides.
    #[error("it is a name, the user's or the service's, with little besides")]
    Name,
}

/// Who the password is for: what somebody who knows them would try.
#[derive(Clone, Copy, Debug, Default)]
pub struct Owner<'a> {
    /// Their user name.
    pub username: &'a str,
    /// Their e-mail address, if any.
    pub email: &'a str,
    /// Their name, if known.
    pub full_name: &'a str,
}

/// A password that may be set, in the form that is hashed (C2): NFC.
pub struct NewPassword(Zeroizing<String>);

impl NewPassword {
    /// Judges a password as typed.
    pub fn new(typed: &str, min_length: usize, owner: Owner<'_>) -> Result<Self, PasswordRefused> {
        if typed.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordRefused::TooLong);
        }
        let password = Zeroizing::new(nfc(typed));
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(PasswordRefused::TooLong);
        }
        if password.chars().count() < min_length {
            return Err(PasswordRefused::TooShort(min_length));
        }
        let plain = Zeroizing::new(plain(&password));
        if BLOCKLIST.contains(plain.as_str()) {
            return Err(PasswordRefused::Common);
        }
        if repeats(&password.to_lowercase()) {
            return Err(PasswordRefused::Repeated);
        }
        if runs(&plain) {
            return Err(PasswordRefused::Sequence);
        }
        if is_name(&plain, owner) {
            return Err(PasswordRefused::Name);
        }
        Ok(Self(password))
    }

    /// The bytes to hash.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// How a stored hash's password was prepared (C2); `users.password_form`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordForm {
    /// As received.
    Raw,
    /// Normalized to NFC.
    Nfc,
}

impl PasswordForm {
    /// As the database keeps it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Nfc => "nfc",
        }
    }

    /// As the database kept it.
    pub fn read(text: &str) -> Self {
        if text == "nfc" { Self::Nfc } else { Self::Raw }
    }
}

/// What to try for a password as received (C2): itself, and trimmed where that is asked for and changes it; each in its row's form.
pub fn tries(received: &str, trim: bool, form: PasswordForm) -> Vec<Zeroizing<Vec<u8>>> {
    let prepared = |text: &str| {
        Zeroizing::new(match form {
            PasswordForm::Raw => text.as_bytes().to_vec(),
            PasswordForm::Nfc => nfc(text).into_bytes(),
        })
    };
    let trimmed = super::names::trim(received);
    let mut tries = vec![prepared(received)];
    if trim && trimmed != received {
        tries.push(prepared(trimmed));
    }
    tries
}

fn nfc(text: &str) -> String {
    text.nfc().collect()
}

/// Lower case, letters and digits only: the form of the blocklist.
fn plain(text: &str) -> String {
    text.chars().filter(|character| character.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Whether a short unit makes up the whole.
fn repeats(text: &str) -> bool {
    let characters: Vec<char> = text.chars().collect();
    (1..=MAX_REPEATED_UNIT.min(characters.len() / 2))
        .any(|unit| characters.iter().zip(characters.iter().skip(unit)).all(|(one, next)| one == next))
}

/// Whether the whole runs along a row of keys or the alphabet, up or down, from wherever it begins.
fn runs(plain: &str) -> bool {
    let characters: Vec<char> = plain.chars().collect();
    let step = |direction: i64| {
        characters
            .iter()
            .zip(characters.iter().skip(1))
            .all(|(one, next)| i64::from(u32::from(*next)) - i64::from(u32::from(*one)) == direction)
    };
    let backwards: String = plain.chars().rev().collect();
    characters.len() > 1 && (step(1) || step(-1) || KEYBOARD.iter().any(|row| along(row, plain) || along(row, &backwards)))
}

/// Whether `text` is the row, going round at its end.
fn along(row: &str, text: &str) -> bool {
    row.repeat(2 + text.len() / row.len()).contains(text)
}

/// Whether a known name makes up the whole, but for a few characters before or after it.
fn is_name(plain_password: &str, owner: Owner<'_>) -> bool {
    let local = owner.email.split('@').next().unwrap_or_default();
    let names = [owner.username, owner.email, local, owner.full_name, SERVICE_NAME].map(plain);
    names.iter().filter(|name| name.chars().count() >= 3).any(|name| {
        let mut rest = plain_password.replace(name.as_str(), "");
        if rest.len() == plain_password.len() {
            return false;
        }
        for other in names.iter().filter(|other| other.chars().count() >= 3) {
            rest = rest.replace(other.as_str(), "");
        }
        rest.chars().count() <= MAX_DECORATION && rest.chars().all(|character| character.is_numeric()) || rest.chars().count() <= 2
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(password: &str) -> Option<PasswordRefused> {
        let owner = Owner { username: "amina21", email: "amina.haddad@carelink.example", full_name: "Amina Haddad" };
        NewPassword::new(password, 15, owner).err()
    }

    #[test]
    fn c7_fifteen_code_points_are_enough_whatever_they_are() {
        assert_eq!(refused("night vitals 21"), None);
        assert_eq!(refused("night vitals 2"), Some(PasswordRefused::TooShort(15)));
        assert_eq!(refused("看護крепкий🩺 wardé"), None);
        assert_eq!(refused("               \u{e9}\u{e8}\u{ea}"), None, "spaces count like any other character");
        assert_eq!(NewPassword::new("night 21", 8, Owner::default()).err(), None, "8 where a second factor is");
        let e_acute = "e\u{301}";
        assert_eq!(refused(&format!("caf{e_acute} caf{e_acute} puls")), Some(PasswordRefused::TooShort(15)), "counted as it is hashed");
    }

    #[test]
    fn c7_at_least_128_characters_are_accepted_and_a_megabyte_is_not() {
        let long: String = (0..128_u32).filter_map(|n| char::from_u32(0x1F300 + n * 7 % 256)).collect();
        assert_eq!(long.chars().count(), 128);
        assert_eq!(refused(&long), None);
        assert_eq!(refused(&"night vitals ".repeat(80_000)), Some(PasswordRefused::TooLong));
        assert_eq!(refused(&"\u{1D160}".repeat(200)), Some(PasswordRefused::TooLong), "NFC makes it longer");
    }

    #[test]
    fn c7_the_whole_is_compared_with_what_is_tried_first() {
        for common in ["PasswordPassword", "Correct Horse Battery Staple", "1qaz-2wsx-3edc-4rfv", "I love you, I love you"] {
            assert_eq!(refused(common), Some(PasswordRefused::Common), "{common}");
        }
        assert_eq!(refused("PasswordPassword on the night shift"), None, "only the whole counts");
        assert!(BLOCKLIST.iter().all(|line| plain(line) == **line));
    }

    #[test]
    fn c7_what_is_long_only_by_repetition_or_order_is_refused() {
        for text in
            ["aaaaaaaaaaaaaaaaaaa", "nightnightnightnight", "abab abab abab abab ", "🩺🩺🩺🩺🩺🩺🩺🩺🩺🩺🩺🩺🩺🩺🩺", "Ward7!Ward7!Ward7!"]
        {
            assert_eq!(refused(text), Some(PasswordRefused::Repeated), "{text}");
        }
        for text in
            ["345678901234567890", "qwertyuiopasdfghj", "lkjhgfdsa poiuytrewq", "bcdefghijklmnopq", "zyxwvutsrqponmlk", "АБВГДЕЖЗИЙКЛМНОП"]
        {
            assert!(matches!(refused(text), Some(PasswordRefused::Sequence | PasswordRefused::TooShort(_))), "{text}");
        }
    }

    #[test]
    fn c7_a_name_with_little_besides_is_refused() {
        for text in ["AminaHaddad12345", "amina21amina21!", "carelink-2026-01!", "amina.haddad@carelink.example", "CareLink Amina Haddad"] {
            assert_eq!(refused(text), Some(PasswordRefused::Name), "{text}");
        }
        assert_eq!(refused("amina likes the night shift"), None);
    }

    #[test]
    fn c2_a_password_is_tried_as_received_and_trimmed_only_where_that_changes_it() {
        let tried =
            |received, trim, form| tries(received, trim, form).iter().map(|t| String::from_utf8(t.to_vec()).unwrap()).collect::<Vec<_>>();
        assert_eq!(tried(" ward ", true, PasswordForm::Raw), [" ward ", "ward"]);
        assert_eq!(tried(" ward ", false, PasswordForm::Raw), [" ward "]);
        assert_eq!(tried("ward", true, PasswordForm::Raw), ["ward"]);
        assert_eq!(tried("e\u{301}", true, PasswordForm::Raw), ["e\u{301}"]);
        assert_eq!(tried("e\u{301}", true, PasswordForm::Nfc), ["\u{e9}"]);
    }
}
