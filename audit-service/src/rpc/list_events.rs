//! ListEvents: the reading is in the trail before anything of it is out, once per query (A7).

use carelink_platform::events::{Actor, EventType};
use carelink_proto::audit::{ListEventsRequest, ListEventsResponse};

use crate::{
    Error,
    domain::list_events::{Cursor, describe, parse, records},
    store,
    trail::Trail,
};

pub(super) async fn list_events(trail: &Trail, reader: Actor, request: ListEventsRequest) -> Result<ListEventsResponse, Error> {
    let (filter, page) = parse(&request)?;
    let asked = describe(&filter, page, trail.event(EventType::AuditRead).actor(reader));
    let known = match page.after {
        Some(Cursor { reading, .. }) => store::find_event(&trail.db, reading).await?,
        None => None,
    };
    let reading = match known.filter(|found| records(found, &asked.clone().build())) {
        Some(found) => found.position,
        None => trail.record(vec![asked]).await?.last.unwrap_or(u64::MAX),
    };
    // What a list shows is what was there when it was asked for: everything below its own reading.
    let before = page.after.map_or(reading, |after| after.before.min(reading));
    let mut found = store::list_events(&trail.db, &filter, before, page.size.saturating_add(1)).await?;
    let more = u32::try_from(found.len()).is_ok_and(|count| count > page.size);
    if more {
        found.pop();
    }
    let next_cursor = found.last().filter(|_| more).map(|last| Cursor { before: last.position, reading }.encode()).unwrap_or_default();
    let sealing = trail.sealing.clone();
    // Opening a thousand personal parts takes 25 ms: not on a thread that answers others.
    let events = tokio::task::spawn_blocking(move || found.into_iter().map(|event| event.show(&sealing)).collect()).await?;
    Ok(ListEventsResponse { events, next_cursor })
}
