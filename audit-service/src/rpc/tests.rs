use std::{sync::Arc, time::Duration};

use carelink_database::{
    Db, DbOptions, StoreError, outbox,
    trail::{AUDIT, Trail},
};
use carelink_platform::{
    clock::{Clock, Timestamp},
    context::{RequestContext, TraceContext},
    errors::{Failure, Reason},
    events::{Actor, EventBuilder, EventType},
    grpc::{Channel, Hooks, User, connect_unix, in_process, serve_unix},
    lifecycle::Shutdown,
    random::Random,
    seal::SealingKeyPair,
};
use carelink_proto::audit::{
    ActorKind, AppendRequest, Event, ListEventsRequest, Outcome, Personal, StoredEvent, audit_service_client::AuditServiceClient,
};
use carelink_servers::{Engine, Place, on_both_engines};
use prost::Message;
use tonic::{Request, Status};
use uuid::Uuid;

use crate::{
    App, Config, Options,
    domain::list_events::Cursor,
    places::{location, place, tamper},
};

const AUDITOR: u128 = 77;

pub(super) struct House {
    place: Place,
    app: App,
    sealing: SealingKeyPair,
    socket: Channel,
    shutdown: Shutdown,
}

impl House {
    pub(super) async fn start(engine: Engine) -> Self {
        Self::start_in(place(engine).await, 7).await
    }

    async fn start_in(place: Place, key: u8) -> Self {
        let sealing = SealingKeyPair::from_secret(&[key; 32]).unwrap();
        let (clock, _) = Clock::manual(Timestamp::from_secs(1_000));
        let app = App::build(Options {
            config: Config::default(),
            database: location(&place),
            clock,
            random: Random::seeded(key.into()),
            sealing: sealing.clone(),
            hooks: Hooks { verify_user: Some(Arc::new(|token, _| Box::pin(async move { verify(&token) }))), on_refused: None },
        })
        .await
        .unwrap();
        let shutdown = Shutdown::new();
        let path = place.directory().join("control.sock");
        serve_unix(&path, vec![app.stack()], shutdown.clone()).await.unwrap();
        let socket = connect_unix(&path, Some("amina".into())).await.unwrap();
        Self { place, app, sealing, socket, shutdown }
    }

    fn as_service(&self, name: &'static str) -> AuditServiceClient<Channel> {
        AuditServiceClient::new(in_process(self.app.stack(), name))
    }

    pub(super) async fn append(&self, events: Vec<Vec<u8>>) -> u32 {
        self.as_service("token-service").append(AppendRequest { events }).await.unwrap().into_inner().stored
    }

    pub(super) async fn list(&self, request: ListEventsRequest) -> Vec<StoredEvent> {
        AuditServiceClient::new(self.socket.clone()).list_events(request).await.unwrap().into_inner().events
    }

