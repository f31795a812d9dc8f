//! The session's state machine against the model, step by step. Failures are kept in `proptest-regressions/` and tried first;
//! PROPTEST_CASES runs more.

use std::{collections::BTreeMap, time::Duration};

use carelink_database::{Statement, args};
use carelink_platform::{clock::Timestamp, random::Random};
use carelink_proto::token::{
    RefreshRequest, RevokeSessionsRequest, Subject as ProtoSubject, TokenPair, revoke_sessions_request::Target, watch_response::Message,
};
use carelink_servers::Engine;
use futures::future::join_all;
use proptest::{prelude::*, test_runner::FileFailurePersistence};
use serde_json::json;
use token_service::{Config, store};
use uuid::Uuid;

use crate::{
    ENGINE,
    bench::{Bench, START, bench_of, claims, reason},
    model::{Answer, Created, Model, Revocation, Roles, SECOND, Subject},
    moves::{Change, Op, Pick, ROLES, USERS, op},
    watching::{Watch, revocation, subscribe},
};

struct Machine {
    bench: Bench,
    model: Model,
    /// Every version of each user at auth-service.
    users: Vec<Vec<Subject>>,
    /// User, snapshot, issued, text, the session it began.
    assertions: Vec<(usize, Subject, i64, String, Option<usize>)>,
    /// What was last handed out for a session's generation.
    pairs: BTreeMap<(usize, u64), TokenPair>,
    /// Every refresh token: session, generation.
    refreshes: Vec<(String, usize, u64)>,
    /// Every access token: session, generation, end.
    access: Vec<(String, usize, u64, i64)>,
    watch: Watch,
}

impl Machine {
    /// Grace and the access tokens' lifetime in seconds.
    async fn new(seed: u64, (grace, lifetime): (u32, u32)) -> Self {
        let mut config = Config::default();
        config.session.grace = Duration::from_secs(grace.into());
        config.session.access_lifetime = Duration::from_secs(lifetime.into());
        let bench = bench_of(config, Random::seeded(seed)).await;
        let model = Model::new(START * SECOND, i64::from(grace) * SECOND, i64::from(lifetime) * SECOND, USERS);
        let first = Subject { version: 1, min_version: 0, excepted: None, active: true, roles: Roles::from(["nurse"]), why: "" };
        let watch = subscribe(&bench, &model).await;
        let users = vec![vec![first]; USERS];
        Self { bench, model, users, assertions: Vec::new(), pairs: BTreeMap::new(), refreshes: Vec::new(), access: Vec::new(), watch }
    }

    fn proto(user: usize, subject: &Subject) -> ProtoSubject {
        let roles: Vec<&str> = subject.roles.iter().copied().collect();
        ProtoSubject {
            min_version: subject.min_version,
            excepted_session: subject.excepted.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
            active: subject.active,
            end_reason: subject.why.to_owned(),
            ..Bench::subject(u8::try_from(user + 1).unwrap(), subject.version, &roles)
        }
    }

    fn pick(&self, pick: Pick) -> Option<(String, usize, u64)> {
        let of = |session: u8, back: usize| {
            let at = usize::from(session) % self.model.sessions.len().max(1);
            let mut of: Vec<_> = self.refreshes.iter().filter(|(_, session, _)| *session == at).collect();
            of.sort_by_key(|(_, _, generation)| *generation);
            of.iter().rev().nth(back).copied().cloned()
        };
        match pick {
            Pick::Last(session) => of(session, 0),
            Pick::Before(session) => of(session, 1),
            Pick::Any(any) => self.refreshes.get(usize::from(any) % self.refreshes.len().max(1)).cloned(),
        }
    }

