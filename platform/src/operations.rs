//! What operators ask of a process, whatever else it serves: `carelink.ops.v1`, by one implementation. What they change is an event
//! before it is done.

use std::{fmt, sync::Arc, time::Duration};

use carelink_proto::{
    audit::Personal,
    ops::{
        GetLogRequest, GetLogResponse, Log, SetLogRequest, SetLogResponse,
        ops_service_server::{OpsService, OpsServiceServer},
    },
};
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, service::Routes};

use crate::{
    clock::{Clock, Timestamp},
    errors::{Failure, Reason},
    events::{Actor, Detail, EventBuilder, EventType},
    grpc::{CallerRow, Hooks, Refusals, Refused, Stack},
    random::Random,
    seal::SealingPublicKey,
    telemetry::{Directives, Logging, lasting, logging, set_logging},
};

/// Events that wait for a trail that does not take them, where there is no outbox; and how often it is asked again.
const MOST_WAITING: usize = 64;
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// Characters of a reason.
const MAX_REASON: usize = 500;

/// Who may call it: operators, and nobody else.
pub const CALLERS: &[CallerRow] = &[
    CallerRow::services("/carelink.ops.v1.OpsService/GetLog", &[]).and_operators(),
    CallerRow::services("/carelink.ops.v1.OpsService/SetLog", &[]).and_operators(),
];

/// A change of what is logged, to be told to the trail.
#[derive(Clone, Debug)]
pub struct LogChange {
    actor: Actor,
    process: &'static str,
    directives: Directives,
    lasting: Option<Duration>,
    reason: String,
}

impl LogChange {
    /// Says it in an event of type `log.changed`.
    pub fn tell(self, event: EventBuilder, sealing: &SealingPublicKey) -> EventBuilder {
        let reason = Personal { text: self.reason.clone(), ..Personal::default() };
        self.say(event).personal(sealing, &reason)
    }

    fn say(self, event: EventBuilder) -> EventBuilder {
        let configured = self.directives.as_str().is_empty();
        let directives = if configured { Detail::from("configured") } else { Detail::directives(&self.directives) };
        let event = event.actor(self.actor).detail("process", self.process).detail("directives", directives);
        match self.lasting {
            Some(lasting) => event.detail("lasts_ms", lasting),
            None => event,
        }
    }
}

type Tell = Arc<dyn Fn(LogChange) -> BoxFuture<'static, Result<(), Failure>> + Send + Sync>;

/// How a process tells of what operators do in it.
#[derive(Clone)]
pub struct Told {
    changed: Tell,
    refused: Arc<dyn Fn(Refused) + Send + Sync>,
}

impl Told {
    /// `changed` tells the trail of a change, for sure, before it returns; `refused` of a call that was refused.
    pub fn new<F>(changed: impl Fn(LogChange) -> F + Send + Sync + 'static, refused: Arc<dyn Fn(Refused) + Send + Sync>) -> Self
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Self { changed: Arc::new(move |change| Box::pin(changed(change))), refused }
    }

