//! Invitations and new passwords by one-time links, and the letters that bring them.

use std::{fs, path::PathBuf};

use carelink_platform::lifecycle::Shutdown;
use carelink_proto::auth::{CreateUserRequest, InviteUserRequest, RedeemLinkRequest, RequestPasswordResetRequest, SetUserActiveRequest};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc,
};

use super::*;

const NEW: &str = "another night 21 ward";
const BASE: &str = "https://clinic.example/password";

/// A service that writes letters into a directory.
async fn posting(engine: Engine) -> Auth {
    let place = Arc::new(place(engine).await);
    let mail = MailConfig { directory: Some(place.directory().join("letters")), ..mail() };
    with_mail(place, mail).await
}

fn mail() -> MailConfig {
    MailConfig { from: "no-reply@clinic.example".into(), link_base: BASE.into(), ..MailConfig::default() }
}

async fn with_mail(place: Arc<Place>, mail: MailConfig) -> Auth {
    let played = Arc::<Played>::default();
    let app = build_with(&place, &played, Config::default(), Clock::system(), SMALL, mail).await;
    Auth { app, played, place }
}

async fn person(auth: &Auth, username: &str, email: &str, password: &str) -> User {
    let request = CreateUserRequest { username: username.into(), email: email.into(), password: password.into(), ..Default::default() };
    auth.operator().create_user(request).await.unwrap().into_inner().user.unwrap()
}

/// Runs what the service does by itself until `done` says what it waits for.
async fn running_until<T>(auth: &Auth, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let shutdown = Shutdown::new();
    let running = tokio::spawn(auth.app.clone().run(shutdown.clone()));
    let waiting = async {
        loop {
            if let Some(found) = done().await {
                break found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(60), waiting).await.unwrap();
    shutdown.request();
    running.await.unwrap();
    found
}

fn letters(auth: &Auth) -> Vec<String> {
    let Ok(files) = fs::read_dir(auth.place.directory().join("letters")) else { return Vec::new() };
    let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "eml"));
    files.sort(); // by when they were written
    files.into_iter().map(|file| fs::read_to_string(file).unwrap()).collect()
}

/// The tokens in the first so many letters.
async fn tokens(auth: &Auth, count: usize) -> Vec<String> {
    let letters = running_until(auth, async || Some(letters(auth)).filter(|letters| letters.len() >= count)).await;
    assert_eq!(letters.len(), count);
    letters.iter().map(|letter| letter.split_once(&format!("{BASE}#")).unwrap().1.lines().next().unwrap().to_owned()).collect()
}

async fn ask(auth: &Auth, username: &str) -> Result<(), Reason> {
    let request = RequestPasswordResetRequest { username: username.into(), network: "192.0.2.7".into(), user_agent: String::new() };
    auth.gateway().request_password_reset(request).await.map(drop).map_err(|status| reason(&status))
}

async fn bring(auth: &Auth, token: &str, new: &str) -> Result<User, Reason> {
    let request = RedeemLinkRequest { token: token.into(), new_password: new.into(), ..RedeemLinkRequest::default() };
    let answer = auth.gateway().redeem_link(request).await;
    answer.map(|answer| answer.into_inner().user.unwrap()).map_err(|status| reason(&status))
}

async fn c7_an_invitation_brings_a_first_password_once(engine: Engine) {
    let auth = posting(engine).await;
    let user = person(&auth, "amina", "amina@clinic.example", "").await;
    let invite = InviteUserRequest { id: user.id.clone() };
    let expires = auth.operator().invite_user(invite).await.unwrap().into_inner().expires_us;
    assert!(expires - auth.app.store.trail.now().as_micros() > 23 * 60 * 60 * 1_000_000);
    let token = tokens(&auth, 1).await.remove(0);
    assert!(letters(&auth)[0].contains("To: <amina@clinic.example>") && letters(&auth)[0].contains("24 hours"));
    assert_eq!(bring(&auth, &token, "short").await, Err(Reason::PasswordTooShort));
    assert_eq!(bring(&auth, &token, NEW).await.unwrap().hasher, "argon2id");
    auth.sign_in("amina", NEW).await.unwrap();
    assert_eq!(bring(&auth, &token, "yet another 21 wards").await, Err(Reason::LinkInvalid), "once");
    let told = auth.told("password.changed").await;
    assert_eq!((told[0].subject.clone(), told[0].details["by"].as_str()), (user.id, "invitation"));
    assert_eq!(auth.told("user.invited").await.len(), 1);
}

