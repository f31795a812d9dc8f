//! Sources on real servers: the same rows as in the file, read in one moment, by whoever may only read.

use carelink_platform::clock::{Clock, Timestamp};
use carelink_servers::{Mariadb, Postgres, TestDatabase, postgres};
use importer::{AHEAD, BATCH, Batch, Location, Note, Report, Rows, Source, Wanted, run};

use crate::{
    copied::{rows, schema},
    fixtures::{Made, options},
    recorder::Recorder,
};

/// A database of a predecessor on a server, and how to write to it as the predecessor does.
enum Theirs {
    Postgres { database: TestDatabase, reader: String },
    Mariadb { server: Mariadb },
}

/// One on PostgreSQL, with a role of its own that may SELECT and nothing else.
async fn on_postgres() -> Theirs {
    let database = postgres().await.database().await;
    let reader = format!("reader_{}", database.name());
    database.sql(&format!(
        "CREATE ROLE {reader} LOGIN; GRANT CONNECT ON DATABASE {} TO {reader}; GRANT USAGE ON SCHEMA public TO {reader};
         ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {reader}",
        database.name()
    ));
    Theirs::Postgres { database, reader }
}

/// One on MariaDB, the same; none where it is not installed.
async fn on_mariadb() -> Option<Theirs> {
    let server = Mariadb::start().await?;
    server.sql("", "CREATE DATABASE clinic CHARACTER SET utf8mb4");
    server.sql("", "CREATE USER reader IDENTIFIED BY 'may read'; GRANT SELECT ON clinic.* TO reader");
    Some(Theirs::Mariadb { server })
}

impl Theirs {
    async fn on_both() -> impl Iterator<Item = Self> {
        [Some(on_postgres().await), on_mariadb().await].into_iter().flatten()
    }

    fn engine(&self) -> &'static str {
        match self {
            Self::Postgres { .. } => "postgres",
            Self::Mariadb { .. } => "mariadb",
        }
    }

    fn execute(&self, sql: &str) -> String {
        match self {
            Self::Postgres { database, .. } => database.sql(sql),
            Self::Mariadb { server } => server.sql("clinic", sql),
        }
    }

    /// The tables and rows of a file.
    fn fill(&self, name: &str, made: &Made) {
        self.execute(&schema(name, self.engine()));
        for statements in rows(made, self.engine() == "mariadb") {
            self.execute(&statements);
        }
    }

    fn url(&self) -> String {
        match self {
            Self::Postgres { database, reader } => database.url(reader),
            Self::Mariadb { server } => format!("mysql://reader:may%20read@127.0.0.1:{}/clinic", server.port()),
        }
    }

    async fn source(&self) -> Source {
        source(&self.url()).await
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        // A role is the cluster's, not the database's.
        if let Self::Postgres { database, reader } = self {
            database.sql(&format!("DROP OWNED BY {reader}; DROP ROLE {reader}"));
        }
    }
}

async fn source(url: &str) -> Source {
    Source::open(&Location::parse(url).unwrap(), &Wanted::default()).await.unwrap()
}

async fn sentence(url: &str) -> String {
    Source::open(&Location::parse(url).unwrap(), &Wanted::default()).await.unwrap_err().to_string()
}

fn clock() -> Clock {
    Clock::manual(Timestamp::parse_rfc3339("2026-11-24T00:00:00Z").unwrap()).0
}

async fn import(recorder: &Recorder, source: Source, name: &str) -> Report {
    run(source, options(name), recorder.services(), &clock(), |_| {}).await.unwrap()
}