    /// A pair was handed out: it says what the model says, and is the one handed out before unless its access token had run out.
    fn took(&mut self, at: usize, fresh: bool, pair: &TokenPair) {
        let session = &self.model.sessions[at];
        let (iat, exp, roles) = &session.access;
        let (access, refresh) = (claims(&pair.access_token), claims(&pair.refresh_token));
        let seconds = |micros: i64| micros.div_euclid(SECOND);
        assert_eq!((&access["sid"], &access["gen"]), (&json!(session.id), &json!(session.generation)));
        assert_eq!((&refresh["sid"], &refresh["gen"]), (&json!(session.id), &json!(session.generation)));
        assert_eq!((&access["iat"], &access["exp"]), (&json!(seconds(*iat)), &json!(seconds(*exp))));
        assert_eq!(access["roles"], json!(roles));
        assert_eq!(access["user_id"], json!((session.user + 1).to_string()));
        assert_eq!(refresh["exp"], json!(seconds(session.ends_at)), "the end never moves");
        assert_eq!((pair.session_ends, pair.access_expires), (seconds(session.ends_at), seconds(*exp)));
        let (generation, exp) = (session.generation, *exp);
        let before = self.pairs.insert((at, generation), pair.clone());
        match before {
            Some(before) if fresh => assert_eq!(before.refresh_token, pair.refresh_token),
            Some(before) => assert_eq!(before, *pair, "one pair per generation"),
            None => {}
        }
        if !self.refreshes.iter().any(|(known, ..)| *known == pair.refresh_token) {
            assert!(!self.refreshes.iter().any(|(_, session, of)| (*session, *of) == (at, generation)), "one successor");
            self.refreshes.push((pair.refresh_token.clone(), at, generation));
        }
        if !self.access.iter().any(|(known, ..)| *known == pair.access_token) {
            self.access.push((pair.access_token.clone(), at, generation, exp));
        }
    }

    async fn step(&mut self, op: Op) {
        match op {
            Op::SignIn(user) => {
                self.prove(user);
                self.create(self.assertions.len() - 1).await;
            }
            Op::Prove(user) => self.prove(user),
            Op::Create(any) => {
                if !self.assertions.is_empty() {
                    self.create(usize::from(any) % self.assertions.len()).await;
                }
            }
            Op::Refresh(token) => {
                if let Some((token, at, generation)) = self.pick(token) {
                    self.refresh(&token, at, generation).await;
                }
            }
            Op::Again(token, millis) => {
                if let Some((token, at, generation)) = self.pick(token) {
                    self.refresh(&token, at, generation).await;
                    self.set_clock(self.model.now + millis * 1_000);
                    self.refresh(&token, at, generation).await;
                }
            }
            Op::Parallel(token, racers) => {
                if let Some((token, at, generation)) = self.pick(token) {
                    self.race(&token, at, generation, racers).await;
                }
            }
            Op::HangUp(token) => {
                if let Some((token, at, generation)) = self.pick(token) {
                    self.hang_up(token, at, generation).await;
                }
            }
            Op::SignOut(token) => {
                if let Some((token, at, generation)) = self.pick(token) {
                    let answer = self.bench.sign_out(&token).await.map_err(|reason| reason.as_str());
                    assert_eq!(answer, self.model.sign_out(at, generation));
                }
            }
            Op::RevokeOne(session) => {
                if !self.model.sessions.is_empty() {
                    let at = usize::from(session) % self.model.sessions.len();
                    let answer = self.revoke(Target::Session(self.model.sessions[at].id.as_bytes().to_vec())).await;
                    assert_eq!(answer, self.model.revoke_one(at));
                }
            }
            Op::RevokeAll(user) => {
                let answer = self.revoke(Target::Subject(vec![user + 1; 16])).await;
                assert_eq!(answer, Ok(self.model.revoke_all(user.into())));
            }
            Op::Change(user, change, told) => {
                self.change(user.into(), change);
                if told {
                    self.deliver(user.into(), self.users[usize::from(user)].len() - 1).await;
                }
            }
            Op::Deliver(user, version) => {
                let user = usize::from(user);
                self.deliver(user, usize::from(version) % self.users[user].len()).await;
            }
            Op::Clock(millis) => self.set_clock(self.model.now + millis * 1_000),
            Op::NearTheEnd(session, millis) => {
                if !self.model.sessions.is_empty() {
                    let at = usize::from(session) % self.model.sessions.len();
                    self.set_clock(self.model.sessions[at].ends_at + millis * 1_000);
                }
            }
            Op::Sweep => {
                assert!(!self.bench.sweep().await.1, "no batch is full");
                self.model.sweep();
            }
            Op::Restart => {
                self.watch.stop.request();
                (&mut self.watch.feed).await.unwrap();
                self.bench.restart().await;
                self.watch = subscribe(&self.bench, &self.model).await;
            }
        }
    }

    fn set_clock(&mut self, now: i64) {
        self.model.now = now;
        self.bench.hand.set(Timestamp::from_micros(now));
    }

    async fn refresh(&mut self, token: &str, at: usize, generation: u64) {
        let answer = self.bench.refresh(token).await.map_err(|reason| reason.as_str());
        match (self.model.refresh(at, generation), answer) {
            (Answer::Rotated, Ok(pair)) => self.took(at, false, &pair),
            (Answer::Replayed { fresh }, Ok(pair)) => self.took(at, fresh, &pair),
            (Answer::Refused(expected), Err(reason)) => assert_eq!(reason, expected),
            (expected, answer) => panic!("expected {expected:?}, got {answer:?}"),
        }
    }

