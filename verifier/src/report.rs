//! Tells token-service which sessions were used here (S12), for as long as the watcher runs.

use std::{sync::Arc, time::Duration};

use carelink_proto::token::{self as proto, ReportActivityRequest, token_service_client::TokenServiceClient};
use tokio::time::{Instant, sleep};
use tonic::{Code, Request};
use uuid::Uuid;

use crate::{
    activity::{Due, active_us},
    channel::Channel,
    state::State,
    time::Moment,
};

/// Between two looks at what is to be told.
const TICK: Duration = Duration::from_secs(5);
/// How often something is told though nothing was used: that nothing was.
const AT_LEAST: Duration = Duration::from_secs(20);
/// Who has never heard of reports is asked again after so long.
const UNKNOWN: Duration = Duration::from_secs(300);
/// What a report holds at most.
const BATCH: usize = 500;
/// How long one may take.
const WITHIN: Duration = Duration::from_secs(5);

pub(crate) struct Reporter {
    state: Arc<State>,
    client: TokenServiceClient<Channel>,
    name: Uuid,
}

impl Reporter {
    pub(crate) fn new(state: Arc<State>, channel: Channel) -> Self {
        Self { name: name(state.config.seed), state, client: TokenServiceClient::new(channel) }
    }

    /// Until dropped.
    pub(crate) async fn run(&self) {
        let mut told: Option<Instant> = None;
        loop {
            sleep(TICK).await;
            if self.state.ring.load().is_none() {
                continue; // nothing is accepted yet
            }
            let now = self.state.clock.moment();
            let due = self.state.activity.due(now);
            if due.is_empty() && told.is_some_and(|told| told.elapsed() < AT_LEAST) {
                continue;
            }
            let complete = !self.state.activity.missed();
            match self.tell(&due, now, complete).await {
                Ok(()) => told = Some(Instant::now()),
                Err(status) => {
                    tracing::debug!(%status, "what was used was not told; trying again");
                    self.state.metrics.report_failed();
                    if status.code() == Code::Unimplemented {
                        sleep(UNKNOWN).await;
                    }
                }
            }
        }
    }

    /// All of it, as it was at `now`; only the last of the batches says that nothing is missing.
    async fn tell(&self, due: &[Due], now: Moment, complete: bool) -> Result<(), tonic::Status> {
        let state = &self.state;
        let trusted_for_us = i64::try_from(state.config.max_staleness.as_micros()).unwrap_or(i64::MAX);
        let mut batches = due.chunks(BATCH).peekable();
        loop {
            let batch = batches.next().unwrap_or_default();
            let last = batches.peek().is_none();
            let activity = |due: &Due| proto::Activity {
                session: due.session.as_bytes().to_vec(),
                generation: due.generation,
                active_us: active_us(|moment| state.clock.at(moment), due.active),
            };
            let mut request = Request::new(ReportActivityRequest {
                reporter: self.name.as_bytes().to_vec(),
                activities: batch.iter().map(activity).collect(),
                complete_until_us: if last && complete { state.clock.at(now).0 } else { 0 },
                trusted_for_us,
            });
            request.set_timeout(WITHIN);
            self.client.clone().report_activity(request).await?;
            state.activity.told(batch, now);
            if last {
                return Ok(());
            }
        }
    }
}

/// Names this process; from a seed always the same.
fn name(seed: Option<u64>) -> Uuid {
    let mut bytes = [0; 16];
    match seed {
        Some(seed) => bytes = u128::from(seed).to_be_bytes(),
        None => drop(aws_lc_rs::rand::fill(&mut bytes)), // without chance one is taken for another, and nobody is ended too early by that
    }
    Uuid::from_bytes(bytes)
}
