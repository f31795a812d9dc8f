//! Real servers for tests: PostgreSQL, pgbouncer, Redis, MariaDB, nginx, each on a free port of 127.0.0.1 and in a throw-away directory.
//!
//! What a test starts ends with the value that it holds, and with the process, however that dies. [`postgres`] is shared by the
//! tests of a process (and by all of them where `CARELINK_TEST_POSTGRES` is the URL of a superuser, as under the program of this
//! crate); whoever wants to kill, stop or restart a server starts one of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::must_use_candidate,
    clippy::print_stderr,
    clippy::print_stdout
)] // a test that cannot go on has failed

mod bouncer;
mod cluster;
mod database;
mod engines;
mod mariadb;
mod nginx;
mod process;
mod redis;

pub use self::{
    bouncer::Pgbouncer,
    cluster::{Postgres, postgres},
    database::TestDatabase,
    engines::{Engine, Place},
    mariadb::Mariadb,
    nginx::Nginx,
    redis::Redis,
};