    /// What auth-service knows of a user now, signed.
    fn prove(&mut self, user: u8) {
        let user = usize::from(user);
        let subject = self.users[user].last().unwrap().clone();
        let assertion = self.bench.assertion(Self::proto(user, &subject));
        self.assertions.push((user, subject, self.model.now, assertion, None));
    }

    async fn create(&mut self, which: usize) {
        let (user, subject, issued, assertion, before) = self.assertions[which].clone();
        let answer = self.bench.create(assertion).await.map_err(|reason| reason.as_str());
        match (self.model.create(user, &subject, issued, before), answer) {
            (Created::New, Ok((pair, id))) => {
                let at = self.model.begin(Uuid::from_slice(&id).unwrap(), user, subject.version);
                self.assertions[which].4 = Some(at);
                self.took(at, false, &pair);
            }
            (Created::Before(at), Ok((pair, id))) => {
                assert_eq!(id, self.model.sessions[at].id.as_bytes());
                self.took(at, false, &pair);
            }
            (Created::Refused(expected), Err(reason)) => assert_eq!(reason, expected),
            (expected, answer) => panic!("expected {expected:?}, got {answer:?}"),
        }
    }

    /// Racers see what they would one after the other, but that of two who find reuse both may say so.
    async fn race(&mut self, token: &str, at: usize, generation: u64, racers: u8) {
        let calls = (0..racers).map(|_| {
            let (mut gateway, refresh_token) = (self.bench.gateway(), token.to_owned());
            tokio::spawn(async move { gateway.refresh(RefreshRequest { refresh_token, ..Default::default() }).await })
        });
        let answers = join_all(calls.collect::<Vec<_>>()).await;
        let answers: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().map(tonic::Response::into_inner)).collect();
        let expected: Vec<Answer> = (0..racers).map(|_| self.model.refresh(at, generation)).collect();
        let won: Vec<&TokenPair> = answers.iter().filter_map(|answer| answer.as_ref().ok()?.tokens.as_ref()).collect();
        let refused: Vec<&str> = answers.iter().filter_map(|answer| Some(reason(answer.as_ref().err()?).as_str())).collect();
        let rotated = answers.iter().filter(|answer| answer.as_ref().is_ok_and(|answer| !answer.replayed)).count();
        assert_eq!(rotated, expected.iter().filter(|answer| **answer == Answer::Rotated).count(), "one rotates");
        assert_eq!(refused.len(), expected.iter().filter(|answer| matches!(answer, Answer::Refused(_))).count());
        if expected.contains(&Answer::Refused("session_reused")) {
            assert!(refused.contains(&"session_reused"), "{refused:?}");
            assert!(refused.iter().all(|reason| ["session_reused", "session_revoked"].contains(reason)), "{refused:?}");
        } else {
            assert!(refused.iter().all(|reason| expected.contains(&Answer::Refused(reason))), "{refused:?}");
        }
        let fresh = expected.contains(&Answer::Replayed { fresh: true });
        for pair in won.into_iter().cloned().collect::<Vec<_>>() {
            assert_eq!(pair.session_ends, self.model.sessions[at].ends_at.div_euclid(SECOND));
            self.took(at, fresh, &pair);
        }
    }

    /// The call is under way when the caller goes: it comes to pass or it does not, and nothing half.
    async fn hang_up(&mut self, refresh_token: String, at: usize, generation: u64) {
        if ENGINE == Engine::Postgres {
            return self.refresh(&refresh_token, at, generation).await; // nothing tells there when a call that was given up is over
        }
        static BARRIER: Statement = Statement::shared("barrier", "SELECT 1 AS one");
        static ROW: Statement = Statement::shared("row", "SELECT generation, ended_at, events FROM session WHERE id = $1");
        let mut gateway = self.bench.gateway();
        let mut call = Box::pin(gateway.refresh(RefreshRequest { refresh_token, ..Default::default() }));
        let _ = futures::poll!(&mut call); // that it has its answer already makes no difference
        drop(call);
        for _ in 0..3 {
            tokio::task::yield_now().await;
            self.bench.app.store().db.run(&BARRIER, args![]).await.unwrap();
        }
        let is = |model: &Model| {
            let session = &model.sessions[at];
            (session.generation, session.ended.is_some(), session.events.len() as u64)
        };
        let mut done = self.model.clone();
        done.refresh(at, generation);
        let rows = self.bench.query(&ROW, args![self.model.sessions[at].id]).await;
        let Some(row) = rows.first() else { return };
        let ended = row.get::<Option<i64>>("ended_at").unwrap().is_some();
        let found = (row.get("generation").unwrap(), ended, row.get("events").unwrap());
        if found != is(&self.model) {
            assert_eq!(found, is(&done));
            self.model = done;
        }
    }

    async fn revoke(&self, target: Target) -> Result<(u32, u64), &'static str> {
        let request = RevokeSessionsRequest { target: Some(target), reason: "asked for".into() };
        let answer = self.bench.operator().revoke_sessions(request).await;
        let answer = answer.map_err(|status| reason(&status).as_str())?.into_inner();
        Ok((answer.ended, answer.revocation))
    }

    fn change(&mut self, user: usize, change: Change) {
        let now = self.users[user].last().unwrap().clone();
        let version = now.version + 1;
        let next = match change {
            Change::Disable => Subject { version, min_version: version, excepted: None, active: false, why: "disabled", ..now },
            Change::Enable => Subject { version, active: true, ..now },
            Change::Password { excepted } => {
                let excepted = excepted.filter(|_| !self.model.sessions.is_empty());
                let excepted = excepted.map(|any| self.model.sessions[usize::from(any) % self.model.sessions.len()].id);
                Subject { version, min_version: version, excepted, why: "password_changed", ..now }
            }
            Change::SignOutEverywhere => Subject { version, min_version: version, excepted: None, why: "signed_out_everywhere", ..now },
            Change::Roles(which) => Subject { version, roles: ROLES[usize::from(which) % ROLES.len()].iter().copied().collect(), ..now },
        };
        self.users[user].push(next);
    }

    async fn deliver(&mut self, user: usize, which: usize) {
        let snapshot = self.users[user][which].clone();
        let answer = self.bench.apply_all(vec![Self::proto(user, &snapshot)]).await.unwrap();
        assert_eq!((answer.subjects[0].held_version, answer.revocation), self.model.apply(user, &snapshot));
    }

    /// Every token there ever was, and every verifier, agree with the model.
    async fn agree(&mut self) {
        let refresh = self.refreshes.iter().map(|(token, at, generation)| (token, self.model.introspect_refresh(*at, *generation)));
        let access = self.access.iter().map(|(token, at, generation, exp)| (token, self.model.introspect_access(*at, *generation, *exp)));
        let bench = &self.bench;
        join_all(refresh.chain(access).map(|(token, expected)| async move {
            let (active, reason) = bench.introspect(token).await;
            let answer = if active { Ok(()) } else { Err(reason.as_str()) };
            assert_eq!(answer, expected, "of {}", claims(token));
        }))
        .await;
        assert_eq!(store::head(self.bench.app.store()).await.unwrap().number, self.model.head());
        while self.watch.heard.len() < self.model.revocations.len() {
            let message = tokio::time::timeout(Duration::from_secs(5), self.watch.stream.message()).await.unwrap();
            match message.unwrap().unwrap().message.unwrap() {
                Message::Entries(entries) => {
                    for told in &entries.revocations {
                        self.watch.heard.push(revocation(told));
                        assert_eq!(told.number, self.watch.heard.len() as u64, "without gaps");
                    }
                }
                Message::Heartbeat(beat) => assert_eq!(beat.head, self.watch.heard.len() as u64, "after every entry up to its head"),
                other => panic!("{other:?}"),
            }
        }
        let heard = self.watch.heard.iter().map(|r| Revocation { deleted: false, ..*r });
        assert!(heard.eq(self.model.revocations.iter().map(|r| Revocation { deleted: false, ..*r })));
    }

    /// The trail has every step of every session, in its order, once.
    async fn audit(&self) {
        for session in &self.model.sessions {
            let events = self.bench.events_of(session.id).await;
            let told: Vec<_> = events.iter().map(|event| (event.r#type.as_str(), event.reason.as_str())).collect();
            assert_eq!(told, session.events);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if ENGINE == Engine::Postgres { 12 } else { ProptestConfig::default().cases },
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/machine.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn s_sessions_do_what_the_rules_say(seed: u64, times in prop::sample::select(vec![(30, 900), (30, 20), (0, 900)]), ops in prop::collection::vec(op(), 20..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut machine = Machine::new(seed, times).await;
            for op in ops {
                machine.step(op).await;
                machine.agree().await;
            }
            machine.audit().await;
        });
    }
}
