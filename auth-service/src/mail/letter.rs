//! A letter as mail servers take it (RFC 5322): plain text, nothing in a header that anybody typed.

use base64::{Engine, engine::general_purpose::STANDARD};
use carelink_platform::clock::Timestamp;
use lettre::{Address, address::Envelope};
use uuid::Uuid;

use crate::domain::link::Purpose;

/// The longest line of base64 in a letter.
const LINE: usize = 76;

/// What is told, and to whom.
pub(super) struct Letter<'a> {
    /// Names the letter; the same where it is sent twice.
    pub(super) id: Uuid,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) username: &'a str,
    pub(super) purpose: Purpose,
    pub(super) link: &'a str,
    pub(super) now: Timestamp,
}

impl Letter<'_> {
    /// For whom it is and what it says; none where an address is none.
    pub(super) fn encode(&self) -> Option<(Envelope, Vec<u8>)> {
        let (from, to): (Address, Address) = (self.from.parse().ok()?, self.to.parse().ok()?);
        let (subject, text) = self.text();
        let (encoding, body) =
            if text.is_ascii() && !text.contains('\r') { ("7bit", text.replace('\n', "\r\n")) } else { ("base64", wrapped(&text)) };
        let date = self.now.rfc2822();
        let headers = format!(
            "From: CareLink <{from}>\r\nTo: <{to}>\r\nSubject: {subject}\r\nDate: {date}\r\nMessage-ID: <{}@{}>\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n",
            self.id,
            from.domain(),
        );
        let envelope = Envelope::new(Some(from), vec![to]).ok()?;
        Some((envelope, [headers.into_bytes(), body.into_bytes()].concat()))
    }

    fn text(&self) -> (&'static str, String) {
        let (subject, opening, until) = match self.purpose {
            Purpose::Invitation => ("Your account", "an account was made for you. Choose your password here", "24 hours"),
            Purpose::Reset => ("Your password", "somebody, most likely you, asked for a new password. Choose it here", "one hour"),
        };
        let Self { username, link, .. } = self;
        let text = format!(
            "Hello,\n\n{opening}:\n\n{link}\n\nYour user name is: {username}\n\nThe link is good for {until}, and once. \
             If you did not expect this letter, you need not do anything.\n"
        );
        (subject, text)
    }
}

fn wrapped(text: &str) -> String {
    let encoded = STANDARD.encode(text.replace('\n', "\r\n"));
    encoded.as_bytes().chunks(LINE).map(|line| format!("{}\r\n", String::from_utf8_lossy(line))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter<'a>(to: &'a str, username: &'a str) -> Letter<'a> {
        Letter {
            id: Uuid::from_u128(7),
            from: "no-reply@clinic.example",
            to,
            username,
            purpose: Purpose::Reset,
            link: "https://clinic.example/p#abc",
            now: Timestamp::from_secs(1_800_000_000),
        }
    }

    #[test]
    fn a_letter_says_what_it_is_for_and_has_the_link_on_a_line_of_its_own() {
        let (envelope, text) = letter("amina@clinic.example", "amina").encode().unwrap();
        assert_eq!(envelope.to()[0].to_string(), "amina@clinic.example");
        let text = String::from_utf8(text).unwrap();
        assert!(text.contains("\r\nhttps://clinic.example/p#abc\r\n") && text.contains("user name is: amina\r\n"));
        assert!(text.contains("Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n"), "{text}");
        assert!(text.split("\r\n").all(|line| line.len() < 998 && !line.contains('\n')));
    }

    #[test]
    fn what_somebody_typed_is_in_no_header_and_survives_any_server() {
        let (_, text) = letter("amina@clinic.example", "ämina\r\nBcc: all@clinic.example").encode().unwrap();
        let text = String::from_utf8(text).unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(text.is_ascii() && !headers.contains("Bcc"));
        let body = STANDARD.decode(body.replace("\r\n", "")).unwrap();
        assert!(String::from_utf8(body).unwrap().contains("ämina"));
    }

    #[test]
    fn no_letter_goes_to_what_is_no_address() {
        for to in ["", "amina", "amina@clinic.example\r\nRCPT TO: <all@clinic.example>", "a@b, c@d", "<a@b>"] {
            assert!(letter(to, "amina").encode().is_none(), "{to}");
        }
    }
}
