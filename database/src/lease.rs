//! Work that must happen once holds a lease (A5): a row taken by one conditional statement under the database's clock.

use std::time::Duration;

use carelink_platform::random::Random;
use uuid::Uuid;

use crate::{Db, Row, Statement, StoreError, Tx, Value, args};

static ACQUIRE: Statement = Statement::shared("lease_acquire", include_str!("sql/lease_acquire.sql"));
static CHECK: Statement =
    Statement::per_engine("lease_check", include_str!("sql/lease_check.sql"), include_str!("sql/lease_check.postgres.sql"));
static RELEASE: Statement = Statement::shared("lease_release", include_str!("sql/lease_release.sql"));

/// How long a lease holds without being renewed: who dies is followed within seconds.
const TTL: Duration = Duration::from_secs(6);
/// How often its holder renews it.
pub const RENEW: Duration = Duration::from_secs(2);

/// The statements of this module, for the test that prepares all.
pub static STATEMENTS: &[&Statement] = &[&ACQUIRE, &CHECK, &RELEASE];

/// One process's claim to a piece of work.
#[derive(Clone, Debug)]
pub struct Lease {
    name: &'static str,
    holder: Uuid,
    ttl: Duration,
}

/// The proof that the claim held when it was taken; what is written under it checks it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(i64);

impl Lease {
    /// A claim to `name` by a new holder.
    pub fn new(name: &'static str, random: &Random) -> Self {
        Self::lasting(name, TTL, random)
    }

    /// One that holds so long without being renewed.
    pub fn lasting(name: &'static str, ttl: Duration, random: &Random) -> Self {
        Self { name, holder: random.uuid_v4(), ttl }
    }

    /// Takes or renews the lease. None: somebody else holds it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn acquire(&self, db: &Db) -> Result<Option<Epoch>, StoreError> {
        epoch(&db.run(&ACQUIRE, self.claim()).await?)
    }

    /// The same within a transaction that depends on it: it is held until that has ended.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn acquire_in(&self, tx: &mut Tx) -> Result<Option<Epoch>, StoreError> {
        epoch(&tx.run(&ACQUIRE, self.claim()).await?)
    }

    /// Gives it up, for whoever is next.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn release(&self, db: &Db) -> Result<(), StoreError> {
        db.run(&RELEASE, args![self.name, self.holder]).await.map(|_| ())
    }

    fn claim(&self) -> Vec<Value> {
        args![self.name, self.holder, i64::try_from(self.ttl.as_micros()).unwrap_or(i64::MAX)]
    }

    /// Whether the claim still holds, within the transaction that depends on it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn holds(&self, tx: &mut Tx, epoch: Epoch) -> Result<bool, StoreError> {
        Ok(!tx.run(&CHECK, args![self.name, self.holder, epoch.0]).await?.is_empty())
    }
}

fn epoch(rows: &[Row]) -> Result<Option<Epoch>, StoreError> {
    rows.first().map(|row| row.get("epoch").map(Epoch)).transpose()
}
