//! `carelink why`: what was decided about a request, a session or a user, and by which rule, as the trail tells it.

mod rules;

use std::collections::BTreeMap;

use carelink_platform::{clock::Timestamp, events::EventType};
use carelink_proto::audit::{Event, ListEventsRequest, StoredEvent};
use clap::Args as ClapArgs;
use serde::Serialize;
use uuid::Uuid;

use crate::{
    audit::{self, Names},
    cli::Context,
    connect::Clients,
    error::failed,
    output::{Table, time_cell, uuid},
};

/// Of `carelink why --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink why 4bf92f3577b34da6a3ce929d0e0e4736
  carelink why 0b54a1d2-7f0c-4f0e-9a57-0a6a0a2f3c11
  carelink why amina21 --limit 20
  carelink why amina21 --json

An error shows its trace id, a list of sessions each session. The rules are those of docs/PROTOCOL.md. Reading the trail is an \
event in it, too.";

/// `carelink why`.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// A trace id, a session, or a user: name, UUID or user_id
    #[arg(value_name = "TRACE_ID|SESSION|USER")]
    what: String,
    /// At most so many decisions, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

/// One decision.
#[derive(Debug, Serialize)]
struct Decision {
    index: u64,
    at: String,
    r#type: String,
    outcome: Option<&'static str>,
    reason: String,
    rule: &'static str,
    says: String,
    user: Option<String>,
    session: Option<String>,
    by: String,
    trace_id: String,
    details: BTreeMap<String, String>,
    /// Whether somebody brought it who may not write of such things.
    wrong_producer: bool,
}

/// What was meant.
enum Meant {
    Trace([u8; 16]),
    Session(Uuid),
    User(Vec<u8>),
}

impl Meant {
    fn kind(&self) -> &'static str {
        match self {
            Self::Trace(_) => "trace",
            Self::Session(_) => "session",
            Self::User(_) => "user",
        }
    }

    fn asks(&self) -> ListEventsRequest {
        match self {
            Self::Trace(id) => ListEventsRequest { trace_id: id.to_vec(), ..ListEventsRequest::default() },
            Self::Session(id) => ListEventsRequest { session: id.as_bytes().to_vec(), ..ListEventsRequest::default() },
            Self::User(id) => ListEventsRequest { user: id.clone(), ..ListEventsRequest::default() },
        }
    }
}

/// Does it.
pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    let mut clients = context.connect().await?;
    let (meant, mut events) = find(&args, &mut clients).await?;
    events.reverse(); // as it happened
    let mut names = Names::new(clients);
    let mut decisions = Vec::new();
    for stored in &events {
        if let Some(event) = &stored.event {
            decisions.push(decision(stored, event, &mut names).await);
        }
    }
    let last = last_word(&decisions);
    context.console.value(&serde_json::json!({ "kind": meant.kind(), "of": args.what, "decisions": decisions, "last_word": last }))?;
    let mut table = Table::new(["TIME", "WHAT WAS DECIDED", "RULE", "WHOM", "BY"]);
    for (decided, stored) in decisions.iter().zip(events.iter().filter(|stored| stored.event.is_some())) {
        let at = time_cell(stored.event.as_ref().map_or(0, |event| event.time_us));
        let user = decided.user.clone().unwrap_or_default();
        table.row([at, decided.says.clone(), decided.rule.to_owned(), user, decided.by.clone()]);
    }
    context.console.table(table)?;
    if let (Meant::Session(_), Some(last)) = (&meant, &last) {
        context.console.line(format!("so: {last}"))?;
    }
    Ok(())
}

/// Asks for what is the likeliest first: 32 digits are a trace id, a UUID is a session, else it is a user's.
async fn find(args: &Args, clients: &mut Clients) -> anyhow::Result<(Meant, Vec<StoredEvent>)> {
    let text = args.what.as_str();
    let mut likely = Vec::new();
    likely.extend(audit::trace_id(text).ok().map(Meant::Trace));
    likely.extend(Uuid::try_parse(text).ok().map(Meant::Session));
    for meant in likely {
        let found = list(&meant, args.limit, clients).await?;
        if !found.is_empty() {
            return Ok((meant, found));
        }
    }
    let silent = "a request that was refused without changing anything is in no trail: look for the trace id in what the processes log";
    let subject = match audit::subject(clients, text).await {
        Ok(subject) => subject,
        Err(_) if audit::trace_id(text).is_ok() => {
            return Err(failed("nothing_found", format!("the trail has nothing under {text}; {silent}")));
        }
        Err(error) => return Err(error),
    };
    let meant = Meant::User(subject);
    match list(&meant, args.limit, clients).await? {
        found if found.is_empty() && audit::trace_id(text).is_ok() => {
            Err(failed("nothing_found", format!("the trail has nothing under {text}; {silent}")))
        }
        found if found.is_empty() => Err(failed("nothing_found", format!("the trail has nothing about {text}"))),
        found => Ok((meant, found)),
    }
}

