//! What becomes of a predecessor's outstanding token (L3, L5).

use carelink_platform::clock::Timestamp;
use carelink_proto::token::LegacyTokenOutcome as Outcome;

use super::session::EndReason;

/// A row of the source.
#[derive(Clone, Copy, Debug)]
pub struct Outstanding {
    /// When it is over: by itself, or because its source is not accepted any longer.
    pub expires: Timestamp,
    /// Whether it is on the blacklist.
    pub blacklisted: bool,
}

/// What is here already.
#[derive(Clone, Copy, Debug)]
pub struct Here {
    /// Whether the session is not ended.
    pub live: bool,
    /// Whether it has never been rotated here.
    pub unmoved: bool,
}

/// What to do with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing is written.
    Leave(Outcome),
    /// A session that lives.
    Begin,
    /// A session that is over, recorded so that its token gets the right answer.
    RecordEnded(EndReason),
    /// The session here ends: the source blacklisted it since (L5).
    End,
}

/// Decides. `active`: whether the holder may have sessions; None: the holder is not known.
pub fn decide(token: Outstanding, holder_active: Option<bool>, here: Option<Here>, now: Timestamp) -> Decision {
    match (here, holder_active) {
        (Some(Here { live: true, unmoved: true }), _) if token.blacklisted => Decision::End,
        (Some(Here { live: true, unmoved: false }), _) if token.blacklisted => Decision::Leave(Outcome::Kept),
        (Some(_), _) => Decision::Leave(Outcome::Unchanged),
        (None, None) => Decision::Leave(Outcome::UnknownUser),
        (None, _) if token.expires <= now => Decision::Leave(Outcome::Expired),
        (None, Some(_)) if token.blacklisted => Decision::RecordEnded(EndReason::Blacklisted),
        (None, Some(false)) => Decision::RecordEnded(EndReason::Disabled),
        (None, Some(true)) => Decision::Begin,
    }
}

impl Decision {
    /// As the report tells it.
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Leave(outcome) => outcome,
            Self::Begin => Outcome::Live,
            Self::RecordEnded(EndReason::Disabled) => Outcome::InactiveUser,
            Self::RecordEnded(_) => Outcome::Blacklisted,
            Self::End => Outcome::Ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(100);

    fn token(expires: i64, blacklisted: bool) -> Outstanding {
        Outstanding { expires: Timestamp::from_secs(expires), blacklisted }
    }

    #[test]
    fn l3_a_new_token_is_taken_as_what_it_is() {
        assert_eq!(decide(token(200, false), Some(true), None, NOW), Decision::Begin);
        assert_eq!(decide(token(200, true), Some(true), None, NOW).outcome(), Outcome::Blacklisted);
        assert_eq!(decide(token(200, false), Some(false), None, NOW).outcome(), Outcome::InactiveUser);
        assert_eq!(decide(token(200, true), Some(false), None, NOW).outcome(), Outcome::Blacklisted);
        assert_eq!(decide(token(100, false), Some(true), None, NOW).outcome(), Outcome::Expired);
        assert_eq!(decide(token(200, false), None, None, NOW).outcome(), Outcome::UnknownUser);
    }

    #[test]
    fn l5_importing_again_never_turns_a_moved_on_session_back() {
        let here = |live, unmoved| Some(Here { live, unmoved });
        assert_eq!(decide(token(200, false), Some(true), here(true, false), NOW).outcome(), Outcome::Unchanged);
        assert_eq!(decide(token(200, true), Some(true), here(true, false), NOW).outcome(), Outcome::Kept);
        assert_eq!(decide(token(200, true), Some(true), here(true, true), NOW), Decision::End);
        assert_eq!(decide(token(200, true), Some(true), here(false, true), NOW).outcome(), Outcome::Unchanged);
    }
}
