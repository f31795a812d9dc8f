//! Rows on their way into one batch.

use carelink_proto::auth::LegacyUser;
use prost::Message;

use super::{BATCH, Batch, SourceToken};
use crate::report::RefusedUser;

/// A batch is full at this many bytes, however few rows it has: well below what a gRPC message may have.
const BATCH_BYTES: usize = 1024 * 1024;
/// Bytes a token's row adds to a batch besides its jti.
const TOKEN_BYTES: usize = 64;

/// Rows read, and why others cannot be.
pub(super) struct Gathering<Read, Refused> {
    read: Vec<Read>,
    refused: Vec<Refused>,
    bytes: usize,
}

/// Users, in the order of their ids.
pub(super) type Users = Gathering<LegacyUser, RefusedUser>;
/// Tokens, in the order of their ids.
pub(super) type Tokens = Gathering<SourceToken, &'static str>;

impl<Read, Refused> Gathering<Read, Refused> {
    pub(super) fn new() -> Self {
        Self { read: Vec::new(), refused: Vec::new(), bytes: 0 }
    }

    fn add(&mut self, row: Result<Read, Refused>, bytes: usize) -> bool {
        self.bytes += bytes;
        match row {
            Ok(read) => self.read.push(read),
            Err(refused) => self.refused.push(refused),
        }
        self.read.len() + self.refused.len() >= BATCH || self.bytes >= BATCH_BYTES
    }

    fn take(&mut self) -> Option<(Vec<Read>, Vec<Refused>)> {
        self.bytes = 0;
        let (read, refused) = (std::mem::take(&mut self.read), std::mem::take(&mut self.refused));
        (!read.is_empty() || !refused.is_empty()).then_some((read, refused))
    }
}

impl Users {
    /// Adds a row; the batch, where it is full with it.
    pub(super) fn user(&mut self, user: Result<LegacyUser, RefusedUser>) -> Option<Batch> {
        let bytes = user.as_ref().map_or(TOKEN_BYTES, Message::encoded_len);
        if self.add(user, bytes) { self.rest() } else { None }
    }

    /// What has been gathered.
    pub(super) fn rest(&mut self) -> Option<Batch> {
        self.take().map(|(read, refused)| Batch::Users { read, refused })
    }
}

impl Tokens {
    /// Adds a row; the batch, where it is full with it.
    pub(super) fn token(&mut self, token: Result<SourceToken, &'static str>) -> Option<Batch> {
        let bytes = TOKEN_BYTES + token.as_ref().map_or(0, |token| token.jti.len());
        if self.add(token, bytes) { self.rest() } else { None }
    }

    /// What has been gathered.
    pub(super) fn rest(&mut self) -> Option<Batch> {
        self.take().map(|(read, refused)| Batch::Tokens { read, refused })
    }
}
