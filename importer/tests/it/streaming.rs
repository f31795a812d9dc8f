//! A source larger than memory should be: read once, in one snapshot, a bounded number of rows ahead.

use carelink_platform::clock::Clock;
use importer::{AHEAD, BATCH, Batch, Progress, Rows, Step, run};
use rusqlite::Connection;

use crate::{
    fixtures::{Made, SCHEMA, options},
    recorder::Recorder,
};

const MANY: usize = 100_000;

fn many(rows: usize) -> Made {
    let made = Made::with(SCHEMA);
    made.execute(&format!(
        "BEGIN;
         INSERT INTO auth_group (id, name) VALUES (1, 'nurse');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO auth_user (id, username, password) SELECT i, 'user' || i, 'pbkdf2_sha256$1000000$salt$' || i FROM n;
         INSERT INTO auth_user_groups (user_id, group_id) SELECT id, 1 FROM auth_user;
         INSERT INTO token_blacklist_outstandingtoken (jti, token, user_id, created_at, expires_at)
         SELECT 'jti' || id, '', id, '2025-01-01 00:00:00', '2040-01-01 00:00:00' FROM auth_user WHERE id % 10 = 0;
         COMMIT;"
    ));
    made
}

#[tokio::test]
async fn l1_a_hundred_thousand_users_stream_through_a_bounded_channel() {
    let mut batches = many(MANY).source().await.stream(Rows::UsersAndTokens).unwrap();
    assert_eq!(batches.capacity(), AHEAD);
    let (mut next_id, mut users, mut tokens) = (1, 0, 0);
    while let Some(batch) = batches.next().await.unwrap() {
        match batch {
            Batch::Users { read, refused } => {
                assert!(read.len() <= BATCH && refused.is_empty() && tokens == 0);
                users += read.len();
                for user in read {
                    assert_eq!((user.legacy_id, user.roles), (next_id, vec!["nurse".to_owned()]));
                    next_id += 1;
                }
            }
            Batch::Tokens { read, refused } => {
                assert!(read.len() <= BATCH && refused.is_empty());
                tokens += read.len();
            }
        }
    }
    assert_eq!((users, tokens), (MANY, MANY / 10));
}

#[tokio::test]
async fn l1_a_hundred_thousand_users_arrive_in_batches_and_are_counted() {
    let recorder = Recorder::default();
    let mut seen = Vec::new();
    let report =
        run(many(MANY).source().await, options("s"), recorder.services(), &Clock::system(), |progress| seen.push(progress)).await.unwrap();
    let record = recorder.record();
    assert_eq!((record.users.len(), record.batches.len(), record.batches.iter().max()), (MANY, MANY / BATCH, Some(&BATCH)));
    assert_eq!((report.users["pbkdf2_sha256"].imported, report.tokens.live), (100_000, 10_000));
    assert!(record.tokens.values().all(|token| !token.subject.is_empty()));
    assert!(seen.contains(&Progress { step: Step::Users, done: 100_000, total: 100_000 }));
    assert_eq!(seen.last(), Some(&Progress { step: Step::Tokens, done: 10_000, total: 10_000 }));
}

#[tokio::test]
async fn l1_large_rows_make_small_batches() {
    let made = Made::with(SCHEMA);
    made.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
         INSERT INTO auth_user (id, username, password, first_name) SELECT i, 'user' || i, '!', hex(zeroblob(30000)) FROM n;",
    );
    let mut batches = made.source().await.stream(Rows::Users).unwrap();
    let mut sizes = Vec::new();
    while let Some(Batch::Users { read, .. }) = batches.next().await.unwrap() {
        sizes.push(read.len());
    }
    assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().max()), (200, Some(&18)));
}

#[tokio::test]
async fn l1_users_and_tokens_are_of_one_moment() {
    let made = many(3_000);
    made.execute("PRAGMA journal_mode = WAL");
    let source = made.source().await;
    let writer = Connection::open(&made.path).unwrap();
    writer
        .execute_batch(
            "INSERT INTO auth_user (id, username, password) VALUES (5000, 'late', '!');
             DELETE FROM token_blacklist_outstandingtoken;
             UPDATE auth_user SET is_active = 0;",
        )
        .unwrap();
    let recorder = Recorder::default();
    let report = run(source, options("s"), recorder.services(), &Clock::system(), |_| {}).await.unwrap();
    assert_eq!((report.users["pbkdf2_sha256"].imported, report.inactive_users, report.tokens.live), (3_000, 0, 300));
}

#[tokio::test]
async fn a_reader_whose_rows_nobody_takes_stops() {
    let made = many(5_000);
    let mut batches = made.source().await.stream(Rows::Users).unwrap();
    batches.next().await.unwrap();
    drop(batches);
    // The read transaction is over as soon as the thread is: then, and only then, a writer gets through.
    let writer = Connection::open(&made.path).unwrap();
    writer.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    writer.execute_batch("DELETE FROM token_blacklist_outstandingtoken").unwrap();
}
