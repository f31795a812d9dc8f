//! ListEvents: the reading is in the trail before anything of it is out (A7).

use carelink_platform::events::{Actor, EventType};
use carelink_proto::audit::{ListEventsRequest, ListEventsResponse};

use crate::{
    Error,
    domain::list_events::{describe, encode_cursor, parse},
    store,
    trail::Trail,
};

pub(super) async fn list_events(trail: &Trail, reader: Actor, request: ListEventsRequest) -> Result<ListEventsResponse, Error> {
    let (filter, page) = parse(&request)?;
    let reading = describe(&filter, page, trail.event(EventType::AuditRead).actor(reader));
    let recorded = trail.record(vec![reading]).await?.last.unwrap_or(u64::MAX);
    // What a list shows is what was there when it was asked for: everything below its own reading.
    let before = page.before.unwrap_or(recorded).min(recorded);
    let mut found = store::list_events(&trail.db, &filter, before, page.size.saturating_add(1)).await?;
    let more = u32::try_from(found.len()).is_ok_and(|count| count > page.size);
    if more {
        found.pop();
    }
    let next_cursor = found.last().filter(|_| more).map(|last| encode_cursor(last.position)).unwrap_or_default();
    let sealing = trail.sealing.clone();
    // Opening a thousand personal parts takes 25 ms: not on a thread that answers others.
    let events = tokio::task::spawn_blocking(move || found.into_iter().map(|event| event.show(&sealing)).collect()).await?;
    Ok(ListEventsResponse { events, next_cursor })
}
