//! Schemas: made step by step, and refused with a sentence where they do not fit.

use carelink_database::{Db, DbOptions, Migration, StoreError};
use carelink_platform::clock::Clock;
use carelink_servers::{Engine, postgres};
use futures::future::join_all;

use crate::bench::{Bench, SCHEMA, at, migrate_as_owner, open};

const TWO: &[Migration] =
    &[SCHEMA[0], Migration { name: "0002_expand_places", sqlite: "", postgres: "CREATE TABLE place (name text NOT NULL PRIMARY KEY)" }];
const THREE: &[Migration] =
    &[SCHEMA[0], TWO[1], Migration { name: "0003_contract_things", sqlite: "", postgres: "ALTER TABLE thing DROP COLUMN body" }];
const ALTERED: &[Migration] = &[Migration { name: "0001_things", sqlite: "SELECT 1", postgres: "SELECT 1" }];
const BROKEN: &[Migration] =
    &[SCHEMA[0], Migration { name: "0002_broken", sqlite: "", postgres: "CREATE TABLE half (n bigint); SELECT nothing_like_it()" }];

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_or_altered_file_is_refused_with_a_sentence() {
    let Bench { db, place, .. } = Bench::on(Engine::Sqlite).await;
    assert_eq!(db.applied(), ["0000_platform", "0001_things"]);
    drop(db);
    let file = || place.directory().join("t.sqlite3").into();
    let open = |migrations| Db::open(DbOptions { at: file(), schema: "test", migrations, clock: Clock::system() });
    assert!(open(SCHEMA).await.unwrap().applied().is_empty());
    let error = open(&[]).await.unwrap_err();
    assert!(error.to_string().contains("newer version"), "{error}");
    let error = open(ALTERED).await.unwrap_err();
    assert!(matches!(error, StoreError::Altered { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_refuses_a_schema_that_is_too_old_or_too_new_and_says_what_to_do() {
    let database = postgres().await.database().await;
    let runtime = || at(&database, "carelink_token");
    let error = open(runtime(), SCHEMA).await.unwrap_err();
    assert!(error.to_string().contains("`carelink migrate`") && error.to_string().contains("0000_platform"), "{error}");
    assert_eq!(migrate_as_owner(&database, SCHEMA).await.unwrap(), ["0000_platform", "0001_things"]);
    assert!(migrate_as_owner(&database, SCHEMA).await.unwrap().is_empty());
    let db = open(runtime(), SCHEMA).await.unwrap();
    assert!(db.applied().is_empty() && db.is_shared());

    let error = open(runtime(), TWO).await.unwrap_err();
    assert!(matches!(&error, StoreError::Older { migration, .. } if migration == "0002_expand_places"), "{error}");
    assert_eq!(migrate_as_owner(&database, TWO).await.unwrap(), ["0002_expand_places"]);
    open(runtime(), SCHEMA).await.expect("what was only expanded fits the version before");
    assert_eq!(migrate_as_owner(&database, THREE).await.unwrap(), ["0003_contract_things"]);
    let error = open(runtime(), TWO).await.unwrap_err();
    assert!(matches!(&error, StoreError::Newer { migration, .. } if migration == "0003_contract_things"), "{error}");
    assert!(error.to_string().contains("`carelink migrate`"), "{error}");
    assert!(matches!(migrate_as_owner(&database, TWO).await, Err(StoreError::Newer { .. })), "an older version does not migrate it either");
    assert!(matches!(open(runtime(), ALTERED).await, Err(StoreError::Altered { .. })));
    assert!(matches!(migrate_as_owner(&database, ALTERED).await, Err(StoreError::Altered { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_migrate_at_once_apply_each_step_once() {
    let database = postgres().await.database().await;
    let applied = join_all((0..6).map(|_| migrate_as_owner(&database, TWO))).await;
    let mut all: Vec<&str> = applied.into_iter().flat_map(Result::unwrap).collect();
    all.sort_unstable();
    assert_eq!(all, ["0000_platform", "0001_things", "0002_expand_places"]);
    open(at(&database, "carelink_token"), TWO).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_leaves_nothing_and_those_before_it_stay() {
    let database = postgres().await.database().await;
    let error = migrate_as_owner(&database, BROKEN).await.unwrap_err();
    assert!(error.to_string().contains("0002_broken") && error.to_string().contains("nothing_like_it"), "{error}");
    assert_eq!(database.sql("SELECT to_regclass('carelink_token.half') IS NULL, to_regclass('carelink_token.thing') IS NULL"), "t|f");
    assert_eq!(migrate_as_owner(&database, TWO).await.unwrap(), ["0002_expand_places"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_is_a_sentence_without_the_password() {
    let database = postgres().await.database().await;
    let wrong = [
        ("postgres://carelink_token:s3cret@[::1", "is not a PostgreSQL URL"),
        ("mysql://carelink_token:s3cret@127.0.0.1/x", "PostgreSQL URL"),
        (&*database.url("nobody").replace("nobody", "nobody:s3cret"), "nobody"),
        (&*database.url("carelink_auth"), "finds no schema carelink_token"),
    ];
    for (url, says) in wrong {
        let error = open(crate::bench::postgres(url.to_owned()), SCHEMA).await.unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains("s3cret"), "{url}: {error}");
    }
    let error = {
        let as_runtime = at(&database, "carelink_token");
        let carelink_database::Location::Postgres(runtime) = as_runtime else { unreachable!() };
        carelink_database::migrate::postgres(&runtime, "token", SCHEMA, &carelink_platform::random::Random::system()).await.unwrap_err()
    };
    assert!(error.to_string().contains("carelink_token_owner"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_superuser_migrates_is_the_owners_all_the_same() {
    let database = postgres().await.database().await;
    let carelink_database::Location::Postgres(superuser) = crate::bench::postgres(database.superuser()) else { unreachable!() };
    let random = carelink_platform::random::Random::system();
    carelink_database::migrate::postgres(&superuser, "token", SCHEMA, &random).await.unwrap();
    let owners = "SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'carelink_token'";
    assert_eq!(database.sql(owners), "carelink_token_owner");
    assert_eq!(migrate_as_owner(&database, TWO).await.unwrap(), ["0002_expand_places"]);
    open(at(&database, "carelink_token"), TWO).await.unwrap();
}