    /// For a process without an outbox, such as a gateway: `tell` brings an encoded event to the trail. Where that does not take it, the
    /// event waits while the process lives; where too many do, nothing is changed any more.
    pub fn without_outbox<F>(
        tell: impl Fn(Vec<u8>) -> F + Send + Sync + 'static,
        (name, sealing): (&'static str, Option<SealingPublicKey>),
        clock: Clock,
        random: Random,
    ) -> Self
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (queue, mut waiting) = mpsc::channel::<Vec<u8>>(MOST_WAITING);
        let refusals = Refusals::default();
        let (noted, begin) = (refusals.clone(), {
            let (clock, random) = (clock.clone(), random);
            move |kind, at: Option<Timestamp>| {
                let at = at.unwrap_or_else(|| clock.now());
                EventBuilder::new(name, kind, random.uuid_v7(at), at)
            }
        });
        let (begin, tell) = (Arc::new(begin), Arc::new(tell));
        let (begun, told) = (Arc::clone(&begin), Arc::clone(&tell));
        tokio::spawn(async move {
            loop {
                let events: Vec<Vec<u8>> = tokio::select! {
                    event = waiting.recv() => match event {
                        Some(event) => vec![event],
                        None => return,
                    },
                    due = refusals.due() => due.into_iter().map(|due| {
                        let at = due.at;
                        due.event(|kind, say| say(begun(kind, Some(at)))).encode()
                    }).collect(),
                };
                for event in events {
                    while told(event.clone()).await.is_err() {
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                }
            }
        });
        let changed = move |change: LogChange| {
            let event = begin(EventType::LogChanged, None);
            let event = match &sealing {
                Some(key) => change.tell(event, key),
                None => change.say(event),
            };
            let (event, tell, queue) = (event.encode(), Arc::clone(&tell), queue.clone());
            async move {
                match tell(event.clone()).await {
                    Ok(()) => Ok(()),
                    Err(failure) => queue.try_send(event).map_err(|_| failure),
                }
            }
        };
        let refused = move |refused| {
            if !noted.note(refused, clock.now()) {
                metrics::counter!("carelink_events_dropped_total", "service" => name).increment(1);
            }
        };
        Self::new(changed, Arc::new(refused))
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Told")
    }
}

/// The RPCs of `process` behind their layers.
pub fn stack(process: &'static str, told: Told, clock: Clock, random: Random) -> Stack {
    let hooks = Hooks { on_refused: Some(told.refused), ..Hooks::default() };
    let operations = Operations { process, tell: told.changed, clock };
    Stack::new(Routes::new(OpsServiceServer::new(operations)), CALLERS, hooks, random)
}

struct Operations {
    process: &'static str,
    tell: Tell,
    clock: Clock,
}

impl Operations {
    fn shown(&self, now: Logging) -> Log {
        Log {
            service: self.process.to_owned(),
            directives: now.directives,
            configured: now.configured,
            until_us: now.until.map_or(0, Timestamp::as_micros),
        }
    }

    async fn change(&self, actor: Actor, request: SetLogRequest) -> Result<Log, Failure> {
        let (directives, lasting) = (Directives::parse(&request.directives)?, lasting(request.for_us)?);
        logging()?; // there is one
        if request.reason.chars().count() > MAX_REASON || request.reason.chars().any(char::is_control) {
            return Err(Failure::new(Reason::InputInvalid).message(format!("a reason is one line of at most {MAX_REASON} characters")));
        }
        let change = LogChange { actor, process: self.process, directives: directives.clone(), lasting, reason: request.reason };
        (self.tell)(change).await?;
        let until = lasting.map(|lasting| (self.clock.now() + lasting, lasting));
        set_logging(&directives, until).map(|now| self.shown(now))
    }
}

#[tonic::async_trait]
impl OpsService for Operations {
    async fn get_log(&self, _: Request<GetLogRequest>) -> Result<Response<GetLogResponse>, Status> {
        Ok(Response::new(GetLogResponse { log: Some(self.shown(logging()?)) }))
    }

