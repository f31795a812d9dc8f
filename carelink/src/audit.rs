//! `carelink audit`: reads the trail. Every page that is read is itself an event there, with who read it.

use std::collections::{BTreeMap, HashMap};

use carelink_platform::{
    clock::{Clock, Timestamp},
    events::EventType,
};
use carelink_proto::{
    audit::{ActorKind, Event, ListEventsRequest, Outcome, Personal, StoredEvent},
    auth::{GetUserRequest, get_user_request::By},
};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    cli::Context,
    connect::Clients,
    output::{Table, time, time_cell, uuid},
    paging::Paging,
    when::{When, when},
    who,
};

/// What can be done with the trail.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List events, newest first; every filter narrows
    #[command(after_help = "Examples:
  carelink audit list --user amina21 --since 12h
  carelink audit list --type 'sign_in.*' --outcome failure
  carelink audit list --since 2026-11-01 --until 2026-11-02T06:00:00Z --all --json
  carelink audit list --trace 4bf92f3577b34da6a3ce929d0e0e4736")]
    List(Box<List>),
}

/// `carelink audit list`.
#[derive(Args)]
pub(crate) struct List {
    /// Whom it concerns or who did it: name, UUID or user_id (`name:X` and `id:X` where it could be either)
    #[arg(long)]
    user: Option<String>,
    /// The type of event, such as `session.ended`; a `*` at the end takes all that begin so
    #[arg(long = "type", value_name = "TYPE", value_parser = event_type)]
    kind: Option<String>,
    /// Only what came to pass, or only what did not
    #[arg(long, value_enum)]
    outcome: Option<Came>,
    /// The session, as `sessions list` shows it
    #[arg(long, value_name = "UUID")]
    session: Option<Uuid>,
    /// The trace id, as errors show it
    #[arg(long, value_name = "TRACE", value_parser = trace_id)]
    trace: Option<[u8; 16]>,
    /// Not before: a time (RFC 3339), a day, or so long ago (`2h`, `7days`)
    #[arg(long, value_name = "TIME", value_parser = when)]
    since: Option<When>,
    /// Before: likewise
    #[arg(long, value_name = "TIME", value_parser = when)]
    until: Option<When>,
    #[command(flatten)]
    paging: Paging,
}

/// How it ended.
#[derive(Clone, Copy, ValueEnum)]
enum Came {
    /// It came to pass
    Success,
    /// It did not
    Failure,
}

/// A type of event as `--type` takes it. One that does not exist would answer that nothing happened.
fn event_type(text: &str) -> Result<String, String> {
    let fits = |known: &&EventType| match text.strip_suffix('*') {
        Some(beginning) => known.as_str().starts_with(beginning),
        None => known.as_str() == text,
    };
    if EventType::ALL.iter().any(|known| fits(&known)) {
        return Ok(text.to_owned());
    }
    let names = EventType::ALL.iter().map(|known| known.as_str());
    let nearest = names.map(|name| (strsim::jaro_winkler(text, name), name)).max_by(|one, other| one.0.total_cmp(&other.0));
    let nearest = nearest.filter(|(likeness, _)| *likeness > 0.6).map(|(_, name)| format!("; did you mean {name}?"));
    Err(format!("there is no such type of event{}", nearest.unwrap_or_default()))
}

/// As errors show it.
pub(crate) fn trace_id(text: &str) -> Result<[u8; 16], String> {
    let mut id = [0; 16];
    hex::decode_to_slice(text, &mut id).map(|()| id).map_err(|_| "a trace id is 32 hexadecimal digits".to_owned())
}

/// Does it.
pub(crate) async fn run(command: Command, context: &mut Context) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(*args, context).await,
    }
}

