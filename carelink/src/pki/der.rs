//! Reading back what a certificate says: names, validity, who made it. Nothing is verified here; whoever trusts, verifies.

use carelink_platform::clock::Timestamp;
use time::{Date, Month, PrimitiveDateTime, Time};

/// A certificate's own words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// In hexadecimal.
    pub(super) serial: String,
    /// The common name of whoever signed it.
    pub(super) issuer: String,
    /// Its own common name.
    pub(super) subject: String,
    /// Valid from.
    pub(super) not_before: Timestamp,
    /// Valid until.
    pub(super) not_after: Timestamp,
    /// Its DNS names, in their order.
    pub(super) names: Vec<String>,
    /// Its addresses.
    pub(super) addresses: Vec<Vec<u8>>,
}

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERAL_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const ADDRESS: u8 = 0x87;
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];

impl Certificate {
    /// Reads DER; none where it is no X.509 certificate.
    pub(super) fn read(der: &[u8]) -> Option<Self> {
        let mut outer = Elements(der);
        let mut certificate = Elements(outer.expect(SEQUENCE)?);
        let mut signed = Elements(certificate.expect(SEQUENCE)?);
        let (mut tag, mut value) = signed.next()?;
        if tag == VERSION {
            (tag, value) = signed.next()?;
        }
        let serial = (tag == INTEGER).then(|| hex::encode(value))?;
        signed.expect(SEQUENCE)?; // the algorithm
        let issuer = common_name(signed.expect(SEQUENCE)?);
        let mut validity = Elements(signed.expect(SEQUENCE)?);
        let (not_before, not_after) = (moment(validity.next()?)?, moment(validity.next()?)?);
        let subject = common_name(signed.expect(SEQUENCE)?);
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        for (tag, value) in alternatives(signed).unwrap_or_default() {
            match tag {
                DNS_NAME => names.push(String::from_utf8_lossy(value).into_owned()),
                ADDRESS => addresses.push(value.to_vec()),
                _ => {}
            }
        }
        Some(Self { serial, issuer, subject, not_before, not_after, names, addresses })
    }
}

/// The elements of a constructed value, one after the other.
#[derive(Clone, Copy)]
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next().filter(|(tag, _)| *tag == wanted).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (&[tag, first], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match first {
            0..0x80 => (usize::from(first), rest),
            _ => {
                let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (digits.iter().try_fold(0_usize, |length, digit| length.checked_mul(256)?.checked_add(usize::from(*digit)))?, rest)
            }
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, value))
    }
}

fn common_name(name: &[u8]) -> String {
    let attribute = |set: &[u8]| {
        let mut attribute = Elements(Elements(set).expect(SEQUENCE)?);
        let value = (attribute.expect(OID)? == COMMON_NAME).then(|| attribute.next())??;
        Some(String::from_utf8_lossy(value.1).into_owned())
    };
    Elements(name).find_map(|(_, set)| attribute(set)).unwrap_or_default()
}

/// The alternative names behind the public key, as tags and values.
fn alternatives(mut signed: Elements<'_>) -> Option<Vec<(u8, &[u8])>> {
    let (_, extensions) = signed.find(|(tag, _)| *tag == EXTENSIONS)?;
    let found = Elements(Elements(extensions).expect(SEQUENCE)?).find_map(|(_, extension)| {
        let mut parts = Elements(extension);
        (parts.expect(OID)? == ALTERNATIVE_NAMES).then(|| parts.find(|(tag, _)| *tag == OCTETS))?
    })?;
    Some(Elements(Elements(found.1).expect(SEQUENCE)?).collect())
}

/// `YYMMDDHHMMSSZ` up to 2049, with four digits of the year from then on.
fn moment((tag, text): (u8, &[u8])) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i32 = year.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        GENERAL_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    let number = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(number(0)?).ok()?, number(2)?).ok()?;
    let time = Time::from_hms(number(4)?, number(6)?, number(8)?).ok()?;
    Some(Timestamp::from_secs(PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_both_forms_are_read() {
        let secs = |tag, text: &[u8]| moment((tag, text)).map(|at| at.to_string());
        assert_eq!(secs(UTC_TIME, b"261124110000Z").as_deref(), Some("2026-11-24T11:00:00Z"));
        assert_eq!(secs(UTC_TIME, b"991231235959Z").as_deref(), Some("1999-12-31T23:59:59Z"));
        assert_eq!(secs(GENERAL_TIME, b"20501231235959Z").as_deref(), Some("2050-12-31T23:59:59Z"));
        assert_eq!(secs(UTC_TIME, b"261324110000Z"), None);
    }

    #[test]
    fn what_is_no_certificate_is_not_read() {
        for bytes in [&[][..], &[0x30], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x30, 0x02, 0x30, 0x00], b"garbage"] {
            assert_eq!(Certificate::read(bytes), None);
        }
    }
}
