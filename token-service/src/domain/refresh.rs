//! What a presented refresh token means for its session (S3). The race is settled in SQL; here its outcome gets a name.

use std::time::Duration;

use carelink_platform::clock::Timestamp;

use uuid::Uuid;

use super::{
    presented::Presented,
    session::{EndReason, Mode, Session},
};

/// What the statement found, and whether it moved the session.
#[derive(Clone, Debug)]
pub struct Found {
    /// The row as it is now.
    pub session: Session,
    /// Whether this call rotated it.
    pub moved: bool,
    /// The database's time.
    pub now: Timestamp,
    /// When grace began to run: at the rotation, or at the end of an outage that the rotation lies in or shortly before (T5).
    pub grace_from: Timestamp,
}

/// What a token means. Only `Rotated` moved the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The statement came to its turn past the deadline; nothing was decided.
    Late,
    /// The session was ended before.
    Ended(EndReason),
    /// Past its end, or no such session.
    Expired,
    /// The token was current: here is the successor.
    Rotated,
    /// One older, within grace: the same successor again.
    Replayed,
    /// Old: stolen or restored. To be ended.
    Reused,
    /// Ahead of the row, or its jti does not fit. To be ended.
    StateLost,
}

/// When the token before gets the same successor again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Again {
    /// For so long after the rotation; zero: strict.
    pub grace: Duration,
    /// The call that presents it, if it names itself: the one that made the successor gets it, however late its answer was lost.
    pub call: Option<Uuid>,
}

/// Names the outcome: the table of S3, row by row, in its order.
pub fn outcome(presented: &Presented, found: Option<&Found>, deadline: Timestamp, again: Again) -> Outcome {
    let Some(found) = found else { return Outcome::Expired };
    if found.moved {
        return Outcome::Rotated;
    }
    if found.now > deadline {
        return Outcome::Late;
    }
    judge(presented, found, again).unwrap_or(Outcome::Late) // current and live, yet not moved: late after all
}