#[tokio::test]
async fn l1_a_server_gives_what_the_file_gives() {
    for name in ["auth-user", "account-user"] {
        let (made, of_file) = (Made::copy(name), Recorder::default());
        let expected = serde_json::to_value(import(&of_file, made.source().await, name).await).unwrap();
        for theirs in Theirs::on_both().await {
            theirs.fill(name, &made);
            let of_server = Recorder::default();
            let report = import(&of_server, theirs.source().await, name).await;
            assert_eq!(serde_json::to_value(report).unwrap(), expected, "{name} {}", theirs.engine());
            let (of_server, of_file) = (of_server.record(), of_file.record());
            assert_eq!(of_server.users, of_file.users);
            assert_eq!(of_server.tokens, of_file.tokens);
            assert_eq!(of_server.calls, of_file.calls);
        }
    }
}

#[tokio::test]
async fn l1_a_server_is_read_in_one_moment_by_whoever_may_only_read() {
    for theirs in Theirs::on_both().await {
        theirs.fill("auth-user", &Made::copy("auth-user"));
        let source = theirs.source().await;
        // Whoever writes waits for nobody.
        theirs.execute(
            "DELETE FROM token_blacklist_blacklistedtoken; DELETE FROM token_blacklist_outstandingtoken; DELETE FROM auth_user_groups;
             DELETE FROM auth_user WHERE id > 100; UPDATE auth_user SET username = concat('late', id);",
        );
        let recorder = Recorder::default();
        let report = import(&recorder, source, "auth-user").await;
        assert_eq!((report.users.values().map(importer::UserTally::total).sum::<u64>(), report.tokens.total()), (240, 60));
        assert_eq!(recorder.record().users[&1].username, "haruto0");
        assert!(recorder.record().users.values().any(|user| user.roles.len() == 2));
        assert!(report.notes.is_empty(), "{:?}", report.notes);
    }
}

#[tokio::test]
async fn l1_pages_of_a_server_go_through_a_bounded_channel() {
    for theirs in Theirs::on_both().await {
        theirs.execute(&schema("auth-user", theirs.engine()));
        let numbers = match theirs.engine() {
            "postgres" => "SELECT i FROM generate_series(1, 3000) AS s (i)",
            _ => "SELECT seq AS i FROM seq_1_to_3000",
        };
        theirs.execute(&format!(
            "INSERT INTO auth_group (id, name) VALUES (1, 'nurse'), (2, 'Ärztin');
             INSERT INTO auth_user (id, username, password, is_superuser, first_name, last_name, email, is_staff, is_active, date_joined)
             SELECT CASE WHEN i = 1 THEN -5 ELSE i * 7 END, concat('user', i), '!', i > 9999, '', '', '', i > 9999, i > 0, '2025-01-01 00:00:00'
             FROM ({numbers}) n;
             INSERT INTO auth_user_groups (user_id, group_id) SELECT id, 1 FROM auth_user;
             INSERT INTO auth_user_groups (user_id, group_id) SELECT id, 2 FROM auth_user;
             INSERT INTO token_blacklist_outstandingtoken (jti, token, user_id, created_at, expires_at)
             SELECT concat('jti', id), '', id, '2025-01-01 00:00:00', '2040-01-01 00:00:00' FROM auth_user;"
        ));
        let mut batches = theirs.source().await.stream(Rows::UsersAndTokens).unwrap();
        assert_eq!(batches.capacity(), AHEAD);
        let (mut last_id, mut users, mut tokens, mut negative) = (0, 0, 0, 0);
        while let Some(batch) = batches.next().await.unwrap() {
            match batch {
                Batch::Users { read, refused } => {
                    assert!(read.len() + refused.len() <= BATCH && tokens == 0);
                    negative += refused.len();
                    users += read.len();
                    for user in read {
                        assert!(user.legacy_id > last_id);
                        last_id = user.legacy_id;
                        assert_eq!(user.roles, ["nurse", "Ärztin"]);
                    }
                }
                Batch::Tokens { read, refused } => {
                    assert!(read.len() <= BATCH && refused.is_empty());
                    tokens += read.len();
                }
            }
        }
        assert_eq!((users, negative, tokens), (2_999, 1, 3_000));
    }
}

