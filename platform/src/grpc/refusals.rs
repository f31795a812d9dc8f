//! Refused calls on their way into the trail, at a bounded rate: the trail is kept for years, and whoever knocks must not fill it.
//!
//! Of the same caller, RPC and reason the first is told at once; what follows within a minute is counted, and told as one when the
//! minute is over. So many apart, no more: what finds no room is a metric.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::Refused;
use crate::{
    clock::Timestamp,
    context::{RequestContext, TraceContext},
    errors::Reason,
    events::{Actor, EventBuilder, EventType, Object},
};

/// At most one event in so long, of the same caller, RPC and reason.
const QUIET: Duration = Duration::from_secs(60);
/// Callers, RPCs and reasons told apart.
const MOST: usize = 256;

/// What was refused, as far as it is told apart: who called, what, why not.
type Kind = (Option<String>, String, Reason);

/// Refused calls that wait to be told. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    counted: Mutex<HashMap<Kind, Count>>,
    told: Notify,
}

#[derive(Debug)]
struct Count {
    first: Option<Due>,
    quiet_until: Instant,
}

/// Refused calls to be told as one event.
#[derive(Clone, Debug)]
pub struct Due {
    refused: Refused,
    trace: Option<TraceContext>,
    calls: u64,
    /// When the first of them was refused.
    pub at: Timestamp,
}

impl Due {
    /// Makes the event, in the trace of the first of them; `begin` begins one of the type it is given.
    pub fn event<T>(self, make: impl FnOnce(EventType, &dyn Fn(EventBuilder) -> EventBuilder) -> T) -> T {
        let context = self.trace.map(|trace| RequestContext { trace, deadline: None });
        let tell = |event: EventBuilder| {
            let actor = self.refused.caller.as_ref().map_or(Actor::Anonymous, Actor::from);
            let event = event.reason(self.refused.reason.as_str()).object(Object::rpc(&self.refused.method));
            event.actor(actor).detail("calls", self.calls)
        };
        RequestContext::sync_scope(context, || make(EventType::CallerRefused, &tell))
    }
}

impl Refusals {
    /// Notes a refused call; never waits. Says whether there was room for it.
    pub fn note(&self, refused: Refused, at: Timestamp) -> bool {
        let now = Instant::now();
        let kind = (refused.caller.as_ref().map(super::Caller::name), refused.method.clone(), refused.reason);
        let mut counted = self.counted();
        if counted.len() >= MOST && !counted.contains_key(&kind) {
            counted.retain(|_, count| count.first.is_some() || count.quiet_until > now);
            if counted.len() >= MOST {
                return false;
            }
        }
        let count = counted.entry(kind).or_insert(Count { first: None, quiet_until: now });
        match &mut count.first {
            Some(first) => first.calls += 1,
            none => {
                *none = Some(Due { refused, trace: TraceContext::current(), calls: 1, at });
                self.0.told.notify_one(); // there is something to wait for, though maybe not for now
            }
        }
        true
    }

    /// Waits for some that may be told at this time.
    pub async fn due(&self) -> Vec<Due> {
        loop {
            let (due, wake) = self.take(Instant::now());
            if !due.is_empty() {
                return due;
            }
            let told = self.0.told.notified();
            match wake {
                Some(wake) => tokio::select! { () = told => {}, () = tokio::time::sleep_until(wake) => {} },
                None => told.await,
            }
        }
    }

    /// All that wait, at the end.
    pub fn rest(&self) -> Vec<Due> {
        std::mem::take(&mut *self.counted()).into_values().filter_map(|count| count.first).collect()
    }

    /// Those that may be told now, and when the next may.
    fn take(&self, now: Instant) -> (Vec<Due>, Option<Instant>) {
        let (mut due, mut wake) = (Vec::new(), None::<Instant>);
        for count in self.counted().values_mut().filter(|count| count.first.is_some()) {
            if count.quiet_until <= now {
                due.extend(count.first.take());
                count.quiet_until = now + QUIET;
            } else {
                wake = Some(wake.map_or(count.quiet_until, |wake| wake.min(count.quiet_until)));
            }
        }
        (due, wake)
    }

    fn counted(&self) -> MutexGuard<'_, HashMap<Kind, Count>> {
        self.0.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use carelink_proto::audit::Event;
    use uuid::Uuid;

    use super::*;
    use crate::grpc::Caller;

    fn refused(method: &str) -> Refused {
        Refused { caller: Some(Caller::Service("gateway")), method: method.to_owned(), reason: Reason::CallerRefused }
    }

    fn event(due: Due) -> Event {
        let at = due.at;
        due.event(|kind, tell| tell(EventBuilder::new("audit", kind, Uuid::nil(), at))).build()
    }

    #[tokio::test(start_paused = true)]
    async fn g2_the_first_refusal_is_told_at_once_and_what_follows_is_counted_for_a_minute() {
        let refusals = Refusals::default();
        let began = Instant::now();
        assert!(refusals.note(refused("/a"), Timestamp::from_secs(1)));
        let first = event(refusals.due().await.pop().unwrap());
        assert_eq!((first.details["calls"].as_str(), first.object.as_str(), first.reason.as_str()), ("1", "rpc:/a", "caller_refused"));
        assert_eq!((first.actor.unwrap().id.as_str(), began.elapsed()), ("gateway", Duration::ZERO));
        let waiting = tokio::spawn({
            let refusals = refusals.clone();
            async move { refusals.due().await }
        });
        tokio::task::yield_now().await;
        for second in 2..=1_000 {
            assert!(refusals.note(refused("/a"), Timestamp::from_secs(second)));
        }
        tokio::task::yield_now().await;
        assert!(refusals.note(refused("/b"), Timestamp::from_secs(9)));
        assert_eq!(event(waiting.await.unwrap().pop().unwrap()).object, "rpc:/b", "another one is told at once");
        assert_eq!(began.elapsed(), Duration::ZERO);
        let due = refusals.due().await.pop().unwrap();
        assert_eq!((began.elapsed(), due.at), (QUIET, Timestamp::from_secs(2)));
        assert_eq!(event(due).details["calls"], "999", "none is left out");
    }

    #[tokio::test(start_paused = true)]
    async fn g2_refusals_take_bounded_room_and_the_end_tells_what_waits() {
        let refusals = Refusals::default();
        for number in 0..MOST {
            assert!(refusals.note(refused(&format!("/{number}")), Timestamp::ZERO));
        }
        assert!(!refusals.note(refused("/more"), Timestamp::ZERO));
        assert!(refusals.note(refused("/0"), Timestamp::ZERO), "what is known is counted on");
        assert_eq!(refusals.due().await.len(), MOST);
        assert!(!refusals.note(refused("/more"), Timestamp::ZERO), "within the minute");
        tokio::time::advance(QUIET).await;
        assert!(refusals.note(refused("/more"), Timestamp::ZERO));
        assert_eq!(refusals.rest().len(), 1);
    }
}