    async fn of_type(&self, name: &str) -> Vec<Event> {
        let all = self.list(ListEventsRequest { r#type: name.into(), ..ListEventsRequest::default() }).await;
        all.into_iter().map(|stored| stored.event.unwrap()).collect()
    }
}

fn verify(token: &str) -> Result<User, Failure> {
    let role = match token {
        "auditor" => "auditor",
        "nurse" => "nurse",
        _ => return Err(Failure::new(Reason::TokenInvalid)),
    };
    Ok(User {
        subject: Uuid::from_u128(AUDITOR),
        user_id: "1".into(),
        session: Uuid::from_u128(5),
        roles: Arc::new([role.to_owned()]),
        stale: false,
    })
}

fn event(number: u128, kind: EventType) -> EventBuilder {
    EventBuilder::new("token", kind, Uuid::from_u128(number), Timestamp::from_secs(500))
}

pub(super) fn refreshed(number: u128) -> Vec<u8> {
    event(number, EventType::SessionRefreshed).encode()
}

fn for_user(token: &str) -> Request<ListEventsRequest> {
    let mut request = Request::new(ListEventsRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn reason(status: &Status) -> Reason {
    Failure::from_status(status).reason()
}

async fn a4_a_delivery_that_comes_again_is_acknowledged_again(engine: Engine) {
    let house = House::start(engine).await;
    let events: Vec<_> = (1..=3).map(|number| event(number, EventType::SessionRefreshed).encode()).collect();
    assert_eq!(house.append(events.clone()).await, 3);
    assert_eq!(house.append(events).await, 0);
    assert_eq!(house.append(vec![vec![0xff; 7]]).await, 1);
    let odd = house.list(ListEventsRequest { r#type: "unreadable".into(), ..ListEventsRequest::default() }).await;
    assert_eq!((odd[0].unreadable.clone(), odd[0].event.clone()), (vec![0xff; 7], None));
}

async fn a4_more_than_a_thousand_at_once_are_refused_whole(engine: Engine) {
    let house = House::start(engine).await;
    let events = |count: u128| AppendRequest { events: (1..=count).map(|n| event(n, EventType::SessionRefreshed).encode()).collect() };
    let status = house.as_service("token-service").append(events(1_001)).await.unwrap_err();
    assert_eq!(reason(&status), Reason::InputInvalid);
    assert!(house.of_type("session.*").await.is_empty());
    assert_eq!(house.as_service("token-service").append(events(1_000)).await.unwrap().into_inner().stored, 1_000);
}

async fn a3_readers_see_the_personal_part_that_others_cannot_open(engine: Engine) {
    let house = House::start(engine).await;
    let personal = Personal { network: "192.0.2.7".into(), user_agent: "curl/8".into(), text: String::new() };
    let foreign = SealingKeyPair::from_secret(&[9; 32]).unwrap();
    house
        .append(vec![
            event(1, EventType::SignInFailed).personal(house.app.sealing_key(), &personal).encode(),
            event(2, EventType::SignInFailed).personal(foreign.public(), &personal).encode(),
            event(3, EventType::SignInFailed).encode(),
        ])
        .await;
    let shown = house.list(ListEventsRequest { outcome: Outcome::Failure.into(), ..ListEventsRequest::default() }).await;
    let opened: Vec<_> = shown.iter().map(|stored| stored.personal.clone()).collect();
    assert_eq!(opened, [None, None, Some(personal)]);
    if engine == Engine::Sqlite {
        assert_eq!(shown.iter().map(|stored| stored.received_us).collect::<Vec<_>>(), [1_000_000_000; 3]);
    }
}

async fn a7_a_reading_is_in_the_trail_with_who_and_what(engine: Engine) {
    let house = House::start(engine).await;
    let request = ListEventsRequest { user: vec![3; 16], r#type: "session.*".into(), ..ListEventsRequest::default() };
    assert!(house.list(request).await.is_empty());
    house.as_service("gateway").list_events(for_user("auditor")).await.unwrap();
    let readings = house.of_type("audit.read").await;
    assert_eq!(readings.len(), 2, "a reading does not show itself");
    let user = readings[0].actor.clone().unwrap();
    assert_eq!((user.kind(), user.id), (ActorKind::User, Uuid::from_u128(AUDITOR).to_string()));
    let operator = readings[1].actor.clone().unwrap();
    assert_eq!((operator.kind(), operator.claimed.as_str()), (ActorKind::Operator, "amina"));
    assert!(operator.id.starts_with("uid:"));
    assert_eq!((readings[1].subject.clone(), readings[1].details["type"].as_str()), (vec![3; 16], "session.*"));
    assert_eq!(house.of_type("audit.read").await.len(), 3);
}

async fn a7_nothing_is_read_where_the_reading_cannot_be_recorded(engine: Engine) {
    let house = House::start(engine).await;
    house.append(vec![event(1, EventType::SessionEnded).encode()]).await;
    let breaks = match engine {
        Engine::Sqlite => "CREATE TRIGGER t BEFORE INSERT ON events WHEN NEW.kind = 'audit.read' BEGIN SELECT RAISE(ABORT, 'canary'); END",
        Engine::Postgres => "ALTER TABLE events ADD CONSTRAINT canary CHECK (kind <> 'audit.read') NOT VALID",
    };
    tamper(&house.place, breaks).unwrap();
    let status = AuditServiceClient::new(house.socket.clone()).list_events(ListEventsRequest::default()).await.unwrap_err();
    assert_eq!(reason(&status), Reason::Internal);
    assert!(!format!("{status:?}").contains("canary"));
}

async fn a7_a_query_is_in_the_trail_once_and_nobody_elses_cursor_hides_one(engine: Engine) {
    let house = House::start(engine).await;
    house.append((1..=5).map(refreshed).collect()).await;
    let page = |cursor: &str| ListEventsRequest { page_size: 2, cursor: cursor.to_owned(), ..ListEventsRequest::default() };
    let mut operator = AuditServiceClient::new(house.socket.clone());
    let first = operator.list_events(page("")).await.unwrap().into_inner();
    let second = operator.list_events(page(&first.next_cursor)).await.unwrap().into_inner();
    assert!(second.events[0].index < first.events[1].index);
    assert_eq!(house.of_type("audit.read").await.len(), 1, "both pages are of one query");
    let mut borrowed = Request::new(page(&first.next_cursor));
    borrowed.metadata_mut().insert("authorization", "Bearer auditor".parse().unwrap());
    house.as_service("gateway").list_events(borrowed).await.unwrap();
    let readings = house.of_type("audit.read").await;
    assert_eq!(readings.iter().filter(|event| event.actor.as_ref().unwrap().kind() == ActorKind::User).count(), 1, "who reads is told");
    let forged = event(77, EventType::AuditRead).actor(Actor::User(Uuid::from_u128(AUDITOR))).detail("page_size", 2_u32).encode();
    house.as_service("gateway").append(AppendRequest { events: vec![forged] }).await.unwrap();
    let at = house.list(ListEventsRequest { wrong_producer: true, ..ListEventsRequest::default() }).await[0].index;
    let mut hidden = Request::new(page(&Cursor { before: 4, reading: at }.encode()));
    hidden.metadata_mut().insert("authorization", "Bearer auditor".parse().unwrap());
    house.as_service("gateway").list_events(hidden).await.unwrap();
    let by_user = house.of_type("audit.read").await.into_iter().filter(|event| event.actor.as_ref().unwrap().kind() == ActorKind::User);
    assert_eq!(by_user.count(), 3, "the borrowed one, the forged one, and the one that it did not hide");
}

async fn a4_who_brought_an_event_is_proven_and_what_is_not_theirs_is_marked(engine: Engine) {
    let house = House::start(engine).await;
    let forged = EventBuilder::new("auth", EventType::UserDisabled, Uuid::from_u128(1), Timestamp::from_secs(500)).encode();
    let own = EventBuilder::new("gateway", EventType::SignInThrottled, Uuid::from_u128(2), Timestamp::from_secs(500)).encode();
    let appended = house.as_service("gateway").append(AppendRequest { events: vec![forged.clone(), own] }).await.unwrap();
    assert_eq!(appended.into_inner().stored, 2, "no event is refused");
    house.append(vec![refreshed(3)]).await;
    let shown = house.list(ListEventsRequest { since_us: 1, until_us: 600_000_000, ..ListEventsRequest::default() }).await;
    let callers: Vec<_> = shown.iter().map(|stored| (stored.proven_caller.as_str(), stored.wrong_producer)).collect();
    assert_eq!(callers, [("token-service", false), ("gateway", false), ("gateway", true)]);
    let marked = house.list(ListEventsRequest { wrong_producer: true, ..ListEventsRequest::default() }).await;
    assert_eq!(marked.iter().map(|stored| stored.event.clone().unwrap().encode_to_vec()).collect::<Vec<_>>(), [forged]);
    let own = house.list(ListEventsRequest { actor: "audit-service".into(), r#type: "key.*".into(), ..ListEventsRequest::default() }).await;
    assert_eq!((own.len(), own[0].proven_caller.as_str()), (1, "audit-service"));
    let engine_says = match engine {
        Engine::Sqlite => "UPDATE events SET wrong_producer = 0",
        Engine::Postgres => "UPDATE events SET wrong_producer = false",
    };
    assert!(tamper(&house.place, engine_says).unwrap_err().contains("the trail is append-only"));
}

async fn a2_the_trace_of_a_request_is_in_its_event(engine: Engine) {
    let house = House::start(engine).await;
    let trace = TraceContext { trace_id: [6; 16], span_id: [1; 8], sampled: false };
    let context = RequestContext { trace, deadline: None };
    context.scope(house.list(ListEventsRequest::default())).await;
    let found = house.list(ListEventsRequest { trace_id: vec![6; 16], ..ListEventsRequest::default() }).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].event.clone().unwrap().r#type, "audit.read");
}

async fn g2_only_producers_append_and_only_auditors_read(engine: Engine) {
    let house = House::start(engine).await;
    let append = AppendRequest { events: vec![event(1, EventType::SessionEnded).encode()] };
    let by_operator = AuditServiceClient::new(house.socket.clone()).append(append.clone()).await.unwrap_err();
    assert_eq!(reason(&by_operator), Reason::CallerRefused);
    let by_stranger = house.as_service("importer").append(append).await.unwrap_err();
    assert_eq!(reason(&by_stranger), Reason::CallerRefused);
    let mut gateway = house.as_service("gateway");
    for (token, expected) in [("nurse", Reason::RoleRequired), ("forged", Reason::TokenInvalid)] {
        assert_eq!(reason(&gateway.list_events(for_user(token)).await.unwrap_err()), expected);
    }
    assert_eq!(reason(&gateway.list_events(ListEventsRequest::default()).await.unwrap_err()), Reason::TokenMissing);
    assert_eq!(reason(&house.as_service("token-service").list_events(for_user("auditor")).await.unwrap_err()), Reason::CallerRefused);
    assert!(house.of_type("session.ended").await.is_empty());
}

async fn a_refused_call_is_an_event_and_so_are_start_and_stop(engine: Engine) {
    let house = House::start(engine).await;
    let running = tokio::spawn(house.app.clone().run(house.shutdown.child()));
    house.as_service("importer").append(AppendRequest::default()).await.unwrap_err();
    let refused = loop {
        match house.of_type("caller.refused").await.pop() {
            Some(event) => break event,
            None => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    };
    assert_eq!((refused.actor.unwrap().id.as_str(), refused.reason.as_str()), ("importer", "caller_refused"));
    assert_eq!(refused.object, "rpc:/carelink.audit.v1.AuditService/Append");
    let app = house.app.clone();
    house.shutdown.request();
    running.await.unwrap();
    let again = AuditServiceClient::new(in_process(app.stack(), "gateway")).list_events(for_user("auditor")).await.unwrap();
    let types: Vec<_> = again.into_inner().events.into_iter().map(|stored| stored.event.unwrap().r#type).collect();
    assert_eq!(types[0], "service.stopped");
    assert!(types.contains(&"service.started".to_owned()));
}

async fn what_a_start_means_is_in_the_trail_and_only_what_is_new(engine: Engine) {
    let types = async |house: &House| -> Vec<String> {
        let events = house.list(ListEventsRequest::default()).await;
        events.into_iter().rev().map(|stored| stored.event.unwrap()).map(|event| format!("{} {}", event.r#type, event.object)).collect()
    };
    let house = House::start(engine).await;
    let first = types(&house).await;
    let key = format!("key.created key:{}", house.sealing.public().id());
    assert!(first[0].starts_with("config.loaded configuration:"));
    match engine {
        Engine::Sqlite => {
            assert_eq!(
                first[1..],
                [
                    "migration.run migration:audit/0000_platform",
                    "migration.run migration:audit/0001_events",
                    "migration.run migration:audit/0002_expand_callers",
                    &key
                ]
            );
        }
        Engine::Postgres => assert_eq!(first[1..], [key]),
    }
    let again = House::start_in(house.place, 8).await;
    let second = types(&again).await;
    let key = format!("key.created key:{}", again.sealing.public().id());
    let new = second.get(first.len() + 1..).unwrap();
    assert!(new[0].starts_with("config.loaded "), "{second:?}");
    assert_eq!(new[1..], [key]);
}

async fn a_cursor_goes_on_where_the_page_before_stopped(engine: Engine) {
    let house = House::start(engine).await;
    house.append((1..=25).map(|number| event(number, EventType::SessionRefreshed).encode()).collect()).await;
    let mut client = AuditServiceClient::new(house.socket.clone());
    let mut request = ListEventsRequest { r#type: "session.refreshed".into(), page_size: 10, ..ListEventsRequest::default() };
    let mut pages = Vec::new();
    loop {
        let page = client.list_events(request.clone()).await.unwrap().into_inner();
        pages.push(page.events.len());
        house.append(vec![event(100 + pages.len() as u128, EventType::SessionRefreshed).encode()]).await;
        if page.next_cursor.is_empty() {
            break;
        }
        request.cursor = page.next_cursor;
    }
    assert_eq!(pages, [10, 10, 5]);
    request.cursor = Cursor { before: 1 << 40, reading: 1 << 40 }.encode();
    request.r#type = "audit.read".into();
    let readings = client.list_events(request.clone()).await.unwrap().into_inner().events.len();
    assert_eq!(readings, 1, "a query is told once; a cursor from nowhere does not show its own reading either");
    request.cursor = "none of ours".into();
    assert_eq!(reason(&client.list_events(request).await.unwrap_err()), Reason::CursorInvalid);
}

async fn a1_what_a_producer_committed_arrives_once_completed_by_its_row(engine: Engine) {
    let house = House::start(engine).await;
    let (clock, _) = Clock::manual(Timestamp::from_secs(500));
    let db = Db::open(DbOptions { at: house.place.directory().join("token.sqlite3").into(), schema: "token", migrations: &[], clock })
        .await
        .unwrap();
    let producer = Trail::new(db.clone(), "token", "token-service", Random::seeded(3), house.app.sealing_key().clone());
    let personal = Personal { network: "192.0.2.7".into(), ..Personal::default() };
    let noted = producer.note(EventType::SessionReplayed, producer.now(), |event| event.personal(producer.sealing(), &personal));
    db.transaction("change", move |tx| {
        Box::pin(async move {
            outbox::put(tx, noted.of_session(Uuid::from_u128(1), Uuid::from_u128(2), 3)).await?;
            Ok::<_, StoreError>(())
        })
    })
    .await
    .unwrap();
    let shutdown = Shutdown::new();
    let relay = tokio::spawn(producer.relay(house.as_service("token-service")).run(shutdown.clone()));
    while outbox::backlog(&db, AUDIT).await.unwrap().0 > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shutdown.request();
    relay.await.unwrap();
    let arrived =
        house.list(ListEventsRequest { user: vec![0; 15].into_iter().chain([1]).collect(), ..ListEventsRequest::default() }).await;
    assert_eq!(arrived.len(), 1);
    let event = arrived[0].event.clone().unwrap();
    assert_eq!((event.session.as_slice(), event.session_counter), (&Uuid::from_u128(2).as_bytes()[..], 3));
    assert_eq!(event.time_us, 500_000_000);
    assert_eq!(arrived[0].personal, Some(personal));
}

on_both_engines!(
    a4_a_delivery_that_comes_again_is_acknowledged_again,
    a4_more_than_a_thousand_at_once_are_refused_whole,
    a3_readers_see_the_personal_part_that_others_cannot_open,
    a7_a_reading_is_in_the_trail_with_who_and_what,
    a7_nothing_is_read_where_the_reading_cannot_be_recorded,
    a7_a_query_is_in_the_trail_once_and_nobody_elses_cursor_hides_one,
    a4_who_brought_an_event_is_proven_and_what_is_not_theirs_is_marked,
    a2_the_trace_of_a_request_is_in_its_event,
    g2_only_producers_append_and_only_auditors_read,
    a_refused_call_is_an_event_and_so_are_start_and_stop,
    what_a_start_means_is_in_the_trail_and_only_what_is_new,
    a_cursor_goes_on_where_the_page_before_stopped,
    a1_what_a_producer_committed_arrives_once_completed_by_its_row,
);