async fn list(args: List, context: &mut Context) -> anyhow::Result<()> {
    let mut clients = context.connect().await?;
    let now = Clock::system().now();
    let request = ListEventsRequest {
        user: match &args.user {
            Some(user) => subject(&mut clients, user).await?,
            None => Vec::new(),
        },
        r#type: args.kind.unwrap_or_default(),
        outcome: match args.outcome {
            Some(Came::Success) => Outcome::Success.into(),
            Some(Came::Failure) => Outcome::Failure.into(),
            None => Outcome::Unspecified.into(),
        },
        session: args.session.map(|session| session.as_bytes().to_vec()).unwrap_or_default(),
        trace_id: args.trace.map(Vec::from).unwrap_or_default(),
        since_us: args.since.map_or(0, |since| since.micros(now)),
        until_us: args.until.map_or(0, |until| until.micros(now)),
        ..ListEventsRequest::default()
    };
    let fetch = async |page_size, cursor| {
        let page = clients.audit.clone().list_events(ListEventsRequest { page_size, cursor, ..request.clone() }).await?.into_inner();
        Ok((page.events, page.next_cursor))
    };
    let pages = args.paging.read(fetch).await?;
    context.console.value(&Many { events: pages.items.iter().map(Shown::from).collect(), next_cursor: pages.next_cursor.as_deref() })?;
    if !context.console.json() {
        let mut names = Names::new(clients);
        let mut table = Table::new(["INDEX", "TIME", "TYPE", "OUTCOME", "USER", "BY", "FROM", "PARTICULARS"]);
        for stored in &pages.items {
            table.row(names.row(stored).await);
        }
        context.console.table(table)?;
    }
    pages.remark(&mut context.console);
    Ok(())
}

/// The subject's id. Whoever is gone from the users may be in the trail still: their UUID will do.
pub(crate) async fn subject(clients: &mut Clients, text: &str) -> anyhow::Result<Vec<u8>> {
    match (who::find(clients, text).await, Uuid::try_parse(text.strip_prefix("id:").unwrap_or(text))) {
        (Ok(user), _) => Ok(user.id),
        (Err(_), Ok(id)) => Ok(id.as_bytes().to_vec()),
        (Err(error), Err(_)) => Err(error),
    }
}

/// The names behind the ids of the trail, which holds none. Each is asked for once.
pub(crate) struct Names {
    clients: Clients,
    known: HashMap<Uuid, String>,
}

impl Names {
    /// None is known yet.
    pub(crate) fn new(clients: Clients) -> Self {
        Self { clients, known: HashMap::new() }
    }

    /// The name behind an id, or the id where there is none.
    pub(crate) async fn of(&mut self, id: Uuid) -> String {
        if let Some(name) = self.known.get(&id) {
            return name.clone();
        }
        let by = Some(By::Id(id.as_bytes().to_vec()));
        let found = self.clients.auth.get_user(GetUserRequest { by }).await.ok().and_then(|answer| answer.into_inner().user);
        let name = found.map_or_else(|| id.to_string(), |user| user.username);
        self.known.insert(id, name.clone());
        name
    }

    async fn row(&mut self, stored: &StoredEvent) -> [String; 8] {
        let Some(event) = &stored.event else {
            let kept = format!("{} bytes that are no event", stored.unreadable.len());
            let (index, received) = (stored.index.to_string(), time_cell(stored.received_us));
            return [index, received, "unreadable".into(), String::new(), String::new(), String::new(), String::new(), kept];
        };
        let user = match Uuid::from_slice(&event.subject) {
            Ok(id) => self.of(id).await,
            Err(_) => String::new(),
        };
        let by = self.actor(event).await;
        let personal = stored.personal.clone().unwrap_or_default();
        [
            stored.index.to_string(),
            time_cell(event.time_us),
            event.r#type.clone(),
            outcome(event).unwrap_or_default().into(),
            user,
            by,
            personal.network.clone(),
            particulars(event, &personal),
        ]
    }

    /// Who did it.
    pub(crate) async fn actor(&mut self, event: &Event) -> String {
        let Some(actor) = &event.actor else { return String::new() };
        match (actor.kind(), Uuid::try_parse(&actor.id)) {
            (ActorKind::User, Ok(id)) => self.of(id).await,
            (ActorKind::Anonymous, _) => "anonymous".into(),
            (ActorKind::Operator, _) if !actor.claimed.is_empty() => format!("{} ({})", actor.id, actor.claimed),
            _ => actor.id.clone(),
        }
    }
}

/// How it ended, where it says so.
pub(crate) fn outcome(event: &Event) -> Option<&'static str> {
    match event.outcome() {
        Outcome::Success => Some("success"),
        Outcome::Failure => Some("failure"),
        Outcome::Unspecified => None,
    }
}

/// Everything else in one cell: the reason, the object, the details, what somebody wrote.
pub(crate) fn particulars(event: &Event, personal: &Personal) -> String {
    let details: BTreeMap<_, _> = event.details.iter().collect();
    let details = details.into_iter().map(|(key, value)| format!("{key}={value}"));
    let text = Some(&personal.text).filter(|text| !text.is_empty()).map(|text| format!("\"{text}\""));
    let parts = [event.reason.clone(), event.object.clone()].into_iter().filter(|part| !part.is_empty()).chain(details).chain(text);
    parts.collect::<Vec<_>>().join(" ")
}

