//! Append: acknowledged is durable.

use carelink_proto::audit::{AppendRequest, AppendResponse};

use crate::{
    Error,
    domain::append::{MAX_EVENTS, Record},
    store,
    trail::Trail,
};

pub(super) async fn append(trail: &Trail, caller: &str, request: AppendRequest) -> Result<AppendResponse, Error> {
    if request.events.len() > MAX_EVENTS {
        return Err(Error::Input(format!("at most {MAX_EVENTS} events at once")));
    }
    let records: Vec<Record> = request.events.into_iter().map(|body| Record::read(body, caller)).collect();
    let wrong = records.iter().filter(|record| record.wrong_producer).count();
    if wrong > 0 {
        metrics::counter!("carelink_audit_wrong_producer_total", "caller" => caller.to_owned())
            .increment(u64::try_from(wrong).unwrap_or(1));
        tracing::error!(caller, wrong, "events that are not their bringer's to write were stored, and marked");
    }
    let appended = store::append(&trail.db, records).await?;
    metrics::counter!("carelink_audit_events_total").increment(appended.stored.into());
    Ok(AppendResponse { stored: appended.stored })
}
