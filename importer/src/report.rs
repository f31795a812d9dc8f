//! What became of every row, counted. Bounded: names are listed up to [`LISTED`], the rest is a number.

use std::collections::BTreeMap;

use carelink_proto::{
    auth::{LegacyUser, LegacyUserOutcome, LegacyUserResult},
    token::LegacyTokenOutcome,
};
use serde::Serialize;

use crate::source::layout::Layout;

/// How many names a list of the report holds.
const LISTED: usize = 1_000;

/// The outcome of an import.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The source's name here.
    pub source: String,
    /// Nothing was written.
    pub dry_run: bool,
    /// Where the rows were found.
    pub layout: Layout,
    /// Users, by how their password is stored.
    pub users: BTreeMap<String, UserTally>,
    /// Users that are inactive in the source, refused ones aside.
    pub inactive_users: u64,
    /// Outstanding tokens.
    pub tokens: TokenTally,
    /// Reserved roles of the source that were dropped, with how many users had them (L2).
    pub dropped_roles: BTreeMap<String, u64>,
    /// Fields that changed in the source but had been changed here: kept as they are here (L5).
    pub kept_fields: BTreeMap<String, u64>,
    /// Who was refused, and why.
    pub refused: Listed<RefusedUser>,
    /// Superusers of the source that are administrators here now.
    pub admins: Listed<String>,
    /// Users whose state token-service had not acknowledged when the import ended.
    pub subjects_pending: u32,
    /// What the operator should know besides.
    pub notes: Vec<Note>,
}

/// Users of one hasher.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UserTally {
    /// New here.
    pub imported: u64,
    /// Changed in the source since the last import.
    pub updated: u64,
    /// As they were at the last import.
    pub unchanged: u64,
    /// Not imported, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Imported, but unable to sign in, by reason.
    pub cannot_sign_in: BTreeMap<String, u64>,
}

/// Outstanding tokens, by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TokenTally {
    /// Sessions now.
    pub live: u64,
    /// Recorded as ended.
    pub blacklisted: u64,
    /// Past their end.
    pub expired: u64,
    /// Of inactive users; recorded as ended.
    pub inactive_user: u64,
    /// Of users that are not known here.
    pub unknown_user: u64,
    /// Imported before, and the same in the source.
    pub unchanged: u64,
    /// Blacklisted in the source since the last import, and ended here now.
    pub ended: u64,
    /// Changed in the source, but moved on here.
    pub kept: u64,
    /// Rows that cannot be read, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Not looked at, since there was no key to read them with.
    pub left_out: u64,
}

/// Someone who was not imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefusedUser {
    /// Their id in the source, where it is a number.
    pub legacy_id: Option<i64>,
    /// Their name, where it is text.
    pub username: Option<String>,
    /// How their password is stored.
    pub hasher: String,
    /// A stable reason.
    pub reason: String,
}

/// The first of a list, and how many more there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listed<T> {
    /// At most 1,000.
    pub first: Vec<T>,
    /// Beyond those.
    pub more: u64,
}

/// Something worth knowing that is no count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "note", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Note {
    /// The table has no column that says who is active.
    EverybodyActive,
    /// Tables that were read are of an engine without transactions: not of one moment.
    NoSnapshot,
    /// The source has no tables of SimpleJWT.
    NoTokenTables,
    /// There are tokens, but no key was given.
    NoKey,
    /// Some of the newest outstanding tokens were signed with another key.
    OtherKeys {
        /// How many.
        others: u64,
    },
    /// The source is too old to have recorded the successors of rotated tokens (L3).
    UnrecordedRotations {
        /// Blacklisted tokens, none of which has a successor.
        blacklisted: u64,
    },
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self { first: Vec::new(), more: 0 }
    }
}

impl<T> Listed<T> {
    fn add(&mut self, item: T) {
        if self.first.len() < LISTED { self.first.push(item) } else { self.more += 1 }
    }

    /// How many there are in all.
    pub fn total(&self) -> u64 {
        self.more.saturating_add(u64::try_from(self.first.len()).unwrap_or(u64::MAX))
    }
}