async fn list(meant: &Meant, limit: u32, clients: &mut Clients) -> anyhow::Result<Vec<StoredEvent>> {
    let request = ListEventsRequest { page_size: limit, ..meant.asks() };
    Ok(clients.audit.list_events(request).await?.into_inner().events)
}

async fn decision(stored: &StoredEvent, event: &Event, names: &mut Names) -> Decision {
    let id = |bytes: &[u8]| (!bytes.is_empty()).then(|| uuid(bytes));
    let user = match Uuid::from_slice(&event.subject) {
        Ok(subject) => Some(names.of(subject).await),
        Err(_) => None,
    };
    let (rule, mut says) = rules::explain(EventType::named(&event.r#type), event);
    let believed = !stored.wrong_producer;
    if !believed {
        says = format!("not to be believed, brought by {}, which does not write of such things: {says}", stored.proven_caller);
    }
    Decision {
        index: stored.index,
        at: Timestamp::from_micros(event.time_us).to_string(),
        r#type: event.r#type.clone(),
        outcome: audit::outcome(event),
        reason: event.reason.clone(),
        rule: if believed { rule } else { "A4" },
        says,
        user,
        session: id(&event.session),
        by: names.actor(event).await,
        trace_id: hex::encode(&event.trace_id),
        details: event.details.clone().into_iter().collect(),
        wrong_producer: stored.wrong_producer,
    }
}

/// How it ended, where what was found ends it.
fn last_word(decisions: &[Decision]) -> Option<String> {
    let ending = |kind: &str| ["session.ended", "session.signed_out", "session.reuse_detected", "session.state_lost"].contains(&kind);
    let last = decisions.iter().filter(|decision| !decision.wrong_producer).rfind(|decision| ending(&decision.r#type))?;
    Some(format!("the session is over since {}: {} ({})", last.at, last.says, last.rule))
}

#[cfg(test)]
mod tests {
    use carelink_platform::events::{Actor, EventBuilder};

    use super::*;
    use crate::{
        error::Exit,
        fake::{Fake, State, user},
        tests::run,
    };

    fn trail() -> Fake {
        let stored = |index: u64, kind, build: fn(EventBuilder) -> EventBuilder| {
            let at = Timestamp::from_secs(1_700_000_000 + i64::try_from(index).unwrap());
            let event = EventBuilder::new("token", kind, Uuid::from_u128(index.into()), at);
            StoredEvent { index, event: Some(build(event.subject(Uuid::from_u128(1))).build()), ..StoredEvent::default() }
        };
        let forged =
            StoredEvent { wrong_producer: true, proven_caller: "gateway".into(), ..stored(3, EventType::UserDisabled, |event| event) };
        let events = vec![
            forged,
            stored(2, EventType::SessionEnded, |event| event.reason("disabled").actor(Actor::Service("auth-service".into()))),
            stored(1, EventType::SessionRefreshed, |event| event.detail("generation", 4_u64)),
        ];
        Fake::start(State { events, users: vec![user(1, "amina21", &[])], ..State::default() })
    }

    #[tokio::test]
    async fn a_session_is_told_from_its_beginning_with_each_rule_and_its_last_word() {
        let fake = trail();
        let told = run(fake.data(), &["why", "0b54a1d2-7f0c-4f0e-9a57-0a6a0a2f3c11"]).await;
        let lines: Vec<&str> = told.out.lines().collect();
        assert!(
            lines[1].contains("the refresh token of generation 4 was exchanged for its successor") && lines[1].contains("S3"),
            "{}",
            told.out
        );
        assert!(lines[2].contains("the session ended: the user was disabled") && lines[2].contains("U2"), "{}", told.out);
        assert!(lines[3].contains("not to be believed, brought by gateway") && lines[3].contains("A4"), "{}", told.out);
        assert!(lines[4].starts_with("so: the session is over since") && lines[4].ends_with("(U2)"), "{}", told.out);
    }

    #[tokio::test]
    async fn a_trace_id_and_a_user_are_told_from_each_other() {
        let fake = trail();
        for (what, kind, asked) in [("0f".repeat(16).as_str(), "trace", "trace_id: [15"), ("amina21", "user", "user: [0")] {
            let told = run(fake.data(), &["why", what, "--json"]).await.json();
            assert_eq!(told["kind"], kind);
            assert_eq!(told["decisions"][1]["rule"], "U2");
            assert_eq!((&told["decisions"][2]["rule"], &told["decisions"][2]["wrong_producer"]), (&"A4".into(), &true.into()));
            let seen = fake.state.lock().unwrap().seen.last().map(|(request, _)| request.clone()).unwrap();
            let listed = fake.state.lock().unwrap().seen.iter().any(|(request, _)| request.contains(asked));
            assert!(listed, "{what}: {seen}");
        }
        fake.state.lock().unwrap().events.clear();
        let nothing = run(fake.data(), &["why", &"0f".repeat(16)]).await;
        assert_eq!(nothing.sentence().0, Exit::Failed);
        assert!(nothing.sentence().1.contains("in what the processes log"), "{}", nothing.sentence().1);
    }
}