async fn c7_a_new_password_by_mail_ends_sessions_and_voids_other_links(engine: Engine) {
    let auth = posting(engine).await;
    let user = person(&auth, "amina", "amina@clinic.example", PASSWORD).await;
    ask(&auth, " amina ").await.unwrap();
    ask(&auth, "amina@clinic.example").await.unwrap();
    let tokens = tokens(&auth, 2).await;
    assert_eq!(bring(&auth, &tokens[0], NEW).await, Err(Reason::LinkInvalid), "a new one voids the old");
    for garbage in ["", "x", &"A".repeat(43), &"A".repeat(4_000)] {
        assert_eq!(bring(&auth, garbage, NEW).await, Err(Reason::LinkInvalid), "one answer");
    }
    bring(&auth, &tokens[1], NEW).await.unwrap();
    let held = auth.played.subject(&user.id);
    assert_eq!((held.version, held.min_version, held.excepted_session.is_empty()), (2, 2, true));
    auth.sign_in("amina", NEW).await.unwrap();
    assert_eq!(auth.refused("amina", PASSWORD).await, Reason::CredentialsInvalid);
}

async fn c7_a_link_is_good_for_its_time_and_while_the_user_may_sign_in(engine: Engine) {
    let auth = posting(engine).await;
    let user = person(&auth, "amina", "amina@clinic.example", PASSWORD).await;
    ask(&auth, "amina").await.unwrap();
    let first = tokens(&auth, 1).await.remove(0);
    static AGE: Statement = Statement::shared("age", "UPDATE one_time_link SET expires_at = later(expires_at, -3600000000)");
    auth.app.store.db.run(&AGE, args![]).await.unwrap();
    assert_eq!(bring(&auth, &first, NEW).await, Err(Reason::LinkInvalid), "an hour");
    ask(&auth, "amina").await.unwrap();
    let second = tokens(&auth, 2).await.remove(1);
    let disable = SetUserActiveRequest { id: user.id.clone(), active: false, reason: "left".into() };
    auth.operator().set_user_active(disable).await.unwrap();
    assert_eq!(bring(&auth, &second, NEW).await, Err(Reason::LinkInvalid));
    let refused = auth.operator().invite_user(InviteUserRequest { id: user.id }).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::UserUnreachable);
}

async fn c3_who_asks_for_a_new_password_learns_nothing_of_a_name(engine: Engine) {
    let auth = posting(engine).await;
    person(&auth, "amina", "amina@clinic.example", PASSWORD).await;
    person(&auth, "unreachable", "", PASSWORD).await;
    for name in ["amina", "unreachable", "canary-nobody", "nul\0name", ""] {
        let began = std::time::Instant::now();
        ask(&auth, name).await.unwrap();
        assert!(began.elapsed() >= FLOOR, "{name}");
    }
    let told = auth.told("password.reset_requested").await;
    assert_eq!((told.len(), told.iter().filter(|event| event.object.starts_with("name:")).count()), (5, 4));
    tokens(&auth, 1).await;
    for bytes in places::everything(&auth.place) {
        assert!(!bytes.windows(8).any(|window| window == b"canary-n"));
    }
}

async fn letters_are_few_for_one_user_and_links_few_for_one_network(engine: Engine) {
    let auth = posting(engine).await;
    person(&auth, "amina", "amina@clinic.example", PASSWORD).await;
    for _ in 0..6 {
        ask(&auth, "amina").await.unwrap();
    }
    assert_eq!(auth.told("password.reset_requested").await.len(), 3);
    for number in 0..24 {
        ask(&auth, &format!("nobody{number}")).await.unwrap();
    }
    assert_eq!(ask(&auth, "nobody").await, Err(Reason::Throttled));
    assert_eq!(ask(&auth, "amina").await, Err(Reason::Throttled), "whoever is named");
    tokens(&auth, 3).await;
}