/// What a token means for a row that nothing is going to move. None: it is current and the row is live.
pub fn judge(presented: &Presented, found: &Found, again: Again) -> Option<Outcome> {
    let (session, now) = (&found.session, found.now);
    if let Some((_, reason)) = session.ended {
        return Some(Outcome::Ended(reason));
    }
    if now >= session.ends_at {
        return Some(Outcome::Expired);
    }
    if presented.generation == session.generation {
        return (presented.jti != session.jti).then_some(Outcome::StateLost);
    }
    if presented.generation > session.generation {
        return Some(Outcome::StateLost);
    }
    let one_older = presented.generation + 1 == session.generation;
    if one_older && Some(presented.jti) != session.previous_jti {
        return Some(Outcome::StateLost);
    }
    let within_grace = now < found.grace_from + again.grace;
    let same_call = again.call.is_some() && again.call == session.rotated_by;
    // A browser that slept through the answer: nobody has used the successor (S12).
    let unseen = session.mode == Mode::Cookies && session.seen_generation < session.generation;
    Some(if one_older && (within_grace || same_call || unseen) { Outcome::Replayed } else { Outcome::Reused })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::session::{Jti, Minted};

    const GRACE: Again = Again { grace: Duration::from_secs(30), call: None };

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// Generation 5, rotated at 1,000, ends at 2,000.
    fn session() -> Session {
        let minted =
            Minted { access_kid: "a".into(), refresh_kid: "r".into(), at: at(1_000), access_expires: at(1_900), roles: "[]".into() };
        Session {
            id: Uuid::nil(),
            subject: Uuid::nil(),
            user_id: 1,
            generation: 5,
            jti: Jti([5; 16]),
            previous_jti: Some(Jti([4; 16])),
            rotated_at: at(1_000),
            roles: "[]".into(),
            minted,
            amr: "[]".into(),
            acr: String::new(),
            auth_time: at(0),
            created_at: at(0),
            ends_at: at(2_000),
            refused_generation: None,
            ended: None,
            rotated_by: Some(Uuid::from_u128(5)),
            mode: Mode::Bearer,
            seen_generation: 4,
        }
    }

    fn presented(generation: u64, jti: u8) -> Presented {
        Presented { session: Uuid::nil(), generation, jti: Jti([jti; 16]) }
    }

    fn found(session: Session, now: i64) -> Found {
        Found { grace_from: session.rotated_at, session, moved: false, now: at(now) }
    }

    fn judged(generation: u64, jti: u8, now: i64) -> Outcome {
        let found = found(session(), now);
        outcome(&presented(generation, jti), Some(&found), at(10_000), GRACE)
    }

    #[test]
    fn s3_past_the_deadline_nothing_is_decided() {
        let found = found(session(), 1_010);
        assert_eq!(outcome(&presented(1, 1), Some(&found), at(1_009), GRACE), Outcome::Late);
    }

    #[test]
    fn s3_no_row_or_past_the_end_is_expired() {
        assert_eq!(outcome(&presented(5, 5), None, at(10_000), GRACE), Outcome::Expired);
        assert_eq!(judged(5, 5, 2_000), Outcome::Expired);
        assert_eq!(judged(1, 1, 2_000), Outcome::Expired, "reuse of a session that is over ends nothing");
    }

    #[test]
    fn s3_ended_comes_before_everything_below_it() {
        let session = Session { ended: Some((at(1_001), EndReason::SignedOut)), ..session() };
        let found = found(session, 3_000);
        assert_eq!(outcome(&presented(1, 1), Some(&found), at(10_000), GRACE), Outcome::Ended(EndReason::SignedOut));
    }

    #[test]
    fn s3_one_older_within_grace_gets_the_same_successor() {
        assert_eq!(judged(4, 4, 1_029), Outcome::Replayed);
    }

    #[test]
    fn s3_one_older_later_and_any_older_are_reuse() {
        assert_eq!(judged(4, 4, 1_030), Outcome::Reused);
        assert_eq!(judged(3, 3, 1_001), Outcome::Reused);
    }

    #[test]
    fn s3_with_grace_zero_one_older_is_reuse_at_once() {
        let found = found(session(), 1_000);
        assert_eq!(outcome(&presented(4, 4), Some(&found), at(10_000), Again::default()), Outcome::Reused);
    }

    #[test]
    fn s3_a_call_that_is_sent_again_gets_its_own_answer_also_without_grace() {
        let found = found(session(), 1_100);
        let call = |id| Again { grace: Duration::ZERO, call: Some(Uuid::from_u128(id)) };
        assert_eq!(outcome(&presented(4, 4), Some(&found), at(10_000), call(5)), Outcome::Replayed);
        assert_eq!(outcome(&presented(4, 4), Some(&found), at(10_000), call(6)), Outcome::Reused);
        assert_eq!(outcome(&presented(3, 3), Some(&found), at(10_000), call(5)), Outcome::Reused, "older still");
        let nameless = Found { session: Session { rotated_by: None, ..session() }, ..found };
        assert_eq!(outcome(&presented(4, 4), Some(&nameless), at(10_000), Again::default()), Outcome::Reused);
    }

    #[test]
    fn s12_an_unseen_successor_is_forgiven_in_a_browsers_session_only() {
        let of = |mode, seen_generation| found(Session { mode, seen_generation, ..session() }, 1_500);
        let judged = |found: &Found, generation: u8| judge(&presented(generation.into(), generation), found, GRACE);
        assert_eq!(judged(&of(Mode::Cookies, 4), 4), Some(Outcome::Replayed));
        assert_eq!(judged(&of(Mode::Cookies, 5), 4), Some(Outcome::Reused), "it was seen");
        assert_eq!(judged(&of(Mode::Bearer, 4), 4), Some(Outcome::Reused));
        assert_eq!(judged(&of(Mode::Cookies, 2), 3), Some(Outcome::Reused), "older still");
    }

    #[test]
    fn t5_grace_runs_from_the_end_of_an_outage() {
        let found = Found { grace_from: at(1_040), ..found(session(), 1_069) };
        assert_eq!(outcome(&presented(4, 4), Some(&found), at(10_000), GRACE), Outcome::Replayed);
        let later = Found { now: at(1_070), ..found };
        assert_eq!(outcome(&presented(4, 4), Some(&later), at(10_000), GRACE), Outcome::Reused);
    }

    #[test]
    fn s3_newer_than_the_row_or_a_jti_that_does_not_fit_is_state_lost() {
        assert_eq!(judged(6, 6, 1_001), Outcome::StateLost);
        assert_eq!(judged(5, 9, 1_001), Outcome::StateLost);
        assert_eq!(judged(4, 9, 1_001), Outcome::StateLost);
    }
}
