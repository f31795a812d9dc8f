//! `carelink import`: takes over a predecessor's users and sessions. The work is the importer's; this asks and tells.

use std::path::{Path, PathBuf};

use carelink_platform::{
    clock::Clock,
    secrets::{ExposeSecret, SecretString, read_secret_file},
};
use importer::{ImportError, Location, Options, Progress, Services, Source, SourceError, Step, Wanted};
use indicatif::ProgressBar;

use crate::{
    cli::Context,
    error::{failed, usage},
    output::{Console, progress_bar},
};

mod summary;

/// Where the source is, in the environment: an address with a password in it has no place on a command line.
const DATABASE_URL: &str = "DJANGO_DATABASE_URL";

/// What can be imported.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// From Django with SimpleJWT
    ///
    /// Takes over users, with whatever hash their passwords have, and the refresh tokens that are out: nobody has to sign in
    /// again or choose a new password. CareLink must be running, on the data directory or as the fleet that --config names.
    ///
    /// The users' table is found by itself where it is auth_user, or where SimpleJWT's tokens refer to it. Groups and a
    /// column `role` become roles, is_staff becomes `staff`, is_superuser `superuser`; the source's own `admin` and
    /// `auditor` are dropped and counted.
    ///
    /// Run it as often as you like: what is here already is unchanged, what changed in the source since is brought up to
    /// date, what was changed here is kept. Interrupted, it goes on at the next run. The source is opened read-only and read
    /// in one transaction, which sees what was there when it began. A predecessor on PostgreSQL or MariaDB goes on as if
    /// nobody read; one that writes to the same SQLite file waits so long, unless that is in WAL mode.
    ///
    /// A server is named by its URL, as in Django's DATABASE_URL: in a file (--url-file), in the environment
    /// (DJANGO_DATABASE_URL), or, without a password, as the argument. `?sslmode=verify-full&sslrootcert=FILE` (PostgreSQL)
    /// and `?ssl-mode=VERIFY_IDENTITY&ssl-ca=FILE` (MariaDB) insist on TLS; `?host=/run/postgresql` and
    /// `?socket=/run/mysqld/mysqld.sock` go by a socket. A user that may SELECT is enough.
    #[command(after_help = "Examples:
  carelink import django db.sqlite3 --secret-key-file secret_key --dry-run
  carelink import django db.sqlite3 --secret-key-file secret_key
  carelink import django east.sqlite3 --source east --qualify
  carelink import django db.sqlite3 --users-table account_user --username-column email
  carelink import django --url-file django.url --secret-key-file secret_key
  carelink import django 'postgres://reader@db.example/clinic?sslmode=verify-full'
  carelink import django db.sqlite3 --secret-key-file secret_key --json | jq .users

Rows that are refused are listed with their reasons and do not make the import fail.")]
    Django(Box<Django>),
}

/// `carelink import django`
#[derive(clap::Args)]
pub(crate) struct Django {
    /// The predecessor's database: its SQLite file, postgres:// or mysql:// [default: DJANGO_DATABASE_URL of the environment]
    database: Option<String>,
    /// The file that holds the URL of its database, password and all
    #[arg(long, value_name = "FILE", conflicts_with = "database")]
    url_file: Option<PathBuf>,
    /// The file that holds its SECRET_KEY (one newline at its end is not part of it); without it tokens are left out
    #[arg(long, value_name = "FILE")]
    secret_key_file: Option<PathBuf>,
    /// How it signs refresh tokens
    #[arg(long, value_name = "ALGORITHM", default_value = "HS256", value_parser = ["HS256", "HS384", "HS512"])]
    algorithm: String,
    /// What to call this source; ids of different sources do not get mixed up [default: the database's name]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Say what would become of every row, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// The table of users
    #[arg(long, value_name = "TABLE", help_heading = "Where it is")]
    users_table: Option<String>,
    /// What people sign in with
    #[arg(long, value_name = "COLUMN", help_heading = "Where it is")]
    username_column: Option<String>,
    /// Their e-mail addresses
    #[arg(long, value_name = "COLUMN", help_heading = "Where it is")]
    email_column: Option<String>,
    /// A role per user, beside groups
    #[arg(long, value_name = "COLUMN", help_heading = "Where it is")]
    role_column: Option<String>,
    /// Make the source's superusers administrators here, and list them
    #[arg(long, help_heading = "What becomes of it")]
    superusers_as_admins: bool,
    /// Import a name that somebody else here has as NAME@SOURCE, instead of refusing it
    #[arg(long, help_heading = "What becomes of it")]
    qualify: bool,
}

/// Runs a command.
pub(crate) async fn run(command: Command, context: &mut Context) -> anyhow::Result<()> {
    let Command::Django(django) = command;
    let secret_key = django.secret_key_file.as_deref().map(secret_key).transpose()?;
    let wanted = Wanted {
        users_table: django.users_table,
        username_column: django.username_column,
        email_column: django.email_column,
        role_column: django.role_column,
    };
    let location = location(django.database, django.url_file.as_deref(), context)?;
    let source = Source::open(&location, &wanted).await.map_err(|error| refused(&error))?;
    let options = Options {
        source: django.source.unwrap_or_else(|| location.name()),
        secret_key,
        algorithm: django.algorithm,
        dry_run: django.dry_run,
        superusers_as_admins: django.superusers_as_admins,
        qualify: django.qualify,
    };
    let clients = context.connect().await?;
    let services = Services { auth: clients.auth, token: clients.token };
    let bar = progress_bar(&context.console);
    show(&bar, Progress { step: Step::Users, done: 0, total: source.totals().users });
    let done = importer::run(source, options, services, &Clock::system(), |progress| show(&bar, progress)).await;
    bar.finish_and_clear();
    match done {
        Ok(report) => summary::tell(&report, &mut context.console),
        Err(error) => Err(explain(error, &mut context.console)),
    }
}