#[derive(Serialize)]
struct Many<'a> {
    events: Vec<Shown>,
    next_cursor: Option<&'a str>,
}

/// An event as JSON.
#[derive(Serialize)]
struct Shown {
    index: u64,
    received_at: Option<String>,
    #[serde(flatten)]
    event: Option<ShownEvent>,
    /// What was delivered, where it is no event, in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreadable: Option<String>,
}

#[derive(Serialize)]
struct ShownEvent {
    id: String,
    time: String,
    service: String,
    r#type: String,
    outcome: Option<&'static str>,
    reason: Option<String>,
    actor: Option<ShownActor>,
    subject: Option<String>,
    session: Option<String>,
    session_counter: Option<u64>,
    object: Option<String>,
    trace_id: Option<String>,
    details: BTreeMap<String, String>,
    personal: Option<ShownPersonal>,
    /// Whether there is a personal part that cannot be opened any more.
    personal_closed: bool,
}

#[derive(Serialize)]
struct ShownActor {
    kind: &'static str,
    id: Option<String>,
    claimed: Option<String>,
}

#[derive(Serialize)]
struct ShownPersonal {
    network: Option<String>,
    user_agent: Option<String>,
    text: Option<String>,
}

fn filled(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

impl From<&StoredEvent> for Shown {
    fn from(stored: &StoredEvent) -> Self {
        let event = stored.event.as_ref();
        Self {
            index: stored.index,
            received_at: time(stored.received_us),
            event: event.map(|event| ShownEvent::new(event, stored.personal.as_ref())),
            unreadable: event.is_none().then(|| hex::encode(&stored.unreadable)),
        }
    }
}

impl ShownEvent {
    fn new(event: &Event, personal: Option<&Personal>) -> Self {
        let id = |bytes: &[u8]| (!bytes.is_empty()).then(|| uuid(bytes));
        Self {
            id: uuid(&event.id),
            time: Timestamp::from_micros(event.time_us).to_string(),
            service: event.service.clone(),
            r#type: event.r#type.clone(),
            outcome: outcome(event),
            reason: filled(&event.reason),
            actor: event.actor.as_ref().map(|actor| ShownActor {
                kind: match actor.kind() {
                    ActorKind::Unspecified => "unknown",
                    ActorKind::Anonymous => "anonymous",
                    ActorKind::User => "user",
                    ActorKind::Service => "service",
                    ActorKind::Operator => "operator",
                },
                id: filled(&actor.id),
                claimed: filled(&actor.claimed),
            }),
            subject: id(&event.subject),
            session: id(&event.session),
            session_counter: Some(event.session_counter).filter(|counter| *counter != 0),
            object: filled(&event.object),
            trace_id: filled(&hex::encode(&event.trace_id)),
            details: event.details.clone().into_iter().collect(),
            personal: personal.map(|personal| ShownPersonal {
                network: filled(&personal.network),
                user_agent: filled(&personal.user_agent),
                text: filled(&personal.text),
            }),
            personal_closed: event.personal.is_some() && personal.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_no_event_has_is_refused_instead_of_finding_nothing() {
        for known in ["session.ended", "sign_in.*", "s*", "*"] {
            assert_eq!(event_type(known).unwrap(), known);
        }
        assert_eq!(event_type("session.end").unwrap_err(), "there is no such type of event; did you mean session.ended?");
        for unknown in ["", "x*", "Session.ended", "session.ended*x"] {
            assert!(event_type(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn a_trace_id_is_what_errors_show() {
        assert_eq!(trace_id(&"0f".repeat(16)).unwrap(), [15; 16]);
        assert!(trace_id("0f").is_err());
    }

    #[test]
    fn particulars_are_in_order_and_without_what_is_not_there() {
        let mut event = Event { reason: "disabled".into(), ..Event::default() };
        event.details = [("roles", "a,b"), ("generation", "4")].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let personal = Personal { text: "left".into(), ..Personal::default() };
        assert_eq!(particulars(&event, &personal), "disabled generation=4 roles=a,b \"left\"");
        assert_eq!(particulars(&Event::default(), &Personal::default()), "");
    }
}
