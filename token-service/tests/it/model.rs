//! Sessions as the protocol's rules have them, written from the rules and not from the code: S3, S5 to S10, T1, T3, U1, U2, V1.
//! No token, no database, no await: what must be answered, what must be told to verifiers, what must be in the trail.

use std::collections::BTreeSet;

use uuid::Uuid;

pub const SECOND: i64 = 1_000_000;
pub const LIFETIME: i64 = 12 * 3_600 * SECOND;
const KEEP_ROW: i64 = 3_600 * SECOND;
const KEEP_REVOCATION: i64 = 2 * 3_600 * SECOND;

pub type Roles = BTreeSet<&'static str>;

/// A user at one version (U1).
#[derive(Clone, Debug)]
pub struct Subject {
    pub version: u64,
    pub min_version: u64,
    pub excepted: Option<Uuid>,
    pub active: bool,
    pub roles: Roles,
    pub why: &'static str,
}

/// A session's row.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: Uuid,
    pub user: usize,
    pub version: u64,
    pub generation: u64,
    pub rotated_at: i64,
    pub ends_at: i64,
    pub roles: Roles,
    /// Of the present pair: when, until when, with what.
    pub access: (i64, i64, Roles),
    pub access_until: i64,
    pub refused: Option<u64>,
    pub ended: Option<&'static str>,
    pub deleted: bool,
    /// Types and reasons, in the order of the counter.
    pub events: Vec<(&'static str, &'static str)>,
}

/// What a refresh must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Rotated,
    /// The same pair; or, of the same generation, a fresh access token.
    Replayed {
        fresh: bool,
    },
    Refused(&'static str),
}

/// What CreateSession must answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    New,
    Before(usize),
    Refused(&'static str),
}

/// An entry of the stream; `u64::MAX`: the session has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub session: Uuid,
    pub generation: u64,
    pub until: i64,
    pub deleted: bool,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub now: i64,
    pub grace: i64,
    /// How long an access token is good for.
    pub lifetime: i64,
    /// What token-service holds of each user.
    pub held: Vec<Option<Subject>>,
    pub sessions: Vec<Session>,
    /// The n-th has number n + 1 (V1).
    pub revocations: Vec<Revocation>,
}

impl Model {
    pub fn new(now: i64, grace: i64, lifetime: i64, users: usize) -> Self {
        Self { now, grace, lifetime, held: vec![None; users], sessions: Vec::new(), revocations: Vec::new() }
    }

