//! Names as people type them and as they are kept (C1): compared byte for byte, never folded.

use std::fmt;

/// The longest name: more than Django's 150 and any e-mail address.
pub const MAX_NAME_CHARACTERS: usize = 254;

/// A user's name. Says nothing about itself in a log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserName(String);

/// A name that cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing is left of it.
    #[error("a name needs at least one character")]
    Empty,
    /// Longer than [`MAX_NAME_CHARACTERS`].
    #[error("a name has at most {MAX_NAME_CHARACTERS} characters")]
    TooLong,
    /// A control character, which no terminal and no form could type.
    #[error("a name has no control characters")]
    Control,
    /// White space at either end, which a sign-in that trims would never match.
    #[error("a name neither begins nor ends with white space")]
    Surrounded,
}

impl UserName {
    /// A name for a user made here.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text != trim(text) {
            return Err(NameError::Surrounded);
        }
        if text.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        Self::imported(text)
    }

    /// A name as a predecessor has it: taken as it is, unless no database could.
    pub fn imported(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.contains('\0') {
            return Err(NameError::Control);
        }
        if text.chars().count() > MAX_NAME_CHARACTERS {
            return Err(NameError::TooLong);
        }
        Ok(Self(text.to_owned()))
    }

    /// The same name, told apart by its source (L1).
    pub fn qualified(&self, source: &str) -> Result<Self, NameError> {
        Self::imported(&format!("{}@{source}", self.0))
    }

    /// The name itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserName(..)")
    }
}

/// Drops what Django REST framework drops from both ends: what Python's `str.strip` takes for white space.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|character: char| character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character))
}

/// An e-mail address or a person's name as it is kept: trimmed, or none where no database or screen should hold it.
pub fn profile_text(text: &str) -> Option<String> {
    let text = trim(text);
    (text.chars().count() <= MAX_NAME_CHARACTERS && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// Whether anybody could have this name: what cannot is looked up nowhere.
pub fn possible(text: &str) -> bool {
    UserName::imported(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c1_names_compare_byte_for_byte() {
        let name = |text| UserName::imported(text).unwrap();
        assert_ne!(name("amina"), name("Amina"));
        assert_ne!(name("amina"), name("amina "));
        assert_ne!(name("\u{e9}"), name("e\u{301}"), "no normalization either");
    }

    #[test]
    fn c1_trimming_is_pythons() {
        assert_eq!(trim(" \t\u{a0}\u{1c}\u{3000}amina\u{2028}\u{85}\u{1f}\r\n"), "amina");
        assert_eq!(trim("\u{200b}amina\u{feff}"), "\u{200b}amina\u{feff}", "neither is white space in Python");
        assert_eq!(trim("a b"), "a b");
    }

    #[test]
    fn a_new_name_can_be_typed_and_an_imported_one_is_kept_as_it_is() {
        assert_eq!(UserName::new(" amina"), Err(NameError::Surrounded));
        assert_eq!(UserName::new("ami\u{7}na"), Err(NameError::Control));
        assert_eq!(UserName::new(""), Err(NameError::Empty));
        assert_eq!(UserName::new(&"\u{1f469}".repeat(255)), Err(NameError::TooLong));
        assert!(UserName::new("O'Neil+ward@carelink.example").is_ok());
        assert!(UserName::imported(" amina").is_ok());
        assert_eq!(UserName::imported("a\0b"), Err(NameError::Control));
    }

    #[test]
    fn l1_a_qualified_name_carries_its_source() {
        assert_eq!(UserName::new("amina").unwrap().qualified("east").unwrap().as_str(), "amina@east");
        assert!(UserName::new(&"a".repeat(254)).unwrap().qualified("east").is_err());
    }

    #[test]
    fn a_name_does_not_show_itself_in_a_log() {
        assert_eq!(format!("{:?}", UserName::new("amina").unwrap()), "UserName(..)");
    }
}
