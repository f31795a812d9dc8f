//! Commands as typed, against services over a real socket.

use std::{
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use carelink_platform::{
    clock::Timestamp,
    errors::Reason,
    events::{Actor, EventBuilder, EventType},
    grpc::OperatorProof,
    random::Random,
    seal::SealingKeyPair,
};
use carelink_proto::{
    audit::{ListEventsRequest, Personal, StoredEvent},
    token::Session,
};
use clap::Parser;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    cli::{self, Cli, Context},
    error::{Exit, Report},
    fake::{Fake, State, user},
    output::Console,
};

/// What a command wrote.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// What became of a command.
pub(crate) struct Outcome {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) result: Result<(), Report>,
    trace_id: String,
}

impl Outcome {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.err, "", "nothing but errors on stderr");
        serde_json::from_str(&self.out).unwrap()
    }

    pub(crate) fn sentence(&self) -> (Exit, &str) {
        let report = self.result.as_ref().unwrap_err();
        (report.exit, &report.message)
    }
}

pub(crate) async fn run(data: &Path, words: &[&str]) -> Outcome {
    let cli = Cli::try_parse_from(["carelink", "--data", data.to_str().unwrap()].iter().chain(words)).unwrap();
    let (out, err) = (Written::default(), Written::default());
    let console = Console::new(cli.global.json, out.clone(), err.clone());
    let mut context = Context::new(cli.global, console, Random::seeded(1), Some("amina".into()));
    let result = Box::pin(cli::run(cli.command, &mut context)).await.map_err(|error| Report::of(&error));
    Outcome { out: out.text(), err: err.text(), result, trace_id: context.trace().trace_hex() }
}

fn ward() -> State {
    let ended = Session { ended_us: 1_700_000_100_000_000, end_reason: "signed_out".into(), ..session(1, 1) };
    State {
        users: vec![user(1, "amina21", &["nurse", "staff"]), user(2, "bo", &[]), user(3, "2", &["staff"])],
        sessions: vec![session(9, 1), session(8, 2), ended],
        ..State::default()
    }
}

fn session(number: u128, user_id: u128) -> Session {
    Session {
        id: Uuid::from_u128(number).as_bytes().to_vec(),
        subject: Uuid::from_u128(user_id).as_bytes().to_vec(),
        user_id: i64::try_from(user_id).unwrap(),
        generation: 3,
        created_us: 1_700_000_000_000_000,
        rotated_us: 1_700_000_060_000_000,
        ends_us: 1_700_043_200_000_000,
        ..Session::default()
    }
}

#[tokio::test]
async fn users_are_listed_as_a_table_a_line_each() {
    let fake = Fake::start(ward());
    let listed = run(fake.data(), &["user", "list"]).await;
    assert_eq!(
        listed.out,
        "NAME     USER_ID  STATE   ROLES        LAST SIGN-IN  ID\n\
         amina21  1        active  nurse,staff                00000000-0000-0000-0000-000000000001\n\
         bo       2        active                             00000000-0000-0000-0000-000000000002\n\
         2        3        active  staff                      00000000-0000-0000-0000-000000000003\n"
    );
    let page = run(fake.data(), &["user", "list", "--limit", "2"]).await;
    assert_eq!(page.err, "There are more: add --cursor 2, or --all\n");
    let none = run(fake.data(), &["user", "list", "--prefix", "zz"]).await;
    assert_eq!(none.err, "There are none.\n");
}

#[tokio::test]
async fn json_is_one_document_with_uuids_and_rfc_3339_times() {
    let fake = Fake::start(ward());
    let page = run(fake.data(), &["user", "list", "--limit", "1", "--json"]).await.json();
    assert_eq!(page["next_cursor"], "1");
    assert_eq!(
        page["users"],
        json!([{
            "id": "00000000-0000-0000-0000-000000000001", "user_id": 1, "username": "amina21", "email": "amina21@ward.example",
            "full_name": "", "active": true, "roles": ["nurse", "staff"], "version": 1, "hasher": "argon2id", "source": null,
            "created_at": "2023-11-14T22:13:20Z", "last_sign_in_at": null, "password_changed_at": null,
        }])
    );
    let all = run(fake.data(), &["sessions", "list", "amina21", "--json"]).await.json();
    assert_eq!(all["sessions"][1]["end_reason"], "signed_out");
    assert_eq!(all["sessions"][0]["ended_at"], Value::Null);
}