    async fn set_log(&self, request: Request<SetLogRequest>) -> Result<Response<SetLogResponse>, Status> {
        let actor = Actor::of(request.extensions());
        Ok(Response::new(SetLogResponse { log: Some(self.change(actor, request.into_inner()).await?) }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use carelink_proto::{audit::Event, ops::ops_service_client::OpsServiceClient};
    use uuid::Uuid;

    use super::*;
    use crate::{
        grpc::{Channel, as_operator, in_process},
        seal::SealingKeyPair,
        telemetry::{self, TelemetryConfig},
    };

    type Seen = Arc<Mutex<Vec<Event>>>;

    fn house(answer: Result<(), Reason>) -> (Stack, Seen, Arc<Mutex<Vec<Refused>>>) {
        let (seen, refusals) = (Seen::default(), Arc::<Mutex<Vec<Refused>>>::default());
        let sealing = SealingKeyPair::from_secret(&[7; 32]).unwrap();
        let (tell, refused) = (Arc::clone(&seen), Arc::clone(&refusals));
        let changed = move |change: LogChange| {
            let begun = EventBuilder::new("token", EventType::LogChanged, Uuid::nil(), Timestamp::ZERO);
            tell.lock().unwrap().push(change.tell(begun, sealing.public()).build());
            async move { answer.map_err(Failure::new) }
        };
        let told = Told::new(changed, Arc::new(move |call| refused.lock().unwrap().push(call)));
        (stack("token-service", told, Clock::system(), Random::seeded(1)), seen, refusals)
    }

    fn set(directives: &str) -> SetLogRequest {
        SetLogRequest { directives: directives.into(), for_us: 60_000_000, reason: "canary".into() }
    }

    async fn ask(channel: Channel, request: SetLogRequest) -> Result<Log, Reason> {
        let answer = OpsServiceClient::new(channel).set_log(request).await;
        answer.map(|answer| answer.into_inner().log.unwrap()).map_err(|status| Failure::from_status(&status).reason())
    }

    #[tokio::test]
    async fn g3_what_is_logged_is_changed_by_operators_only_and_told_first() {
        let _telemetry = telemetry::init(&TelemetryConfig::default(), "token-service").unwrap();
        let (stack, seen, refusals) = house(Ok(()));
        for service in ["gateway", "auth-service", "billing"] {
            assert_eq!(ask(in_process(stack.clone(), service), set("debug")).await, Err(Reason::CallerRefused));
        }
        assert_eq!((seen.lock().unwrap().len(), refusals.lock().unwrap().len()), (0, 3));
        let log = ask(as_operator(stack.clone()), set("info,token_service=debug")).await.unwrap();
        assert_eq!(
            (log.service.as_str(), log.directives.as_str(), log.configured.as_str()),
            ("token-service", "info,token_service=debug", "info")
        );
        assert!(log.until_us > 0);
        let event = seen.lock().unwrap().pop().unwrap();
        assert_eq!((event.details["directives"].as_str(), event.details["lasts_ms"].as_str()), ("info,token_service=debug", "60000"));
        assert!(event.actor.as_ref().unwrap().id.starts_with("uid:") && !format!("{event:?}").contains("canary"));
        let told = OpsServiceClient::new(as_operator(stack.clone())).get_log(GetLogRequest {}).await.unwrap().into_inner().log.unwrap();
        assert_eq!(told, log);
        assert_eq!(ask(as_operator(stack), set("h2=trace")).await, Err(Reason::InputInvalid));

        let (silent, ..) = house(Err(Reason::StorageUnavailable));
        assert_eq!(ask(as_operator(silent), set("error")).await, Err(Reason::StorageUnavailable));
        assert_eq!(logging().unwrap().directives, log.directives, "what cannot be told is not done");
    }

    #[tokio::test(start_paused = true)]
    async fn g3_without_an_outbox_what_the_trail_does_not_take_waits_and_comes_later() {
        let (away, seen) = (Arc::new(std::sync::atomic::AtomicBool::new(true)), Arc::<Mutex<Vec<Vec<u8>>>>::default());
        let (gone, taken) = (Arc::clone(&away), Arc::clone(&seen));
        let tell = move |event: Vec<u8>| {
            let away = gone.load(std::sync::atomic::Ordering::SeqCst);
            if !away {
                taken.lock().unwrap().push(event);
            }
            async move { if away { Err(Failure::new(Reason::Unready)) } else { Ok(()) } }
        };
        let told = Told::without_outbox(tell, ("gateway", None), Clock::system(), Random::seeded(1));
        let change = || LogChange {
            actor: Actor::Anonymous,
            process: "gateway",
            directives: Directives::parse("warn").unwrap(),
            lasting: None,
            reason: "canary".into(),
        };
        let mut accepted = 0;
        while (told.changed)(change()).await.is_ok() {
            accepted += 1;
        }
        assert!((MOST_WAITING..=MOST_WAITING + 1).contains(&accepted), "{accepted}");
        (told.refused)(Refused { caller: None, method: "/a".into(), reason: Reason::CallerRefused });
        away.store(false, std::sync::atomic::Ordering::SeqCst);
        while seen.lock().unwrap().len() < accepted + 1 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let events: Vec<Event> = seen.lock().unwrap().iter().map(|body| prost::Message::decode(body.as_slice()).unwrap()).collect();
        assert!(events.iter().all(|event| event.service == "gateway" && event.personal.is_none()));
        assert_eq!(events.iter().filter(|event| event.r#type == "caller.refused").count(), 1);
    }
}
