//! What a stale verifier asks token-service, per token (V3): callers with the same token share one question, only so
//! many are asked at once, and while nobody answers nobody is kept waiting.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use carelink_proto::token::{IntrospectRequest, IntrospectResponse, token_service_client::TokenServiceClient};
use futures::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};
use tokio::{sync::Semaphore, time::timeout};
use tonic::{Code, Request, Status};

use crate::{cache::TokenDigest, channel::Channel, claims::Claims, refusal::Refusal, state::State, time::Moment};

/// After nobody answered, nobody is asked for so long.
const PAUSE: Duration = Duration::from_secs(1);
/// From so many on, finished questions are looked for and forgotten.
const TIDY_FROM: usize = 256;

/// What is known here of a token that is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its signature verified.
    Genuine,
    /// It may be anybody's: an eighth of the questions at most are about such, and none waits for its turn.
    Unknown,
}

type Question = BoxFuture<'static, Option<IntrospectResponse>>;

/// Asks.
pub(crate) struct Introspector {
    line: Arc<Line>,
    flights: Mutex<Flights>,
}

/// Questions that may still be in flight.
#[derive(Default)]
struct Flights {
    by_token: HashMap<TokenDigest, WeakShared<Question>>,
    tidy_at: usize,
}

/// What all questions share.
struct Line {
    state: Arc<State>,
    client: TokenServiceClient<Channel>,
    permits: Semaphore,
    permits_of_unknown: Semaphore,
    quiet_until: AtomicU64,
}

impl Introspector {
    pub(crate) fn new(state: Arc<State>, channel: Channel) -> Self {
        let at_once = state.config.introspect_at_once.clamp(1, Semaphore::MAX_PERMITS);
        let line = Line {
            state,
            client: TokenServiceClient::new(channel),
            permits: Semaphore::new(at_once),
            permits_of_unknown: Semaphore::new(at_once.div_ceil(8)),
            quiet_until: AtomicU64::new(0),
        };
        Self { line: Arc::new(line), flights: Mutex::default() }
    }

    /// What token-service says about the token; `None`: nobody answered.
    pub(crate) async fn ask(&self, token: &str, standing: Standing) -> Option<Result<Claims, Refusal>> {
        if self.line.is_quiet() {
            return None;
        }
        let answer = self.question(token, standing).await?;
        Some(match answer {
            IntrospectResponse { active: false, reason, .. } => Err(Refusal::from_reason(&reason)),
            IntrospectResponse { token_type, claims: Some(claims), .. } if token_type == "access" => Claims::try_from(claims),
            _ => Err(Refusal::TypeWrong),
        })
    }

    /// The question about this token that is in flight, or a new one. Dropped by all who wait, it is not asked any more.
    fn question(&self, token: &str, standing: Standing) -> Shared<Question> {
        let digest = TokenDigest::of(token);
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.by_token.get(&digest).and_then(WeakShared::upgrade).filter(|flight| flight.peek().is_none()) {
            return flight;
        }
        if flights.by_token.len() >= flights.tidy_at {
            flights.by_token.retain(|_, flight| flight.upgrade().is_some_and(|flight| flight.peek().is_none()));
            flights.tidy_at = TIDY_FROM.max(2 * flights.by_token.len());
        }
        let flight = Arc::clone(&self.line).ask(token.to_owned(), standing).boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.by_token.insert(digest, weak);
        }
        flight
    }
}

impl Line {
    async fn ask(self: Arc<Self>, token: String, standing: Standing) -> Option<IntrospectResponse> {
        let _unknown = match standing {
            Standing::Genuine => None,
            Standing::Unknown => Some(self.permits_of_unknown.try_acquire().ok()?),
        };
        let within = self.state.config.introspect_timeout;
        let asked = async {
            let _permit = self.permits.acquire().await.map_err(|_| Status::cancelled("closed"))?;
            let mut request = Request::new(IntrospectRequest { token });
            request.set_timeout(within);
            self.client.clone().introspect(request).await
        };
        let answer = timeout(within, asked).await.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        match answer {
            Ok(response) => {
                self.state.metrics.introspected("answered");
                Some(response.into_inner())
            }
            Err(status) => {
                self.state.metrics.introspected("failed");
                tracing::debug!(%status, "introspection failed");
                if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted) {
                    let until = self.state.clock.moment().after(PAUSE);
                    self.quiet_until.store(until.0, Ordering::Relaxed);
                }
                None
            }
        }
    }

    fn is_quiet(&self) -> bool {
        self.state.clock.moment() < Moment(self.quiet_until.load(Ordering::Relaxed))
    }
}