#[tokio::test]
async fn a_user_is_named_by_name_number_or_uuid_and_never_guessed() {
    let fake = Fake::start(ward());
    for name in ["amina21", "1", "00000000-0000-0000-0000-000000000001", "name:amina21", "id:1"] {
        let shown = run(fake.data(), &["user", "show", name]).await;
        assert!(shown.out.starts_with("name      amina21\n"), "{name}: {}", shown.out);
    }
    let both = run(fake.data(), &["user", "show", "2"]).await;
    assert_eq!(both.sentence().0, Exit::Usage);
    assert!(both.sentence().1.contains("write id:2 or name:2"), "{}", both.sentence().1);
    let nobody = run(fake.data(), &["user", "show", "Amina21"]).await;
    assert_eq!(
        nobody.sentence(),
        (Exit::Failed, "no user is `Amina21` (names compare letter by letter); look with: carelink user list --prefix Ami")
    );
}

#[tokio::test]
async fn what_takes_away_asks_for_a_reason_before_anything_happens() {
    let fake = Fake::start(ward());
    let words: [&[&str]; 4] = [
        &["user", "disable", "bo"],
        &["user", "roles", "amina21", "--remove", "nurse"],
        &["sessions", "revoke", "--user", "bo"],
        &["sessions", "revoke", "00000000-0000-0000-0000-000000000009", "--reason", " "],
    ];
    for words in words {
        let outcome = run(fake.data(), words).await;
        assert_eq!(outcome.sentence().0, Exit::Usage, "{words:?}");
        assert!(outcome.sentence().1.contains("--reason"), "{words:?}");
    }
    assert!(fake.state.lock().unwrap().seen.is_empty());
    assert!(run(fake.data(), &["user", "roles", "amina21", "--add", "lead"]).await.result.is_ok());
    let both =
        run(fake.data(), &["user", "roles", "amina21", "--add", "lead", "--remove", "lead", "--reason", "x"]).await.result.unwrap_err();
    assert_eq!((both.exit, both.message.as_str()), (Exit::Usage, "lead is both granted and taken; say which"));
}

#[tokio::test]
async fn u3_a_pending_revocation_is_said() {
    let fake = Fake::start(State { pending: true, ..ward() });
    let words = ["user", "disable", "bo", "--reason", "left"];
    let told = run(fake.data(), &words).await;
    assert_eq!(told.out, "disabled bo: no sign-in, no session\n");
    assert!(told.err.starts_with("revocation pending: "), "{}", told.err);
    assert_eq!(run(fake.data(), &[&words[..], &["--json"]].concat()).await.json()["revocation"], "pending");

    fake.state.lock().unwrap().pending = false;
    let told = run(fake.data(), &words).await;
    assert_eq!((told.out.as_str(), told.err.as_str()), ("disabled bo: no sign-in, no session (revocation 17)\n", ""));
    let json = run(fake.data(), &[&words[..], &["--json"]].concat()).await.json();
    assert_eq!((&json["revocation"], &json["revocation_number"]), (&json!("done"), &json!(17)));
}

#[tokio::test]
async fn sessions_are_ended_one_or_all_and_counted() {
    let fake = Fake::start(ward());
    let revoke = ["sessions", "revoke", "--user", "amina21", "--reason", "lost her badge"];
    assert_eq!(run(fake.data(), &revoke).await.out, "ended 2 sessions of amina21 (revocation 42)\n");
    assert_eq!(run(fake.data(), &revoke).await.out, "ended no session of amina21: none was live\n");
    let seen = format!("{:?}", fake.state.lock().unwrap().seen.last().unwrap().0);
    assert!(seen.contains("lost her badge"), "{seen}");
}

#[tokio::test]
async fn g3_every_call_carries_a_trace_and_who_sudo_says_it_is() {
    let fake = Fake::start(ward());
    let shown = run(fake.data(), &["user", "show", "name:bo"]).await;
    let state = fake.state.lock().unwrap();
    let metadata = &state.seen[0].1;
    assert_eq!(metadata.get("x-carelink-claimed-by").unwrap(), "amina");
    assert!(metadata.get("traceparent").unwrap().to_str().unwrap().contains(&shown.trace_id));
    assert!(metadata.contains_key("grpc-timeout"));
}