    /// Why the session is over; None: it is live (the first two rows of S3).
    fn over(&self, at: usize) -> Option<&'static str> {
        let session = &self.sessions[at];
        match session.ended {
            _ if session.deleted => Some("session_expired"),
            Some("disabled") => Some("user_inactive"),
            Some("expired") => Some("session_expired"),
            Some(_) => Some("session_revoked"),
            None => (self.now >= session.ends_at).then_some("session_expired"),
        }
    }

    /// S3 without effect. None: current.
    fn judge(&self, at: usize, generation: u64) -> Option<&'static str> {
        if let Some(over) = self.over(at) {
            return Some(over);
        }
        let session = &self.sessions[at];
        let grace = generation + 1 == session.generation && self.now < session.rotated_at + self.grace;
        (generation != session.generation).then_some(if grace { "replayed" } else { "session_reused" })
    }

    /// S7: never past the session's end.
    fn mint(&mut self, at: usize) {
        let iat = self.now - self.now.rem_euclid(SECOND);
        let session = &mut self.sessions[at];
        session.access = (iat, (iat + self.lifetime).min(session.ends_at), session.roles.clone());
        session.access_until = session.access_until.max(session.access.1);
    }

    pub fn refresh(&mut self, at: usize, generation: u64) -> Answer {
        match self.judge(at, generation) {
            None => {
                let now = self.now;
                let session = &mut self.sessions[at];
                session.generation += 1;
                session.rotated_at = now;
                session.events.push(("session.refreshed", ""));
                self.mint(at);
                Answer::Rotated
            }
            Some("replayed") => {
                self.sessions[at].events.push(("session.replayed", ""));
                let fresh = self.now >= self.sessions[at].access.1;
                if fresh {
                    self.mint(at); // S6
                }
                Answer::Replayed { fresh }
            }
            Some("session_reused") => {
                self.end(at, "reused", "session.reuse_detected");
                Answer::Refused("session_reused")
            }
            Some(other) => Answer::Refused(other),
        }
    }

    /// S5: idempotent. Says whether it was this that ended it.
    fn end(&mut self, at: usize, why: &'static str, event: &'static str) -> bool {
        let session = &mut self.sessions[at];
        if session.ended.is_some() || session.deleted {
            return false;
        }
        session.ended = Some(why);
        session.events.push((event, why));
        self.revoke(at, u64::MAX);
        true
    }

    /// T1: until 2 h beyond the last token it names.
    fn revoke(&mut self, at: usize, generation: u64) {
        let session = &self.sessions[at];
        let until = session.access_until.max(self.now) + KEEP_REVOCATION;
        self.revocations.push(Revocation { session: session.id, generation, until, deleted: false });
    }

    /// S9: any genuine token ends it; only the current one is told so.
    pub fn sign_out(&mut self, at: usize, generation: u64) -> Result<u64, &'static str> {
        let over = self.over(at);
        let ended = self.end(at, "signed_out", "session.signed_out");
        match over {
            Some(over) => Err(over),
            None if ended && self.sessions[at].generation == generation => Ok(self.head()),
            None => Err("session_revoked"),
        }
    }

    /// How many ended, and the number that tells.
    pub fn revoke_one(&mut self, at: usize) -> Result<(u32, u64), &'static str> {
        if self.sessions[at].deleted {
            return Err("session_not_found");
        }
        let ended = self.end(at, "revoked", "session.ended");
        Ok((u32::from(ended), if ended { self.head() } else { 0 }))
    }

    pub fn revoke_all(&mut self, user: usize) -> (u32, u64) {
        let mut count = 0;
        for at in self.of_user(user) {
            count += u32::from(self.end(at, "revoked", "session.ended"));
        }
        (count, if count > 0 { self.head() } else { 0 })
    }

    /// Sessions of a user by id: locks are taken, and numbers given, in that order (S11).
    fn of_user(&self, user: usize) -> Vec<usize> {
        let mut of: Vec<usize> = (0..self.sessions.len()).filter(|at| self.sessions[*at].user == user).collect();
        of.sort_by_key(|at| self.sessions[*at].id);
        of
    }

    /// U2. Returns the version held, and the highest number that came of it.
    pub fn apply(&mut self, user: usize, snapshot: &Subject) -> (u64, u64) {
        let before = self.head();
        if self.held[user].as_ref().is_none_or(|held| snapshot.version > held.version) {
            self.held[user] = Some(snapshot.clone());
            for at in self.of_user(user) {
                let session = &self.sessions[at];
                if session.ended.is_some() || session.deleted {
                    continue;
                }
                if !snapshot.active {
                    self.end(at, "disabled", "session.ended");
                } else if session.version < snapshot.min_version && snapshot.excepted != Some(session.id) {
                    self.end(at, snapshot.why, "session.ended");
                } else {
                    let lost = !session.roles.is_subset(&snapshot.roles);
                    self.sessions[at].roles = snapshot.roles.clone();
                    if lost {
                        let generation = self.sessions[at].generation;
                        self.sessions[at].refused = Some(generation);
                        self.revoke(at, generation);
                    }
                }
            }
        }
        let head = self.head();
        (self.held[user].as_ref().unwrap().version, if head > before { head } else { 0 })
    }

    /// S10, T3. `before`: the session that this assertion began.
    pub fn create(&mut self, user: usize, snapshot: &Subject, issued: i64, before: Option<usize>) -> Created {
        if self.now > issued + 150 * SECOND || self.now + 120 * SECOND < issued {
            return Created::Refused("assertion_invalid");
        }
        self.apply(user, snapshot);
        let held = self.held[user].as_ref().unwrap();
        if !held.active || snapshot.version < held.min_version {
            return Created::Refused("credentials_invalid");
        }
        match before.filter(|at| !self.sessions[*at].deleted) {
            Some(at) if self.sessions[at].generation == 0 && self.over(at).is_none() => Created::Before(at),
            Some(_) => Created::Refused("assertion_used"),
            None => Created::New,
        }
    }

    pub fn begin(&mut self, id: Uuid, user: usize, version: u64) -> usize {
        self.sessions.push(Session {
            id,
            user,
            version,
            generation: 0,
            rotated_at: self.now,
            ends_at: self.now + LIFETIME,
            roles: self.held[user].as_ref().unwrap().roles.clone(),
            access: (0, 0, Roles::new()),
            access_until: 0,
            refused: None,
            ended: None,
            deleted: false,
            events: vec![("session.started", "")],
        });
        self.mint(self.sessions.len() - 1);
        self.sessions.len() - 1
    }

    /// T1: what has ended is recorded; a row stays until an hour past its end.
    pub fn sweep(&mut self) {
        let mut all: Vec<usize> = (0..self.sessions.len()).collect();
        all.sort_by_key(|at| self.sessions[*at].id);
        for at in all {
            if self.now >= self.sessions[at].ends_at {
                self.end(at, "expired", "session.ended");
            }
            self.sessions[at].deleted |= self.now >= self.sessions[at].ends_at + KEEP_ROW;
        }
        for revocation in &mut self.revocations {
            revocation.deleted |= self.now >= revocation.until;
        }
    }

    pub fn introspect_refresh(&self, at: usize, generation: u64) -> Result<(), &'static str> {
        self.judge(at, generation).filter(|judged| *judged != "replayed").map_or(Ok(()), Err)
    }

    pub fn introspect_access(&self, at: usize, generation: u64, expires: i64) -> Result<(), &'static str> {
        let session = &self.sessions[at];
        if session.deleted || session.ended.is_some() {
            return Err(self.over(at).unwrap());
        }
        if session.refused.is_some_and(|refused| generation <= refused) {
            return Err("session_revoked");
        }
        // S7: `exp` is a whole second, at most the session's end.
        if self.now.div_euclid(SECOND) >= expires.div_euclid(SECOND) { Err("token_expired") } else { Ok(()) }
    }

    pub fn head(&self) -> u64 {
        self.revocations.len() as u64
    }
}
