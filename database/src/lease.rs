//! Work that must happen once holds a lease (A5): a row taken by one conditional statement under the database's clock.

use std::time::Duration;

use carelink_platform::random::Random;
use uuid::Uuid;

use crate::{Db, Statement, StoreError, Tx, args};

static ACQUIRE: Statement = Statement::shared("lease_acquire", include_str!("sql/lease_acquire.sql"));
static CHECK: Statement = Statement::shared("lease_check", include_str!("sql/lease_check.sql"));

/// How long a lease holds without being renewed.
const TTL: Duration = Duration::from_secs(15);
/// How often its holder renews it.
pub const RENEW: Duration = Duration::from_secs(5);

/// The statements of this module, for the test that prepares all.
pub static STATEMENTS: &[&Statement] = &[&ACQUIRE, &CHECK];

/// One process's claim to a piece of work.
#[derive(Clone, Debug)]
pub struct Lease {
    name: &'static str,
    holder: Uuid,
}

/// The proof that the claim held when it was taken; what is written under it checks it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(i64);

impl Lease {
    /// A claim to `name` by a new holder.
    pub fn new(name: &'static str, random: &Random) -> Self {
        Self { name, holder: random.uuid_v4() }
    }

    /// Takes or renews the lease. None: somebody else holds it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn acquire(&self, db: &Db) -> Result<Option<Epoch>, StoreError> {
        let rows = db.run(&ACQUIRE, args![self.name, self.holder, i64::try_from(TTL.as_micros()).unwrap_or(i64::MAX)]).await?;
        rows.first().map(|row| row.get("epoch").map(Epoch)).transpose()
    }

    /// Whether the claim still holds, within the transaction that depends on it.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn holds(&self, tx: &mut Tx, epoch: Epoch) -> Result<bool, StoreError> {
        Ok(!tx.run(&CHECK, args![self.name, self.holder, epoch.0]).await?.is_empty())
    }
}