#[tokio::test]
async fn a_server_whose_rows_nobody_takes_is_left() {
    let theirs = on_postgres().await;
    theirs.fill("auth-user", &Made::copy("auth-user"));
    drop(theirs.source().await.stream(Rows::UsersAndTokens).unwrap());
    let Theirs::Postgres { database, reader } = &theirs else { return };
    let left = || database.sql(&format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{reader}'")) == "0";
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
    while !left() {
        assert!(tokio::time::Instant::now() < end);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_malformed_row_of_a_server_is_refused_with_a_reason() {
    let theirs = on_postgres().await;
    theirs.execute(
        "CREATE TABLE people (id bigint PRIMARY KEY, password text, last_login timestamp, login text UNIQUE, is_active text);
         INSERT INTO people VALUES (1, '!', NULL, 'fine', 'true'), (2, '!', NULL, 'b', 'yes'), (3, '!', 'infinity', 'c', '1'),
            (4, '!', '2025-06-14 06:00:00.5', repeat('x', 70000), '1'), (5, '!', NULL, NULL, '1'), (3000000000, '!', NULL, 'd', '1');",
    );
    let recorder = Recorder::default();
    let report = import(&recorder, theirs.source().await, "s").await;
    let reasons: Vec<_> = report.users["unusable"].refused.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(reasons, [("date_malformed", 1), ("flag_malformed", 1), ("id_invalid", 1), ("too_long", 1), ("username_missing", 1)]);
    assert!(recorder.record().users[&1].active);
}

#[tokio::test]
async fn l3_an_old_simplejwt_on_a_server_is_noted() {
    for theirs in Theirs::on_both().await {
        theirs.fill("auth-user", &Made::copy("auth-user"));
        let noted = async || import(&Recorder::default(), theirs.source().await, "auth-user").await.notes;
        assert_eq!(noted().await, []);
        theirs.execute("DELETE FROM django_migrations WHERE app = 'token_blacklist' AND name LIKE '0013%'");
        let blacklisted = theirs.execute("SELECT count(*) FROM token_blacklist_blacklistedtoken").parse().unwrap();
        assert_eq!(noted().await, [Note::UnrecordedRotations { blacklisted }]);
        theirs.execute(
            "INSERT INTO token_blacklist_outstandingtoken (id, jti, token, user_id, created_at, expires_at)
             SELECT 1000, 'successor', '', o.user_id, b.blacklisted_at, o.expires_at FROM token_blacklist_blacklistedtoken b
             JOIN token_blacklist_outstandingtoken o ON o.id = b.token_id ORDER BY b.id LIMIT 1",
        );
        assert_eq!(noted().await, []);
    }
}

#[tokio::test]
async fn l1_tables_without_transactions_are_noted() {
    let Some(theirs) = on_mariadb().await else { return };
    theirs.execute(
        "CREATE TABLE auth_user (id int PRIMARY KEY, username varchar(150), password varchar(128), last_login datetime, is_active bit(1))
         ENGINE = MyISAM; INSERT INTO auth_user VALUES (1, 'amina', '!', NULL, b'1'), (2, 'bjorn', '!', NULL, b'0')",
    );
    let recorder = Recorder::default();
    let report = import(&recorder, theirs.source().await, "s").await;
    assert_eq!((report.notes, report.inactive_users), (vec![Note::NoSnapshot, Note::NoTokenTables], 1));
}

#[tokio::test]
async fn a_server_that_cannot_be_read_gets_a_sentence() {
    let theirs = on_postgres().await;
    let Theirs::Postgres { database, reader } = &theirs else { return };
    let (host, port) = database.cluster().address();
    let at = format!("PostgreSQL at {host}:{port}");
    let empty = sentence(&theirs.url()).await;
    assert!(empty.starts_with(&format!("the database {:?} of {at} has no tables that this user can see", database.name())), "{empty}");
    database.sql(&format!("ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE SELECT ON TABLES FROM {reader}"));
    theirs.fill("auth-user", &Made::copy("auth-user"));
    let said = sentence(&theirs.url()).await;
    assert!(said.starts_with(&format!("{reader:?} may not read at {at}: permission denied for table auth_user; GRANT SELECT")), "{said}");
    let url = |user: &str, database: &str| format!("postgres://{user}:s3cret@{host}:{port}/{database}");
    assert_eq!(sentence(&url(reader, "nowhere")).await, format!("{at} has no database \"nowhere\""));
    let said = sentence(&url("nobody", database.name())).await;
    assert!(said.starts_with(&format!("{at} does not let \"nobody\" in: ")), "{said}");
    let said = sentence(&format!("{}?sslmode=require", theirs.url())).await;
    assert!(said.starts_with(&format!("the connection to {at} cannot be encrypted as its address asks (")), "{said}");
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let said = sentence(&format!("postgres://django:s3cret@127.0.0.1:{free}/clinic")).await;
    assert!(said.starts_with(&format!("PostgreSQL at 127.0.0.1:{free} cannot be reached (")) && !said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn a_mariadb_that_cannot_be_read_gets_a_sentence() {
    let Some(theirs) = on_mariadb().await else { return };
    let Theirs::Mariadb { server } = &theirs else { return };
    let (at, port) = (format!("MariaDB at 127.0.0.1:{}", server.port()), server.port());
    assert!(sentence(&theirs.url()).await.contains("has no tables that this user can see"));
    theirs.fill("auth-user", &Made::copy("auth-user"));
    let url = |user: &str, database: &str| format!("mysql://{user}@127.0.0.1:{port}/{database}");
    let said = sentence(&url("reader:wrong", "clinic")).await;
    assert!(said.starts_with(&format!("{at} does not let \"reader\" in: Access denied")), "{said}");
    assert_eq!(sentence(&url("root", "nowhere")).await, format!("{at} has no database \"nowhere\""));
    let said = sentence(&url("reader:may%20read", "mysql")).await;
    assert!(said.starts_with(&format!("\"reader\" may not read at {at}: Access denied")), "{said}");
    server.sql("", "CREATE USER half IDENTIFIED BY 'half'; GRANT SELECT (id, username) ON clinic.auth_user TO half");
    let said = sentence(&url("half:half", "clinic")).await;
    assert!(said.contains("auth_user has no column password"), "{said}");
    let said = sentence(&format!("{}?ssl-mode=REQUIRED", theirs.url())).await;
    assert!(said.starts_with(&format!("the connection to {at} cannot be encrypted as its address asks (")), "{said}");
    // The right server, asked as another kind.
    let said = sentence(&format!("postgres://reader@127.0.0.1:{port}/clinic")).await;
    assert!(said.contains("does not answer as such a server does") || said.contains("cannot be reached"), "{said}");
}

#[tokio::test]
async fn a_server_s_certificate_is_checked_where_the_address_asks() {
    let cluster = Postgres::start_own().await;
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    for (file, pem) in [("server.crt", made.cert.pem()), ("server.key", made.signing_key.serialize_pem())] {
        let lines = format!("SELECT unnest(string_to_array($pem${}$pem$, E'\\n'))", pem.trim_end());
        cluster.sql("postgres", &format!("COPY ({lines}) TO PROGRAM 'umask 077; cat > {file}'"));
    }
    cluster.sql("postgres", "ALTER SYSTEM SET ssl = on");
    cluster.stop().await;
    cluster.start().await;
    cluster.sql("postgres", "CREATE TABLE auth_user (id int PRIMARY KEY, username text, password text, last_login timestamptz)");
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root.crt");
    std::fs::write(&root, made.cert.pem()).unwrap();
    let url = cluster.superuser("postgres");
    source(&format!("{url}?sslmode=verify-full&sslrootcert={}", root.display())).await;
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(&root, other.cert.pem()).unwrap();
    let said = sentence(&format!("{url}?sslmode=verify-full&sslrootcert={}", root.display())).await;
    assert!(said.contains("cannot be encrypted as its address asks"), "{said}");
}
