//! A field of a request as the predecessor judged it: Django REST framework's `CharField`, trimming on.
//!
//! Judged in its order: missing, null, blank once trimmed, not a text or number, characters that are not allowed. The value is handed
//! on as it was sent; who wants it trimmed says so (C1, C2).

use serde::{Serialize, Serializer, ser::SerializeMap};

/// What was sent for a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    Missing,
    Null,
    /// True, a list, an object, a file.
    NotText,
    Text(String),
}

/// What is wrong with which field, in the order of the fields.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FieldErrors<'a>(Vec<(&'a str, &'static str)>);

impl Serialize for FieldErrors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, message) in &self.0 {
            map.serialize_entry(name, &[message])?;
        }
        map.end()
    }
}

/// The values of all fields, or everything that is wrong with them.
pub(crate) fn judge<'a, const N: usize>(names: [&'a str; N], given: [Given; N]) -> Result<[String; N], FieldErrors<'a>> {
    let mut values = [const { String::new() }; N];
    let mut errors = Vec::new();
    for ((name, given), value) in names.into_iter().zip(given).zip(&mut values) {
        match judge_one(given) {
            Ok(sound) => *value = sound,
            Err(message) => errors.push((name, message)),
        }
    }
    if errors.is_empty() { Ok(values) } else { Err(FieldErrors(errors)) }
}

fn judge_one(given: Given) -> Result<String, &'static str> {
    match given {
        Given::Missing => Err("This field is required."),
        Given::Null => Err("This field may not be null."),
        Given::NotText => Err("Not a valid string."),
        Given::Text(text) if strip(&text).is_empty() => Err("This field may not be blank."),
        Given::Text(text) if strip(&text).contains('\0') => Err("Null characters are not allowed."),
        Given::Text(text) => Ok(text),
    }
}

/// Without the white space around it, as Python's `str.strip` sees it: four separators more than Unicode's White_Space.
pub(crate) fn strip(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}'))
}

/// A JSON number as the predecessor turned it into a text: `str()` of a Python int or float.
pub(crate) fn number(json: &str) -> String {
    if !json.contains(['.', 'e', 'E']) {
        return if json == "-0" { "0".to_owned() } else { json.to_owned() };
    }
    match json.parse::<f64>() {
        Ok(value) if value.is_finite() => float(value),
        Ok(value) if value < 0.0 => "-inf".to_owned(),
        _ => "inf".to_owned(),
    }
}

/// The shortest digits that read back the same, with an exponent outside of 1e-4 to 1e16.
fn float(value: f64) -> String {
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(-4..=15) => format!("{value:?}"),
        Ok(exponent) => format!("{digits}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs()),
        Err(_) => scientific,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Given {
        Given::Text(text.to_owned())
    }

    #[test]
    fn a_sound_value_is_handed_on_as_it_was_sent() {
        assert_eq!(judge(["a", "b"], [text(" x "), text("1")]), Ok([" x ".to_owned(), "1".to_owned()]));
    }

    #[test]
    fn every_field_is_judged_and_the_errors_keep_their_order() {
        let names = ["a", "b", "c", "d", "e", "f"];
        let given = [Given::Missing, Given::Null, Given::NotText, text(" \u{a0}\u{1c}"), text("a\0b"), text("sound")];
        let errors = judge(names, given).unwrap_err();
        assert_eq!(
            serde_json::to_string(&errors).unwrap(),
            r#"{"a":["This field is required."],"b":["This field may not be null."],"c":["Not a valid string."],"d":["This field may not be blank."],"e":["Null characters are not allowed."]}"#
        );
    }

    #[test]
    fn white_space_is_what_python_takes_for_it() {
        assert_eq!(strip("\u{1c}\u{1d}\u{1e}\u{1f}\u{85}\u{a0}\u{2028}\u{3000} \t\r\n\u{b}\u{c}x y\u{2003}"), "x y");
        assert_eq!(strip("\u{200b}\u{feff}"), "\u{200b}\u{feff}");
    }

    #[test]
    fn numbers_read_as_python_prints_them() {
        for (json, python) in [
            ("123456", "123456"),
            ("-0", "0"),
            ("-7", "-7"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("1.0", "1.0"),
            ("1e5", "100000.0"),
            ("1e15", "1000000000000000.0"),
            ("1e16", "1e+16"),
            ("1.5E16", "1.5e+16"),
            ("1e-4", "0.0001"),
            ("1e-5", "1e-05"),
            ("123456789.123", "123456789.123"),
            ("-0.0", "-0.0"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("1.2345e22", "1.2345e+22"),
            ("9007199254740993.0", "9007199254740992.0"),
            ("1e400", "inf"),
            ("-1e400", "-inf"),
        ] {
            assert_eq!(number(json), python);
        }
    }
}