impl UserTally {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.imported + self.updated + self.unchanged + self.refused.values().sum::<u64>()
    }
}

impl TokenTally {
    /// All that were looked at.
    pub fn total(&self) -> u64 {
        let refused: u64 = self.refused.values().sum();
        self.live
            + self.blacklisted
            + self.expired
            + self.inactive_user
            + self.unknown_user
            + self.unchanged
            + self.ended
            + self.kept
            + refused
    }
}

impl Report {
    pub(crate) fn new(source: String, dry_run: bool, layout: Layout) -> Self {
        Self {
            source,
            dry_run,
            layout,
            users: BTreeMap::new(),
            inactive_users: 0,
            tokens: TokenTally::default(),
            dropped_roles: BTreeMap::new(),
            kept_fields: BTreeMap::new(),
            refused: Listed::default(),
            admins: Listed::default(),
            subjects_pending: 0,
            notes: Vec::new(),
        }
    }

    /// Whether nothing had to be changed.
    pub fn changed_nothing(&self) -> bool {
        let users = self.users.values().all(|tally| tally.imported + tally.updated == 0);
        users && self.tokens.live + self.tokens.blacklisted + self.tokens.inactive_user + self.tokens.ended == 0
    }

    /// Counts a row that was never sent.
    pub(crate) fn refuse(&mut self, refused: RefusedUser) {
        let tally = self.users.entry(refused.hasher.clone()).or_default();
        bump(&mut tally.refused, &refused.reason);
        self.refused.add(refused);
    }

    /// Counts what a service made of a user. Says whether they are known here now.
    pub(crate) fn count(&mut self, user: &LegacyUser, outcome: &LegacyUserOutcome, superusers_as_admins: bool) -> bool {
        let hasher = if outcome.hasher.is_empty() { "unknown" } else { &outcome.hasher };
        let result = outcome.result();
        if matches!(result, LegacyUserResult::Refused | LegacyUserResult::Unspecified) {
            self.refuse(RefusedUser {
                legacy_id: Some(user.legacy_id),
                username: Some(user.username.clone()),
                hasher: hasher.into(),
                reason: outcome.reason.clone(),
            });
            return false;
        }
        let tally = self.users.entry(hasher.into()).or_default();
        match result {
            LegacyUserResult::Imported => tally.imported += 1,
            LegacyUserResult::Updated => tally.updated += 1,
            _ => tally.unchanged += 1,
        }
        if !outcome.reason.is_empty() {
            bump(&mut tally.cannot_sign_in, &outcome.reason);
        }
        self.inactive_users += u64::from(!user.active);
        for role in &outcome.dropped_roles {
            bump(&mut self.dropped_roles, role);
        }
        for field in &outcome.kept {
            bump(&mut self.kept_fields, field);
        }
        if superusers_as_admins && user.superuser {
            self.admins.add(user.username.clone());
        }
        true
    }

    /// Counts what became of a token.
    pub(crate) fn count_token(&mut self, outcome: LegacyTokenOutcome) {
        let tally = &mut self.tokens;
        match outcome {
            LegacyTokenOutcome::Live => tally.live += 1,
            LegacyTokenOutcome::Blacklisted => tally.blacklisted += 1,
            LegacyTokenOutcome::Expired => tally.expired += 1,
            LegacyTokenOutcome::InactiveUser => tally.inactive_user += 1,
            LegacyTokenOutcome::UnknownUser => tally.unknown_user += 1,
            LegacyTokenOutcome::Unchanged => tally.unchanged += 1,
            LegacyTokenOutcome::Ended => tally.ended += 1,
            LegacyTokenOutcome::Kept => tally.kept += 1,
            LegacyTokenOutcome::Unspecified => bump(&mut tally.refused, "not_said"),
        }
    }

    /// Counts a token that cannot be read.
    pub(crate) fn refuse_token(&mut self, reason: &str) {
        bump(&mut self.tokens.refused, reason);
    }
}

fn bump(counts: &mut BTreeMap<String, u64>, key: &str) {
    *counts.entry(key.to_owned()).or_default() += 1;
}
