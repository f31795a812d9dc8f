//! Letters with one-time links: written and sealed with the change, delivered by the relay of the outbox until they are out.
//!
//! A letter waits sealed, since the link in it opens an account. One that nobody will ever take, and one whose link has run out, is let go.

mod config;
mod letter;
mod send;
#[cfg(test)]
mod tests;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use carelink_database::outbox::{Outgoing, Relay, Waiting};
use carelink_platform::{clock::Timestamp, config::ConfigError, errors::Failure, random::Random, secrets::MasterKey};
use metrics::{counter, describe_counter};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::config::MailConfig;
use self::{
    config::Way,
    letter::Letter,
    send::{Sent, Smtp, write},
};
use crate::{
    domain::{link::Purpose, user::User},
    store::Store,
};

/// The outbox destination of letters.
pub(crate) const MAIL: &str = "mail";
/// What the master key is asked for (K3).
const LETTERS_PURPOSE: &str = "auth/letters/v1";

/// Writes letters and delivers them.
#[derive(Debug)]
pub(crate) struct Mail {
    config: MailConfig,
    way: Option<Way>,
    master: MasterKey,
    random: Random,
}

/// A letter as it waits.
#[derive(Serialize, Deserialize)]
struct Sealed {
    to: String,
    username: String,
    purpose: Purpose,
    token: String,
    expires_us: i64,
}

impl Mail {
    /// By the section `mail`.
    pub(crate) fn new(config: MailConfig, master: MasterKey, random: Random) -> Result<Self, ConfigError> {
        describe_counter!("carelink_mail_total", "Letters with one-time links, by what became of them: sent, refused for good, too late");
        Ok(Self { way: config.way()?, config, master, random })
    }

    /// Whether letters leave here.
    pub(crate) fn is_on(&self) -> bool {
        self.way.is_some()
    }

    /// A letter on its way.
    pub(crate) fn letter(&self, to: &User, purpose: Purpose, token: &str, expires_at: Timestamp, now: Timestamp) -> Outgoing {
        let event_id = self.random.uuid_v7(now);
        let letter = Sealed {
            to: to.email.clone(),
            username: to.username.clone(),
            purpose,
            token: token.to_owned(),
            expires_us: expires_at.as_micros(),
        };
        let plain = serde_json::to_vec(&letter).unwrap_or_default(); // text and numbers: always possible
        let body = self.master.seal(LETTERS_PURPOSE, &self.random, &plain, event_id.as_bytes());
        Outgoing { destination: MAIL, event_id, subject: Some(to.subject.id), session: None, counter: None, body }
    }

    /// Delivers what waits.
    pub(crate) fn relay(self: &Arc<Self>, store: &Store) -> Relay {
        let (mail, clock) = (Arc::clone(self), store.db.clock().clone());
        let sent: Arc<Mutex<HashSet<Uuid>>> = Arc::default();
        Relay::new(store.db.clone(), MAIL, store.random.clone(), move |rows| {
            let (mail, sent, now) = (Arc::clone(&mail), Arc::clone(&sent), clock.now());
            Box::pin(async move { mail.deliver(rows, &sent, now).await })
        })
    }

    /// All of a batch, or those that could not be sent now are tried again, without those that are out already.
    async fn deliver(&self, rows: Vec<Waiting>, sent: &Mutex<HashSet<Uuid>>, now: Timestamp) -> Result<(), Failure> {
        let mut failed = None;
        for row in &rows {
            if sent.lock().unwrap_or_else(PoisonError::into_inner).contains(&row.event_id) {
                continue;
            }
            match self.send(row, now).await {
                Ok(became) => {
                    counter!("carelink_mail_total", "became" => became).increment(1);
                    sent.lock().unwrap_or_else(PoisonError::into_inner).insert(row.event_id);
                }
                Err(failure) => failed = Some(failure),
            }
        }
        if let Some(failure) = failed {
            return Err(failure);
        }
        sent.lock().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    async fn send(&self, row: &Waiting, now: Timestamp) -> Result<&'static str, Failure> {
        let plain = self.master.open(LETTERS_PURPOSE, &row.body, row.event_id.as_bytes()).ok();
        let Some(letter) = plain.and_then(|plain| serde_json::from_slice::<Sealed>(&plain).ok()) else {
            tracing::error!(row = row.id, "a letter in the outbox cannot be read; dropped");
            return Ok("refused");
        };
        let Sealed { to, username, purpose, token, expires_us } = letter;
        if expires_us <= now.as_micros() {
            return Ok("too_late");
        }
        let link = format!("{}#{token}", self.config.link_base);
        let letter = Letter { id: row.event_id, from: &self.config.from, to: &to, username: &username, purpose, link: &link, now };
        let Some((envelope, text)) = letter.encode() else {
            tracing::warn!(subject = row.subject.map(|id| id.to_string()), "a user's e-mail address is none: no letter can reach them");
            return Ok("refused");
        };
        match &self.way {
            None => Ok("refused"),
            Some(Way::Directory(directory)) => write(directory, row.event_id, text).await.map(|()| "sent"),
            Some(Way::Smtp(server)) => match Smtp::of(server, &self.config)?.send(&envelope, &text).await? {
                Sent::Taken => Ok("sent"),
                Sent::Refused(code) => {
                    tracing::warn!(code, subject = row.subject.map(|id| id.to_string()), "the mail server takes no letter for this user");
                    Ok("refused")
                }
            },
        }
    }
}
