//! What is measured, step by step, on kept connections: connecting is no part of it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use carelink_platform::secrets::{ExposeSecret, SecretString};
use futures::future::join_all;
use serde_json::{Value, json};

use super::{CALL, Measured, Parallel, REFRESH, SIGN_IN, millis};
use crate::{
    error::failed,
    http::{Answer, Http},
};

/// Sign-ins: each is a hash, and a session that is signed out at the end.
const SIGN_INS: usize = 5;
/// Refreshes of one token at the same time.
const AT_ONCE: usize = 8;

/// What to measure, and as whom.
pub(super) struct Bench {
    pub(super) http: Http,
    pub(super) prefix: String,
    pub(super) rounds: u32,
    pub(super) username: String,
    pub(super) password: SecretString,
}

/// A pair of tokens.
struct Pair {
    access: SecretString,
    refresh: SecretString,
}

impl Pair {
    fn of(answer: &Answer) -> Option<Self> {
        let body = answer.json();
        let text = |name: &str| body.get(name).and_then(Value::as_str).map(SecretString::from);
        Some(Self { access: text("access")?, refresh: text("refresh")? })
    }
}

impl Bench {
    /// Does all of it. Sessions that it began are over when it is done.
    pub(super) async fn run(mut self) -> anyhow::Result<(Vec<Measured>, Parallel)> {
        self.http.connect().await?;
        let (mut sign_ins, mut sessions) = (Vec::new(), Vec::new());
        for _ in 0..SIGN_INS {
            let (pair, took) = self.sign_in().await?;
            sign_ins.push(took);
            sessions.push(pair);
        }
        let Some(mut pair) = sessions.pop() else { return Err(failed("internal", "nobody signed in")) };
        let (mut refreshes, mut calls, mut verifications) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let (next, took) = self.refresh(&pair).await?;
            refreshes.push(took);
            pair = next;
            calls.push(self.call(&pair).await?);
            verifications.push(self.verify(&pair).await?);
        }
        let (parallel, after) = self.parallel(&pair).await?;
        sessions.push(after.unwrap_or(pair));
        let mut sign_outs = Vec::new();
        for pair in &sessions {
            sign_outs.push(self.sign_out(pair).await?);
        }
        let lines = [
            Measured::of("refresh", &refreshes, REFRESH),
            Measured::of("call with a token", &calls, CALL),
            Measured::of("sign in", &sign_ins, SIGN_IN),
            Measured::of("verify", &verifications, CALL),
            Measured::of("blacklist", &sign_outs, CALL),
        ];
        Ok((lines.into_iter().flatten().collect(), parallel))
    }

    async fn sign_in(&mut self) -> anyhow::Result<(Pair, Duration)> {
        let body = json!({ "username": self.username, "password": self.password.expose_secret() });
        let (answer, took) = self.post("/token/", &body).await?;
        let pair = Pair::of(&answer).filter(|_| answer.status == 200).ok_or_else(|| refused("signing in", &answer))?;
        Ok((pair, took))
    }

    async fn refresh(&mut self, pair: &Pair) -> anyhow::Result<(Pair, Duration)> {
        let (answer, took) = self.post("/token/refresh/", &json!({ "refresh": pair.refresh.expose_secret() })).await?;
        let next = Pair::of(&answer).filter(|_| answer.status == 200).ok_or_else(|| refused("refreshing", &answer))?;
        Ok((next, took))
    }

    async fn call(&mut self, pair: &Pair) -> anyhow::Result<Duration> {
        let path = format!("{}/me/", self.prefix);
        let began = Instant::now();
        let answer = self.http.get(&path, Some(&pair.access)).await?;
        let took = began.elapsed();
        if answer.status == 200 { Ok(took) } else { Err(refused("asking who that is", &answer)) }
    }

    async fn verify(&mut self, pair: &Pair) -> anyhow::Result<Duration> {
        let (answer, took) = self.post("/token/verify/", &json!({ "token": pair.access.expose_secret() })).await?;
        if answer.status == 200 { Ok(took) } else { Err(refused("verifying", &answer)) }
    }

    async fn sign_out(&mut self, pair: &Pair) -> anyhow::Result<Duration> {
        let (answer, took) = self.post("/token/blacklist/", &json!({ "refresh": pair.refresh.expose_secret() })).await?;
        if answer.status == 200 { Ok(took) } else { Err(refused("blacklisting", &answer)) }
    }

    /// The same token eight times at once, each on a connection that is open already.
    async fn parallel(&self, pair: &Pair) -> anyhow::Result<(Parallel, Option<Pair>)> {
        let path = format!("{}/token/refresh/", self.prefix);
        let body = json!({ "refresh": pair.refresh.expose_secret() });
        let mut tabs: Vec<Http> = (0..AT_ONCE).map(|_| self.http.another()).collect();
        for tab in &mut tabs {
            tab.connect().await?;
        }
        let answers = join_all(tabs.iter_mut().map(async |tab| {
            let began = Instant::now();
            (tab.post(&path, &body).await, began.elapsed())
        }))
        .await;
        let slowest_ms = answers.iter().map(|(_, took)| millis(*took)).fold(0.0, f64::max);
        let answers: Vec<Answer> = answers.into_iter().map(|(answer, _)| answer).collect::<Result<_, _>>()?;
        let mut pairs: Vec<Pair> = answers.iter().filter(|answer| answer.status == 200).filter_map(Pair::of).collect();
        let successors: BTreeSet<&str> = pairs.iter().map(|pair| pair.refresh.expose_secret()).collect();
        let (refused, successors) = (AT_ONCE - pairs.len(), successors.len());
        let met = refused == 0 && successors == 1;
        Ok((Parallel { at_once: AT_ONCE, refused, successors, slowest_ms, met }, pairs.pop()))
    }

    async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<(Answer, Duration)> {
        let path = format!("{}{path}", self.prefix);
        let began = Instant::now();
        let answer = self.http.post(&path, body).await?;
        Ok((answer, began.elapsed()))
    }
}

/// What a deployment said instead of doing it.
fn refused(what: &str, answer: &Answer) -> anyhow::Error {
    let body = answer.json();
    let said = body.get("detail").and_then(Value::as_str).unwrap_or_default();
    let advice = match answer.status {
        400 => "; is that host name served (ALLOWED_HOSTS)?".to_owned(),
        404 => "; is --prefix right?".to_owned(),
        429 => format!("; wait for {} s, or measure less (--rounds)", answer.header("retry-after")),
        _ => String::new(),
    };
    failed("refused", format!("{what} was refused: {} {said}{advice}", answer.status))
}
