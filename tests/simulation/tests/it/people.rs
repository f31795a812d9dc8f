//! People with honest browsers, and those who end sessions. A browser keeps a token until it has its successor, and asks again with the
//! same one where it was not answered.

use std::time::Duration;

use carelink_platform::random::Random;
use carelink_proto::token::{
    ApplySubjectsRequest, RevokeSessionsRequest, RotateKeysRequest, Subject, revoke_sessions_request::Target,
    token_service_client::TokenServiceClient,
};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    gate::{Ask, Told, ask},
    net,
    token::assertion,
    world::{GATES, TOKENS, World, named},
};

/// How many people there are.
const PEOPLE: u8 = 5;
/// Until then things happen; faults have ended before.
pub(crate) const UNREST: Duration = Duration::from_secs(18);
/// Then everybody comes to rest, for so long.
const REST: Duration = Duration::from_secs(6);
/// A browser that is not answered tries again after about so long.
const AGAIN: Duration = Duration::from_millis(300);

/// Dice.
pub(crate) struct Dice(Random);

impl Dice {
    pub(crate) fn new(random: Random) -> Self {
        Self(random)
    }

    pub(crate) fn below(&self, sides: u64) -> u64 {
        u64::from_be_bytes(self.0.bytes()) % sides
    }

    pub(crate) fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    pub(crate) fn one_of<T: Copy>(&self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

/// Somebody's browser.
struct Browser {
    world: World,
    dice: Dice,
    name: &'static str,
    subject: Subject,
    pair: Option<(String, String)>,
}

const NAMES: [&str; 5] = ["amina", "brian", "chidi", "dana", "esi"];

/// All people, each in a task of their own.
pub(crate) async fn run(world: World) -> turmoil::Result {
    let people = (0..PEOPLE).map(|number| {
        let name = NAMES[usize::from(number)];
        let browser = Browser { dice: Dice::new(world.random(name)), world: world.clone(), name, subject: subject(number, 1), pair: None };
        tokio::spawn(browser.live())
    });
    let thief = tokio::spawn(steal(world.clone()));
    for person in people.collect::<Vec<_>>() {
        person.await?;
    }
    thief.await?;
    Ok(())
}

/// Somebody who has every access token there ever was, and tries them.
async fn steal(world: World) {
    let dice = Dice::new(world.random("thief"));
    while world.now() < UNREST {
        sleep(dice.millis(20, 150)).await;
        let (tokens, gate, what) = (world.loot(), dice.one_of(&GATES), dice.one_of(&[Ask::Edge, Ask::Grant]));
        if !tokens.is_empty() {
            let token = dice.one_of(&(0..tokens.len()).collect::<Vec<_>>());
            ask(gate, what, &tokens[token]).await;
        }
    }
}

fn subject(number: u8, version: u64) -> Subject {
    let roles = if version == 1 { vec!["doctor".into(), "nurse".into()] } else { vec!["nurse".into()] };
    Subject { id: vec![number + 1; 16], user_id: i64::from(number) + 1, version, active: true, roles, ..Subject::default() }
}

impl Browser {
    async fn live(mut self) {
        self.sign_in().await;
        while self.world.now() < UNREST {
            match self.dice.below(12) {
                0 | 1 => self.refresh().await,
                2 => self.refresh_in_two_tabs().await,
                3 if self.dice.below(4) == 0 => self.sign_out().await,
                _ => self.look().await,
            }
            sleep(self.dice.millis(20, 500)).await;
        }
        sleep(REST).await;
        self.rest().await;
    }

    async fn ask(&self, what: Ask, token: &str) -> Told {
        let told = ask(self.dice.one_of(&GATES), what, token).await;
        if told == Told::Unavailable {
            self.world.unavailable();
        }
        told
    }

    /// The same again until somebody knows.
    async fn insist(&self, what: Ask, token: &str) -> Told {
        loop {
            match self.ask(what, token).await {
                Told::Unavailable => sleep(AGAIN + self.dice.millis(0, 200)).await,
                told => return told,
            }
        }
    }

    async fn sign_in(&mut self) {
        loop {
            let id = Uuid::from_bytes(self.dice.0.bytes());
            let issued_us = self.world.clock().now().as_micros();
            let assertion = assertion(id, self.subject.clone(), issued_us);
            match self.insist(Ask::SignIn, &assertion).await {
                Told::Pair { access, refresh } => {
                    self.world.began(self.name, named(&refresh).session);
                    self.world.drop_token(&access);
                    self.pair = Some((access, refresh));
                    return;
                }
                told => self.world.wrong(self.name, format!("could not sign in: {told:?}")),
            }
        }
    }

    async fn look(&mut self) {
        let Some((access, _)) = self.pair.clone() else { return };
        let what = self.dice.one_of(&[Ask::Edge, Ask::Grant]);
        if let Told::Refused(_) = self.ask(what, &access).await {
            self.refresh().await; // as a browser does
        }
    }

    async fn refresh(&mut self) {
        let Some((_, presented)) = self.pair.clone() else { return };
        let told = self.insist(Ask::Refresh, &presented).await;
        self.take(&presented, told).await;
    }

    /// Two tabs wake up at once, and each goes to another gateway, or not.
    async fn refresh_in_two_tabs(&mut self) {
        let Some((_, presented)) = self.pair.clone() else { return };
        let (one, other) = tokio::join!(self.insist(Ask::Refresh, &presented), self.insist(Ask::Refresh, &presented));
        for told in [one, other] {
            self.take(&presented, told).await;
        }
    }

    /// What a refresh came to. Nobody is signed out whose session nobody ended.
    async fn take(&mut self, presented: &str, told: Told) {
        let session = named(presented).session;
        match told {
            Told::Pair { access, refresh } => {
                self.world.succeeded(self.name, presented, &refresh);
                self.world.drop_token(&access);
                self.pair = Some((access, refresh));
            }
            told if self.world.may_be_over(session) => {
                self.world.note(self.name, format!("is signed out: {told:?}"));
                self.again(session).await;
            }
            told => {
                self.world.wrong(self.name, format!("signed out though nobody ended {session}: {told:?}"));
                self.again(session).await;
            }
        }
    }

    /// A session is over; the next one begins.
    async fn again(&mut self, over: Uuid) {
        if self.pair.as_ref().is_some_and(|(_, refresh)| named(refresh).session == over) {
            self.pair = None;
            self.sign_in().await;
        }
    }

    async fn sign_out(&mut self) {
        let Some((_, refresh)) = self.pair.clone() else { return };
        let session = named(&refresh).session;
        self.world.ending(self.name, session);
        self.insist(Ask::SignOut, &refresh).await;
        self.world.ended(self.name, session);
        self.again(session).await;
    }

    /// Everything works again: whoever was not signed out is signed in, everywhere.
    async fn rest(&mut self) {
        let (_, presented) = self.pair.clone().unwrap();
        match self.ask(Ask::Refresh, &presented).await {
            Told::Unavailable => self.world.wrong(self.name, "no refresh though everything works"),
            told => self.take(&presented, told).await,
        }
        let (access, refresh) = self.pair.clone().unwrap();
        let session = named(&refresh).session;
        for gate in GATES {
            for what in [Ask::Edge, Ask::Grant] {
                let told = ask(gate, what, &access).await;
                if told != Told::Done && !self.world.may_be_over(session) {
                    self.world.wrong(self.name, format!("{gate} does not accept {session} though everything works: {told:?}"));
                }
            }
        }
    }
}

/// Those who end other people's sessions: an operator, and auth-service with a change of roles.
pub(crate) async fn office(world: World, name: &'static str) -> turmoil::Result {
    let random = world.random(name);
    let (dice, mut client) = (Dice::new(random.clone()), TokenServiceClient::new(net::to_token_service(&TOKENS, &random)));
    let mut version = 1;
    while world.now() < UNREST - Duration::from_secs(3) {
        sleep(dice.millis(500, 3_000)).await;
        let live = world.live();
        if live.is_empty() {
            continue;
        }
        let session = dice.one_of(&live);
        if name == "operator" && dice.below(2) == 0 {
            // twice, so that with a planted mistake a key signs that was made this very moment
            for _ in 0..2 {
                let request = RotateKeysRequest { reason: "simulated".into(), ..RotateKeysRequest::default() };
                if client.rotate_keys(request).await.is_ok_and(|answer| answer.get_ref().done) {
                    world.rotated(name);
                }
            }
        } else if name == "operator" {
            world.ending(name, session);
            let request = RevokeSessionsRequest { target: Some(Target::Session(session.as_bytes().to_vec())), reason: "simulated".into() };
            while world.now() < UNREST {
                if client.revoke_sessions(request.clone()).await.is_ok() {
                    world.ended(name, session);
                    break;
                }
                sleep(AGAIN).await;
            }
        } else if version == 1 {
            // everybody loses a role, once
            version = 2;
            world.demoting(name);
            let subjects = (0..PEOPLE).map(|number| subject(number, version)).collect();
            let request = ApplySubjectsRequest { subjects };
            while world.now() < UNREST {
                if client.apply_subjects(request.clone()).await.is_ok() {
                    world.demoted(name);
                    break;
                }
                sleep(AGAIN).await;
            }
        }
    }
    Ok(())
}
