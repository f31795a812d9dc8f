//! The life of a key (K1): published and known to every verifier, signs, is retired, and goes after the last token it signed.

use std::time::Duration;

use carelink_platform::clock::Timestamp;

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Published, and signs nothing yet.
    Next,
    /// Signs.
    Signing,
    /// Signs no more.
    Retired,
}

/// When what happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// When it was made and published.
    pub created_at: Timestamp,
    /// When it began to sign.
    pub signs_from: Option<Timestamp>,
    /// When another took its place.
    pub retired_at: Option<Timestamp>,
    /// When an operator wanted it to sign as soon as it may.
    pub asked_at: Option<Timestamp>,
}

impl Life {
    /// Where it is.
    pub fn state(&self) -> State {
        match (self.signs_from, self.retired_at) {
            (None, _) => State::Next,
            (Some(_), None) => State::Signing,
            (Some(_), Some(_)) => State::Retired,
        }
    }
}

/// How keys follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a key signs; zero: until an operator asks for another.
    pub rotate_every: Duration,
    /// How long a key is published before it signs: longer than anybody keeps the public keys, and then some for clocks that differ.
    pub publish_for: Duration,
}

impl Policy {
    /// When the next key may sign at the earliest.
    pub fn may_sign(&self, next: &Life) -> Timestamp {
        next.created_at + self.publish_for
    }

    /// When the next key will sign in place of this one; None: when an operator asks for it.
    pub fn signs(&self, signing: &Life, next: &Life) -> Option<Timestamp> {
        let by_itself = (!self.rotate_every.is_zero()).then(|| signing.signs_from.unwrap_or(signing.created_at) + self.rotate_every);
        let wanted = match (by_itself, next.asked_at) {
            (Some(by_itself), Some(asked)) => by_itself.min(asked),
            (at, None) | (None, at) => at?,
        };
        Some(wanted.max(self.may_sign(next)))
    }

    /// Whether the next key is to sign in place of this one now.
    pub fn is_due(&self, signing: &Life, next: &Life, now: Timestamp) -> bool {
        self.signs(signing, next).is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    const fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn policy(days: u64) -> Policy {
        Policy { rotate_every: Duration::from_secs(days * 86_400), publish_for: Duration::from_secs(600) }
    }

    const SIGNING: Life = Life { created_at: at(0), signs_from: Some(at(0)), retired_at: None, asked_at: None };
    const NEXT: Life = Life { created_at: at(100), signs_from: None, retired_at: None, asked_at: None };

    #[test]
    fn k1_a_key_signs_for_its_time_and_no_longer() {
        assert!(!policy(1).is_due(&SIGNING, &NEXT, at(DAY - 1)));
        assert!(policy(1).is_due(&SIGNING, &NEXT, at(DAY)));
        assert!(!policy(0).is_due(&SIGNING, &NEXT, at(1_000 * DAY)), "only when it is asked for");
    }

    #[test]
    fn k1_no_key_signs_before_everybody_can_know_it() {
        let asked = Life { asked_at: Some(at(200)), ..NEXT };
        assert!(!policy(0).is_due(&SIGNING, &asked, at(699)));
        assert!(policy(0).is_due(&SIGNING, &asked, at(700)));
        let late = Life { created_at: at(DAY), ..NEXT };
        assert!(!policy(1).is_due(&SIGNING, &late, at(DAY + 599)));
        assert!(policy(1).is_due(&SIGNING, &late, at(DAY + 600)));
    }

    #[test]
    fn k1_a_key_goes_from_next_to_signing_to_retired() {
        assert_eq!((NEXT.state(), SIGNING.state()), (State::Next, State::Signing));
        assert_eq!(Life { retired_at: Some(at(1)), ..SIGNING }.state(), State::Retired);
    }
}
