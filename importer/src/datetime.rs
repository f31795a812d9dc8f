//! Django's `datetime` columns as text, in UTC, with or without microseconds: as they are in SQLite, and as servers say them.

use carelink_platform::clock::Timestamp;
use time::{PrimitiveDateTime, format_description::BorrowedFormatItem, macros::format_description};

const SPACED: &[BorrowedFormatItem<'_>] =
    format_description!(version = 2, "[year]-[month]-[day] [hour]:[minute]:[second][optional [.[subsecond]]]");
const JOINED: &[BorrowedFormatItem<'_>] =
    format_description!(version = 2, "[year]-[month]-[day]T[hour]:[minute]:[second][optional [.[subsecond]]]");

/// Reads `YYYY-MM-DD HH:MM:SS[.ffffff]`, also with `T`, and with `Z`, `+00` or `+00:00` behind it.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    let text = ["+00:00", "+00", "Z"].iter().find_map(|utc| text.strip_suffix(utc)).unwrap_or(text);
    let at = PrimitiveDateTime::parse(text, SPACED).or_else(|_| PrimitiveDateTime::parse(text, JOINED)).ok()?;
    let micros = at.assume_utc().unix_timestamp_nanos() / 1_000;
    i64::try_from(micros).ok().map(Timestamp::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l3_a_datetime_reads_as_django_wrote_it() {
        for (text, micros) in [
            ("2025-06-14 06:00:00", 1_749_880_800_000_000),
            ("2025-06-14 06:00:00.250001", 1_749_880_800_250_001),
            ("2025-06-14 06:00:00.5", 1_749_880_800_500_000),
            ("2025-06-14T06:00:00Z", 1_749_880_800_000_000),
            ("2025-06-14 06:00:00+00:00", 1_749_880_800_000_000),
            ("2025-06-14 06:00:00.25+00", 1_749_880_800_250_000),
            ("2040-01-01 00:00:00", 2_208_988_800_000_000),
            ("1969-12-31 23:59:59", -1_000_000),
            ("2024-02-29 12:00:00", 1_709_208_000_000_000),
        ] {
            assert_eq!(parse(text), Some(Timestamp::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn l3_what_is_no_datetime_is_refused() {
        for text in [
            "",
            "yesterday",
            "2025-06-14",
            "2025-13-01 00:00:00",
            "2025-02-30 00:00:00",
            "2023-02-29 00:00:00",
            "2025-06-14 24:00:00",
            "2025-06-14 06:60:00",
            "2025-06-14 06:00",
            "2025-06-14 06:00:00.",
            "2025-06-14 06:00:00 ",
            "2025-06-14 06:00:00+02:00",
            "2025-06-14 06:00:00+02",
            "0000-00-00 00:00:00",
            "infinity",
            "1749880800",
            "2025-06-14 06:00:00\0",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
