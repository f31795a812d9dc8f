//! Points in time as people type them.

use std::time::Duration;

use carelink_platform::clock::Timestamp;

/// A point in time as typed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum When {
    /// That one.
    At(Timestamp),
    /// So long before now.
    Ago(Duration),
}

impl When {
    /// As the services count.
    pub(crate) fn micros(self, now: Timestamp) -> i64 {
        match self {
            Self::At(at) => at.as_micros(),
            Self::Ago(ago) => (now - ago).as_micros(),
        }
    }
}

/// Reads one.
pub(crate) fn when(text: &str) -> Result<When, String> {
    let day = format!("{text}T00:00:00Z");
    let at = Timestamp::parse_rfc3339(text).or_else(|_| Timestamp::parse_rfc3339(&day)).map(When::At);
    at.or_else(|_| humantime::parse_duration(text).map(When::Ago))
        .map_err(|_| "write a time such as 2026-11-24T08:00:00Z, a day such as 2026-11-24, or so long ago, such as 2h or 7days".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_time_a_day_or_so_long_ago() {
        let at = |text: &str| When::At(Timestamp::parse_rfc3339(text).unwrap());
        assert_eq!(when("2026-11-24T09:00:00+01:00").unwrap(), at("2026-11-24T08:00:00Z"));
        assert_eq!(when("2026-11-24").unwrap(), at("2026-11-24T00:00:00Z"));
        assert_eq!(when("2h").unwrap(), When::Ago(Duration::from_secs(7_200)));
        assert_eq!(when("7days").unwrap().micros(Timestamp::from_secs(604_801)), 1_000_000);
        for wrong in ["yesterday", "", "2026-13-01", "2"] {
            assert!(when(wrong).unwrap_err().contains("such as 2h"), "{wrong}");
        }
    }
}