fn secret_key(file: &Path) -> anyhow::Result<SecretString> {
    let key = read_secret_file(file).map_err(|error| failed("secret_key", format!("the secret key cannot be read: {error}")))?;
    if key.expose_secret().is_empty() {
        return Err(failed("secret_key", format!("{} is empty; it should hold the predecessor's SECRET_KEY", file.display())));
    }
    Ok(key)
}

/// Where the source is: as typed, else in the file, else in the environment.
fn location(typed: Option<String>, file: Option<&Path>, context: &Context) -> anyhow::Result<Location> {
    let from_file = |file| read_secret_file(file).map_err(|error| failed("url_file", format!("the URL cannot be read: {error}")));
    let text = match (typed, file.map(from_file).transpose()?) {
        (Some(typed), _) => typed,
        (None, Some(text)) => text.expose_secret().to_owned(),
        (None, None) => match context.variable(DATABASE_URL) {
            Some(text) => text.to_owned(),
            None => return Err(usage(format!("name the predecessor's database: its SQLite file, --url-file, or {DATABASE_URL}"))),
        },
    };
    Location::parse(&text).map_err(|error| refused(&error))
}

fn refused(error: &SourceError) -> anyhow::Error {
    match error {
        SourceError::NoSuchTable { .. }
        | SourceError::NoSuchColumn { .. }
        | SourceError::Address { .. }
        | SourceError::NoDatabaseName { .. }
        | SourceError::UnknownKind { .. } => usage(error.to_string()),
        _ => failed("source_unreadable", error.to_string()),
    }
}

/// A service's refusal is told in its own words; what was done until then, beside it.
fn explain(error: ImportError, console: &mut Console) -> anyhow::Error {
    match error {
        ImportError::Source(error) => refused(&error),
        ImportError::SourceName(_) => usage(error.to_string()),
        ImportError::Call { step, done, status } => {
            console.note(format!("The import stopped after {done} {step}. Run the same command again: it goes on from there."));
            (*status).into()
        }
        _ => failed("failed", error.to_string()),
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    let step = match progress.step {
        Step::Users => "Users",
        Step::Tokens => "Tokens",
    };
    bar.set_length(progress.total);
    if bar.message() != step {
        bar.reset();
        bar.set_message(step);
    }
    bar.set_position(progress.done);
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{self, Cli};

    async fn refusal(words: &[&str]) -> crate::error::Report {
        let cli = Cli::try_parse_from(["carelink", "--data", "/nowhere", "import", "django"].iter().chain(words)).unwrap();
        let console = Console::new(true, std::io::sink(), std::io::sink());
        let mut context = Context::new(cli.global, console, carelink_platform::random::Random::seeded(1), None);
        crate::error::Report::of(&Box::pin(cli::run(cli.command, &mut context)).await.unwrap_err())
    }

    fn fixture(file: &str) -> String {
        format!("{}/../tests/fixtures/predecessor/{file}", env!("CARGO_MANIFEST_DIR"))
    }

    #[tokio::test]
    async fn what_is_wrong_with_the_source_is_said_before_anybody_is_asked() {
        let report = refusal(&["/nowhere/db.sqlite3"]).await;
        assert_eq!((report.code.as_str(), report.message.as_str()), ("source_unreadable", "there is no file /nowhere/db.sqlite3"));
        let report = refusal(&[&fixture("auth-user.users.csv")]).await;
        assert!(report.message.ends_with("is not a SQLite database (or it is an encrypted one)"), "{}", report.message);
        let report = refusal(&[&fixture("auth-user.sqlite3"), "--username-column", "login"]).await;
        assert_eq!((report.exit, report.code.as_str()), (crate::error::Exit::Usage, "usage"));
        assert!(
            report.message.starts_with("--username-column login: auth_user has no such column (it has id, password,"),
            "{}",
            report.message
        );
        let report = refusal(&[&fixture("auth-user.sqlite3"), "--secret-key-file", "/nowhere/key"]).await;
        assert!(report.message.starts_with("the secret key cannot be read: /nowhere/key: "), "{}", report.message);
    }

    #[tokio::test]
    async fn g3_a_good_source_and_nothing_running_says_how_to_start() {
        assert_eq!(refusal(&[&fixture("auth-user.sqlite3")]).await.code, "not_running");
    }

    #[tokio::test]
    async fn the_source_is_an_argument_a_file_or_in_the_environment() {
        let report = refusal(&[]).await;
        assert_eq!((report.exit, report.code.as_str()), (crate::error::Exit::Usage, "usage"));
        assert!(report.message.contains("DJANGO_DATABASE_URL"), "{}", report.message);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "oracle://django:s3cret@db.example/clinic\n").unwrap();
        let report = refusal(&["--url-file", file.path().to_str().unwrap()]).await;
        assert_eq!(report.message, "oracle:// cannot be imported from; a SQLite file, postgres:// and mysql:// can");
        let report = refusal(&["--url-file", "/nowhere/url"]).await;
        assert!(report.message.starts_with("the URL cannot be read: /nowhere/url: "), "{}", report.message);
        let cli = Cli::try_parse_from(["carelink", "import", "django"]).unwrap();
        let console = Console::new(true, std::io::sink(), std::io::sink());
        let context = Context::new(cli.global, console, carelink_platform::random::Random::seeded(1), None);
        let context = context.with_environment([(DATABASE_URL.into(), "mysql://django:s3cret@db.example/clinic".into())].into_iter());
        assert_eq!(location(None, None, &context).unwrap().name(), "clinic");
        assert_eq!(location(Some("db.sqlite3".into()), None, &context).unwrap().name(), "db");
    }
}
