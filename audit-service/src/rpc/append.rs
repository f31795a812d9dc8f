//! Append: acknowledged is durable.

use carelink_proto::audit::{AppendRequest, AppendResponse};

use crate::{
    Error,
    domain::append::{MAX_EVENTS, Record},
    store,
    trail::Trail,
};

pub(super) async fn append(trail: &Trail, request: AppendRequest) -> Result<AppendResponse, Error> {
    if request.events.len() > MAX_EVENTS {
        return Err(Error::Input(format!("at most {MAX_EVENTS} events at once")));
    }
    let records = request.events.into_iter().map(Record::read).collect();
    let appended = store::append(&trail.db, records).await?;
    metrics::counter!("carelink_audit_events_total").increment(appended.stored.into());
    Ok(AppendResponse { stored: appended.stored })
}
