//! Which sessions were used here (S12): noted at every good token, told to token-service in batches beside the requests.
//!
//! A note is one short lock and no allocation for a session that is known. What is told is the first use of a generation at once, and
//! then at most once a minute when it was used last. While anything could not be told or noted, no report says that it is complete, and
//! token-service ends nothing for idleness.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use uuid::Uuid;

use crate::{
    claims::Claims,
    time::{DatabaseTime, Moment},
};

const SHARDS: usize = 64;
/// How often the same generation is told again.
const AGAIN: Duration = Duration::from_secs(60);
/// A session that was not used for so long is forgotten, once everything of it was told.
const FORGET: Duration = Duration::from_secs(180);

/// What somebody does who is known: a page by itself, or a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Somebody is there.
    Active,
    /// A page that is open asks by itself: it keeps nobody signed in.
    Background,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    generation: u64,
    /// The last use that counts.
    active: Option<Moment>,
    /// The last use of any kind.
    last: Moment,
    /// When it was told, and what.
    told: Option<(Moment, Told)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    generation: u64,
    active: Option<Moment>,
}

/// What is told of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) session: Uuid,
    pub(crate) generation: u64,
    /// None: only in the background.
    pub(crate) active: Option<Moment>,
}

/// The notes.
pub(crate) struct Activity {
    shards: [Mutex<HashMap<Uuid, Seen>>; SHARDS],
    sessions_per_shard: usize,
    /// Something was used that there was no room for.
    missed: AtomicBool,
}

impl Activity {
    pub(crate) fn new(sessions: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            sessions_per_shard: sessions.div_ceil(SHARDS).max(1),
            missed: AtomicBool::new(false),
        }
    }

    /// A good token came.
    pub(crate) fn note(&self, claims: &Claims, used: Use, now: Moment) {
        let Some(mut shard) = self.lock(claims.session) else { return };
        let active = (used == Use::Active).then_some(now);
        if let Some(seen) = shard.get_mut(&claims.session) {
            seen.generation = seen.generation.max(claims.generation);
            seen.active = active.or(seen.active);
            seen.last = now;
        } else if shard.len() < self.sessions_per_shard {
            shard.insert(claims.session, Seen { generation: claims.generation, active, last: now, told: None });
        } else {
            self.missed.store(true, Ordering::Relaxed);
        }
    }

    /// What is to be told now.
    pub(crate) fn due(&self, now: Moment) -> Vec<Due> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|session, seen| {
                let news = Told { generation: seen.generation, active: seen.active };
                let is_due = match seen.told {
                    None => true,
                    Some((_, told)) if told == news => false,
                    Some((at, told)) => told.generation != news.generation || at.until(now) >= AGAIN,
                };
                if is_due {
                    due.push(Due { session: *session, generation: seen.generation, active: seen.active });
                }
                let untold = is_due || seen.told.is_none_or(|(_, told)| told != news);
                untold || seen.last.until(now) < FORGET
            });
        }
        due
    }

    /// It has been told.
    pub(crate) fn told(&self, told: &[Due], now: Moment) {
        for due in told {
            if let Some(mut shard) = self.lock(due.session)
                && let Some(seen) = shard.get_mut(&due.session)
            {
                seen.told = Some((now, Told { generation: due.generation, active: due.active }));
            }
        }
    }

    /// Whether something was used since this was asked last that there was no room for.
    pub(crate) fn missed(&self) -> bool {
        self.missed.swap(false, Ordering::Relaxed)
    }

    fn lock(&self, session: Uuid) -> Option<MutexGuard<'_, HashMap<Uuid, Seen>>> {
        let [.., last] = *session.as_bytes();
        Some(self.shards.get(usize::from(last) % SHARDS)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// `moment` by the database's clock, microseconds; the beginning of time for none.
pub(crate) fn active_us(at: impl Fn(Moment) -> DatabaseTime, active: Option<Moment>) -> i64 {
    active.map_or(0, |moment| at(moment).0.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims(session: u128, generation: u64) -> Claims {
        Claims { session: Uuid::from_u128(session), generation, ..Claims::sample(1) }
    }

    const fn second(second: u64) -> Moment {
        Moment(second * 1_000_000)
    }

    fn tell(activity: &Activity, now: Moment) -> Vec<(u64, Option<Moment>)> {
        let due = activity.due(now);
        activity.told(&due, now);
        due.iter().map(|due| (due.generation, due.active)).collect()
    }

    #[test]
    fn s12_the_first_use_of_a_generation_is_told_at_once_and_then_once_a_minute() {
        let activity = Activity::new(1_000);
        activity.note(&claims(1, 0), Use::Active, second(1));
        assert_eq!(tell(&activity, second(2)), [(0, Some(second(1)))]);
        for at in 3..62 {
            activity.note(&claims(1, 0), Use::Active, second(at));
            assert_eq!(tell(&activity, second(at)), []);
        }
        assert_eq!(tell(&activity, second(62)), [(0, Some(second(61)))]);
        activity.note(&claims(1, 1), Use::Background, second(63));
        activity.note(&claims(1, 0), Use::Background, second(63));
        assert_eq!(tell(&activity, second(63)), [(1, Some(second(61)))], "seen, though nobody was there");
        assert_eq!(tell(&activity, second(200)), [], "nothing new");
    }

    #[test]
    fn s12_what_was_not_told_is_told_the_next_time_and_what_was_told_is_forgotten() {
        let activity = Activity::new(1_000);
        activity.note(&claims(1, 0), Use::Background, second(1));
        assert_eq!(activity.due(second(2)).len(), 1);
        assert_eq!(activity.due(second(500)).len(), 1, "it did not arrive");
        assert_eq!(tell(&activity, second(501)), [(0, None)]);
        assert_eq!(activity.due(second(502)), []);
        assert!(activity.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }

    #[test]
    fn s12_without_room_a_report_is_not_complete() {
        let activity = Activity::new(1);
        activity.note(&claims(1, 0), Use::Active, second(1));
        assert!(!activity.missed());
        activity.note(&claims(1 + (64 << 8), 0), Use::Active, second(1));
        assert!(activity.missed() && !activity.missed());
    }
}
