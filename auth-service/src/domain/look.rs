//! What a name looks like: of two that look alike only one is given away (UTS 39). Names themselves are never folded (C1).

use unicode_normalization::UnicodeNormalization;
use unicode_security::confusable_detection::skeleton;

/// Two names that look alike have the same look: compatible forms, cases and confusable characters are one.
pub fn look(name: &str) -> String {
    let folded = folded(name.nfkc());
    folded_str(&skeleton(&folded).collect::<String>())
}

fn folded_str(text: &str) -> String {
    folded(text.nfkc())
}

/// Case folded by each character alone: upper case first, which spells out what has none of its own.
fn folded(text: impl Iterator<Item = char>) -> String {
    text.flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c1_names_that_look_alike_have_one_look() {
        for (one, other) in [
            ("amina", "Amina"),
            ("amina", "\u{430}mina"), // Cyrillic
            ("amina", "ａｍｉｎａ"),  // full width
            ("stra\u{df}e", "STRASSE"),
            ("caf\u{e9}", "cafe\u{301}"),
            ("mod", "rnod"),
            ("o2", "02"),
            ("\u{3a3}\u{3af}\u{3c2}", "\u{3c3}\u{3af}\u{3c3}"), // final sigma
        ] {
            assert_eq!(look(one), look(other), "{one} {other}");
        }
        for (one, other) in [("amina", "amine"), ("amina", "amina2"), ("amina1", "amina2"), ("bjorn", "bj\u{f6}rn")] {
            assert_ne!(look(one), look(other), "{one} {other}");
        }
    }
}