async fn what_opens_an_account_is_stored_sealed_or_hashed(engine: Engine) {
    let auth = posting(engine).await;
    person(&auth, "amina", "amina@clinic.example", PASSWORD).await;
    ask(&auth, "amina").await.unwrap();
    let before = places::everything(&auth.place);
    let token = tokens(&auth, 1).await.remove(0);
    for bytes in before.into_iter().chain(places::everything(&auth.place)) {
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()));
    }
}

async fn without_mail_nothing_is_promised(engine: Engine) {
    let auth = Auth::new(engine).await;
    let user = person(&auth, "amina", "amina@clinic.example", PASSWORD).await;
    assert_eq!((ask(&auth, "amina").await, ask(&auth, "nobody").await), (Err(Reason::MailUnset), Err(Reason::MailUnset)));
    let refused = auth.operator().invite_user(InviteUserRequest { id: user.id }).await.unwrap_err();
    assert_eq!(reason(&refused), Reason::MailUnset);
}

/// A mail server that takes letters unless it is told a code to answer them with.
async fn mail_server(refuses: Option<&'static str>) -> (u16, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (taken, letters) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let taken = taken.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                write.write_all(b"220 here\r\n").await.unwrap();
                let mut letter: Option<String> = None;
                while let Ok(Some(line)) = lines.next_line().await {
                    let answer = match (&mut letter, line.as_str()) {
                        (Some(text), ".") => {
                            let _ = taken.send(std::mem::take(text));
                            letter = None;
                            "250 taken"
                        }
                        (Some(text), line) => {
                            text.push_str(line);
                            text.push('\n');
                            continue;
                        }
                        (None, "DATA") => {
                            letter = Some(String::new());
                            "354 go on"
                        }
                        (None, line) if line.starts_with("RCPT") => refuses.unwrap_or("250 yes"),
                        (None, "QUIT") => "221 bye",
                        _ => "250 yes",
                    };
                    if write.write_all(format!("{answer}\r\n").as_bytes()).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, letters)
}

async fn letters_survive_a_mail_server_that_is_away_and_one_that_refuses(engine: Engine) {
    let place = Arc::new(place(engine).await);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port(); // closed again
    let at = |port| MailConfig { smtp: Some(format!("smtp://127.0.0.1:{port}")), ..mail() };
    let auth = with_mail(Arc::clone(&place), at(nobody)).await;
    person(&auth, "amina", "amina@clinic.example", PASSWORD).await;
    person(&auth, "odd", "no address", PASSWORD).await;
    ask(&auth, "odd").await.unwrap();
    ask(&auth, "amina").await.unwrap();
    static WAITING: Statement = Statement::shared("letters", "SELECT id FROM outbox WHERE destination = 'mail'");
    let waiting = async |auth: &Auth| auth.app.store.db.query(&WAITING, args![]).await.unwrap().len();
    // Nobody takes it: it waits, through the end of the process.
    running_until(&auth, async || (waiting(&auth).await == 2).then_some(())).await;
    drop(auth);
    let (port, mut letters) = mail_server(None).await;
    let auth = with_mail(Arc::clone(&place), at(port)).await;
    let letter = running_until(&auth, async || letters.try_recv().ok()).await;
    assert!(letter.contains("To: <amina@clinic.example>") && letter.contains(&format!("\n{BASE}#")));
    assert_eq!((waiting(&auth).await, letters.try_recv().is_err()), (0, true));
    drop(auth);
    let (port, _letters) = mail_server(Some("550 nobody here")).await;
    let auth = with_mail(place, at(port)).await;
    ask(&auth, "amina").await.unwrap();
    running_until(&auth, async || (waiting(&auth).await == 0).then_some(())).await;
}

on_both_engines!(
    c7_an_invitation_brings_a_first_password_once,
    c7_a_new_password_by_mail_ends_sessions_and_voids_other_links,
    c7_a_link_is_good_for_its_time_and_while_the_user_may_sign_in,
    c3_who_asks_for_a_new_password_learns_nothing_of_a_name,
    letters_are_few_for_one_user_and_links_few_for_one_network,
    what_opens_an_account_is_stored_sealed_or_hashed,
    without_mail_nothing_is_promised,
    letters_survive_a_mail_server_that_is_away_and_one_that_refuses,
);
