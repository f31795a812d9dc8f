//! Somebody who signs in and stays signed in, as a client of the predecessor would.

use std::{future::Future, sync::Mutex};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Answer, Carelink, wait::PATIENCE};

/// What a token says; nobody has checked it.
#[track_caller]
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("a token has three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// A pair of tokens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The access token.
    pub access: String,
    /// The refresh token.
    pub refresh: String,
}

impl Pair {
    /// Reads an answer with status 200.
    pub fn of(answer: Answer) -> Result<Self, Answer> {
        if answer.status != 200 {
            return Err(answer);
        }
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap_or_else(|| panic!("no {name} in {body}")).to_owned();
        Ok(Self { access: text("access"), refresh: text("refresh") })
    }

    /// The session both belong to.
    pub fn session(&self) -> String {
        claims(&self.refresh)["sid"].as_str().unwrap().to_owned()
    }

    /// Its generation.
    pub fn generation(&self) -> u64 {
        claims(&self.refresh)["gen"].as_u64().unwrap()
    }
}

/// Somebody who holds a pair of tokens.
#[derive(Debug)]
pub struct Person<'a> {
    ward: &'a Carelink,
    /// The name they sign in with.
    pub name: String,
    held: Mutex<Pair>,
}

impl<'a> Person<'a> {
    /// Signs in, or gives the refusal.
    pub async fn sign_in(ward: &'a Carelink, name: &str, password: &str) -> Result<Self, Answer> {
        let answer = ward.post("/account/token/", &json!({"username": name, "password": password})).await;
        Pair::of(answer).map(|pair| Self::holding(ward, name, pair))
    }

    /// Somebody who holds these already.
    pub fn holding(ward: &'a Carelink, name: &str, pair: Pair) -> Self {
        Self { ward, name: name.to_owned(), held: Mutex::new(pair) }
    }

    /// What they hold.
    pub fn held(&self) -> Pair {
        self.held.lock().unwrap().clone()
    }

    /// Takes a pair as their own.
    pub fn hold(&self, pair: &Pair) {
        *self.held.lock().unwrap() = pair.clone();
    }

    /// Presents the refresh token they hold when they are asked to, and keeps what comes back.
    pub fn refresh(&self) -> impl Future<Output = Result<Pair, Answer>> {
        let presented = self.held().refresh;
        async move {
            let pair = Pair::of(self.ward.post("/account/token/refresh/", &json!({"refresh": presented})).await)?;
            self.hold(&pair);
            Ok(pair)
        }
    }

    /// The same, which must work.
    pub async fn stays(&self) -> Pair {
        match self.refresh().await {
            Ok(pair) => pair,
            Err(answer) => panic!("{} was signed out: {} {}", self.name, answer.status, answer.text()),
        }
    }

    /// Has the access token judged.
    pub async fn verify(&self) -> Answer {
        self.ward.post("/account/token/verify/", &json!({"token": self.held().access})).await
    }

    /// Asks who they are.
    pub async fn me(&self) -> Answer {
        let bearer = format!("Bearer {}", self.held().access);
        self.ward.ask(Method::GET, "/account/me/", &[("authorization", &bearer)], "").await
    }

    /// Signs out.
    pub async fn sign_out(&self) -> Answer {
        self.ward.post("/account/token/blacklist/", &json!({"refresh": self.held().refresh})).await
    }

    /// Their access token must be refused already.
    pub async fn is_out(&self) {
        let refused = self.verify().await.expect(401);
        assert_eq!(refused.json(), json!({"detail": "Token is blacklisted", "code": "token_not_valid"}));
        self.me().await.expect(401);
    }

    /// The same within the moment that a revocation takes from wherever it was made to the verifiers (V2).
    pub async fn is_out_at_once(&self) {
        let end = Instant::now() + PATIENCE;
        while self.verify().await.status == 200 {
            assert!(Instant::now() < end, "{} is still in", self.name);
        }
        self.is_out().await;
    }

    /// Their access token must be good.
    pub async fn is_in(&self) {
        self.verify().await.expect(200);
        self.me().await.expect(200);
    }
}