#[tokio::test]
async fn a_user_is_made_with_the_password_of_a_file_and_it_is_not_repeated() {
    let fake = Fake::start(ward());
    let file = fake.data().join("pw");
    std::fs::write(&file, "canary is long enough\n").unwrap();
    let file = file.to_str().unwrap();
    let added = run(fake.data(), &["user", "add", "cleo", "--role", "a,b", "--role", "c", "--password-file", file]).await;
    assert_eq!(added.out, "added cleo (user_id 1000000000, id 00000000-0000-0000-0000-00003b9aca00)\n");
    let bare = run(fake.data(), &["user", "add", "dee", "--no-password"]).await;
    assert!(bare.err.contains("next: carelink user set-password dee --data "), "{}", bare.err);
    let changed = run(fake.data(), &["user", "set-password", "bo", "--password-file", file]).await;
    assert_eq!(changed.out, "set the password of bo; sessions from before are over (revocation 17)\n");
    let asked = run(fake.data(), &["user", "set-password", "bo"]).await;
    assert_eq!(asked.sentence().0, Exit::Usage);
    let state = fake.state.lock().unwrap();
    assert!(state.seen[0].0.contains(r#"roles: ["a", "b", "c"], password: "canary is long enough""#), "{}", state.seen[0].0);
    assert!(state.seen[1].0.contains(r#"password: """#), "{}", state.seen[1].0);
    for outcome in [added, bare, changed] {
        assert!(!outcome.out.contains("canary") && !outcome.err.contains("canary"));
    }
}

#[tokio::test]
async fn a_refusal_is_told_in_the_services_words() {
    let fake = Fake::start(State { refuse: Some(Reason::CallerRefused), ..ward() });
    let refused = run(fake.data(), &["user", "list"]).await;
    let report = refused.result.unwrap_err();
    assert_eq!((report.exit, report.code.as_str(), report.traced), (Exit::Failed, "caller_refused", true));
    assert_eq!(report.message, Reason::CallerRefused.title());
}

#[tokio::test]
async fn g3_nothing_running_says_so_and_how_to_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("it's");
    let sentence = run(&data, &["user", "list"]).await;
    let start = format!("start it with: carelink up --data '{}/it'\\''s'", dir.path().display());
    assert_eq!(sentence.sentence(), (Exit::Failed, format!("nothing is running on {}; {start}", data.display()).as_str()));

    let fake = Fake::start(ward());
    let (socket, moved) = (fake.socket(), fake.data().join("moved"));
    std::fs::rename(&socket, &moved).unwrap();
    drop(tokio::net::UnixListener::bind(&socket).unwrap());
    let left = run(fake.data(), &["user", "list"]).await;
    assert!(left.sentence().1.contains("it only left its socket behind; start it with"), "{}", left.sentence().1);

    let long = dir.path().join("x".repeat(120));
    let long = run(&long, &["user", "list"]).await;
    assert!(long.sentence().1.contains("use a shorter --data"), "{}", long.sentence().1);

    std::fs::write(dir.path().join("file"), "").unwrap();
    let file = run(&dir.path().join("file"), &["user", "list"]).await;
    assert!(file.sentence().1.contains("is not a directory"), "{}", file.sentence().1);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_told_as_a_lost_connection() {
    let dir = tempfile::tempdir().unwrap();
    let listener = tokio::net::UnixListener::bind(dir.path().join(crate::connect::SOCKET)).unwrap();
    let hang_up = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let lost = run(dir.path(), &["user", "list"]).await;
    assert_eq!(lost.result.unwrap_err().code, "connection_lost");
    hang_up.abort();
}

fn trail() -> State {
    let sealing = SealingKeyPair::from_secret(&[7; 32]).unwrap();
    let personal = Personal { network: "192.0.2.7".into(), user_agent: "curl/8".into(), text: "left the\u{1b} house".into() };
    let disabled = EventBuilder::new("auth", EventType::UserDisabled, Uuid::from_u128(5), Timestamp::from_secs(1_700_000_000))
        .actor(Actor::Operator { by: OperatorProof::Uid(1000), claimed: Some("bo".into()) })
        .subject(Uuid::from_u128(1))
        .detail("version", 4_u64)
        .personal(sealing.public(), &personal);
    let failed = EventBuilder::new("auth", EventType::SignInFailed, Uuid::from_u128(4), Timestamp::from_secs(1_600_000_000))
        .actor(Actor::Anonymous)
        .subject(Uuid::from_u128(99))
        .reason("password_wrong")
        .personal(sealing.public(), &personal);
    let received_us = 1_700_000_001_000_000;
    let stored = |index, event: Option<EventBuilder>, personal, unreadable| StoredEvent {
        index,
        event: event.map(EventBuilder::build),
        personal,
        received_us,
        unreadable,
        ..StoredEvent::default()
    };
    let events = vec![
        stored(3, None, None, vec![255, 1]),
        stored(2, Some(disabled), Some(personal.clone()), vec![]),
        stored(1, Some(failed), None, vec![]),
    ];
    State { events, ..ward() }
}

#[tokio::test]
async fn the_trail_is_shown_with_names_that_it_does_not_hold() {
    let fake = Fake::start(trail());
    let shown = run(fake.data(), &["audit", "list"]).await;
    let lines: Vec<&str> = shown.out.lines().collect();
    assert!(lines[0].starts_with("INDEX  TIME"), "{}", shown.out);
    assert!(lines[1].contains("unreadable") && lines[1].ends_with("2 bytes that are no event"), "{}", shown.out);
    for cell in [
        "2  ",
        "2023-11-14T22:13:20Z",
        "user.disabled",
        "success",
        "amina21",
        "uid:1000 (bo)",
        "192.0.2.7",
        "version=4",
        "left the\\u{1b} house",
    ] {
        assert!(lines[2].contains(cell), "{cell}: {}", shown.out);
    }
    for cell in ["failure", &Uuid::from_u128(99).to_string(), "anonymous", "password_wrong"] {
        assert!(lines[3].contains(cell), "{cell}: {}", shown.out);
    }
}

#[tokio::test]
async fn the_trail_as_json_says_what_cannot_be_opened_or_read() {
    let fake = Fake::start(trail());
    let shown = run(fake.data(), &["audit", "list", "--json"]).await.json();
    assert_eq!(shown["next_cursor"], Value::Null);
    let events = shown["events"].as_array().unwrap();
    assert_eq!((&events[0]["index"], &events[0]["unreadable"], &events[0]["type"]), (&json!(3), &json!("ff01"), &Value::Null));
    assert_eq!(events[1]["personal"]["network"], "192.0.2.7");
    assert_eq!(events[1]["actor"], json!({ "kind": "operator", "id": "uid:1000", "claimed": "bo" }));
    assert_eq!((&events[1]["personal_closed"], &events[2]["personal_closed"]), (&json!(false), &json!(true)));
    assert_eq!((&events[2]["time"], &events[2]["details"]), (&json!("2020-09-13T12:26:40Z"), &json!({})));
}

#[tokio::test]
async fn filters_of_the_trail_reach_the_service() {
    let fake = Fake::start(trail());
    let (session, trace) = (Uuid::from_u128(7).to_string(), "0f".repeat(16));
    let words = ["audit", "list", "--user", "amina21", "--type", "session.*", "--outcome", "failure", "--session", &session];
    let more = ["--trace", &trace, "--since", "2026-11-24", "--until", "2026-11-24T08:00:00Z", "--limit", "7", "--cursor", "c"];
    run(fake.data(), &[&words[..], &more[..]].concat()).await.result.unwrap();
    let asked = ListEventsRequest {
        user: Uuid::from_u128(1).as_bytes().to_vec(),
        r#type: "session.*".into(),
        outcome: 2,
        session: Uuid::from_u128(7).as_bytes().to_vec(),
        trace_id: vec![15; 16],
        since_us: 1_795_478_400_000_000,
        until_us: 1_795_507_200_000_000,
        page_size: 7,
        cursor: "c".into(),
        ..ListEventsRequest::default()
    };
    let seen = |fake: &Fake| fake.state.lock().unwrap().seen.iter().map(|(request, _)| request.clone()).collect::<Vec<_>>();
    assert!(seen(&fake).contains(&format!("{asked:?}")), "{:#?}", seen(&fake));
    let gone = Uuid::from_u128(99);
    run(fake.data(), &["audit", "list", "--user", &gone.to_string()]).await.result.unwrap();
    let asked = ListEventsRequest { user: gone.as_bytes().to_vec(), page_size: 100, ..ListEventsRequest::default() };
    assert!(seen(&fake).contains(&format!("{asked:?}")), "who is gone from the users may be in the trail");
    assert_eq!(run(fake.data(), &["audit", "list", "--user", "nobody"]).await.sentence().0, Exit::Failed);
}
