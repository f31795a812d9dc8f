//! A database of one test, with the roles and schemas that `deploy/postgres/roles.sql` makes.

use crate::{Pgbouncer, Postgres, cluster::psql};

const ROLES: &str = include_str!("../../../deploy/postgres/roles.sql");

/// A fresh database; dropped with this value.
#[derive(Debug)]
pub struct TestDatabase {
    cluster: Postgres,
    name: String,
}

impl TestDatabase {
    pub(crate) fn create(cluster: Postgres, name: String) -> Self {
        cluster.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"));
        cluster.sql(&name, ROLES);
        Self { cluster, name }
    }

    /// A role's URL: `carelink_token`, `carelink_token_owner`, ..
    pub fn url(&self, role: &str) -> String {
        self.cluster.url(role, &self.name)
    }

    /// A superuser's URL.
    pub fn superuser(&self) -> String {
        self.cluster.superuser(&self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> &Postgres {
        &self.cluster
    }

    /// Runs SQL as a superuser; what it answers, fields separated by `|`. Panics where it fails.
    pub fn sql(&self, text: &str) -> String {
        self.cluster.sql(&self.name, text)
    }

    /// Runs SQL as a role.
    ///
    /// # Errors
    /// What PostgreSQL says.
    pub fn sql_as(&self, role: &str, text: &str) -> Result<String, String> {
        psql(&self.url(role), text)
    }

    /// Runs SQL as a role, through a pooler.
    ///
    /// # Errors
    /// What PostgreSQL or the pooler says.
    pub fn sql_through(&self, pooler: &Pgbouncer, role: &str, text: &str) -> Result<String, String> {
        psql(&pooler.url(role, self), text)
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        // Where it cannot be dropped (a cluster that was killed) it ends with its cluster.
        let _ = psql(&self.cluster.superuser("postgres"), &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
    }
}
