//! What verifiers saw of sessions (S12).

use std::{collections::BTreeMap, time::Duration};

use carelink_platform::clock::Timestamp;
use carelink_proto::token::{ReportActivityRequest, ReportActivityResponse};

use super::uuid;
use crate::{
    App, Error,
    store::{self, Report, Used},
};

const MAX_ACTIVITIES: usize = 500;
/// Longer than any verifier goes on without a word from here: nobody holds up idle ends for long who does not report.
const LONGEST_TRUST: Duration = Duration::from_secs(3_600);

pub(super) async fn report_activity(app: &App, request: ReportActivityRequest) -> Result<ReportActivityResponse, Error> {
    if request.activities.len() > MAX_ACTIVITIES {
        return Err(Error::Input("at most 500 activities at a time"));
    }
    let mut used: BTreeMap<_, Used> = BTreeMap::new();
    for activity in &request.activities {
        let told = Used { generation: activity.generation, at: Timestamp::from_micros(activity.active_us.max(0)) };
        let held = used.entry(uuid(&activity.session, "a session id has 16 bytes")?).or_insert(told);
        *held = Used { generation: held.generation.max(told.generation), at: held.at.max(told.at) };
    }
    let trusted_for = Duration::from_micros(u64::try_from(request.trusted_for_us).unwrap_or(0)).min(LONGEST_TRUST);
    let report = Report {
        reporter: uuid(&request.reporter, "a verifier's name has 16 bytes")?,
        used,
        complete_until: Timestamp::from_micros(request.complete_until_us.max(0)),
        trusted_for,
    };
    store::report(&app.store, report).await?;
    Ok(ReportActivityResponse {})
}
