//! How many streams of revocations there may be: each holds memory for as long as its reader likes (V2).
//!
//! Whoever reads one is known by certificate, and a certificate names a service, not a process. So the bound is one for each service,
//! whatever connections it opens: none of them can take the memory of another's.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use carelink_platform::{
    errors::{Failure, Reason},
    grpc::Caller,
};

/// Streams at once of one of CareLink's own services, over all of its processes.
const OF_OURS: usize = 256;
/// The same of any other service of the deployment. Past it a process asks another replica, or for each token.
pub(crate) const OF_OTHERS: usize = 16;
/// When whoever was turned away may try again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// How many streams each service has. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watchers(Arc<Mutex<HashMap<String, usize>>>);

/// One stream's place; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    watchers: Watchers,
    service: String,
}

impl Watchers {
    /// A place for one more stream of this caller.
    ///
    /// # Errors
    /// Where it has as many as it may.
    pub(crate) fn admit(&self, caller: &Caller) -> Result<Place, Failure> {
        let most = if matches!(caller, Caller::Internal(_)) { OF_OTHERS } else { OF_OURS };
        let service = caller.name();
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(service.clone()).or_default();
        if *count >= most {
            metrics::describe_counter!(
                "carelink_watch_refused_total",
                "Streams of revocations turned away since their reader has too many"
            );
            metrics::counter!("carelink_watch_refused_total").increment(1);
            let message = format!("{service} has {most} streams of revocations here; try another replica");
            return Err(Failure::new(Reason::Overloaded).message(message).retry_after(RETRY_AFTER));
        }
        *count += 1;
        drop(open);
        Ok(Place { watchers: self.clone(), service })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.watchers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.service) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.service);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v2_a_service_has_so_many_streams_and_takes_no_place_of_another() {
        let watchers = Watchers::default();
        let (billing, lab) = (Caller::Internal("billing".into()), Caller::Internal("lab".into()));
        let mut held: Vec<Place> = (0..OF_OTHERS).map(|_| watchers.admit(&billing).unwrap()).collect();
        assert_eq!(watchers.admit(&billing).unwrap_err().reason(), Reason::Overloaded);
        held.push(watchers.admit(&lab).unwrap());
        held.push(watchers.admit(&Caller::Service("gateway")).unwrap());
        held.remove(0);
        held.push(watchers.admit(&billing).unwrap());
        drop(held);
        assert!(watchers.0.lock().unwrap().is_empty());
    }
}
