//! `carelink key`: the keys of a deployment. `init` makes those that live in files; those that sign tokens are token-service's.

mod init;
mod rewrap;

use std::path::PathBuf;

use carelink_proto::token::{KeyState, KeyUse, ListKeysRequest, RotateKeysRequest, SigningKey, WithdrawKeyRequest};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::{
    cli::Context,
    output::{Console, Table, time, time_cell},
};

/// Of `carelink key --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink key init --dir keys
  carelink key list
  carelink key rotate --reason 'a colleague has left'";

/// What can be done with keys.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make the keys of a fleet: one master key per service, and the public halves that others need
    ///
    /// auth.key, token.key and audit.key are for the service of that name alone (keys.master_key_file). assertion.pub is for
    /// token-service (keys.assertion_keys_file), sealing.pub for all but audit-service (keys.sealing_key_file). No backup
    /// contains the master keys: keep a copy of each where the database's backups are not. Works offline; what is there
    /// already stays.
    #[command(after_help = "Examples:
  carelink key init --dir keys
  carelink key init --dir keys --json")]
    Init(Init),
    /// List the keys that sign tokens
    #[command(after_help = "Examples:
  carelink key list
  carelink key list --json")]
    List,
    /// Let the next keys sign; by itself this happens in time
    ///
    /// The next key signs at once where every verifier can know it by now, else as soon as that is so. Tokens that were signed
    /// before stay good until they end; nobody has to sign in again.
    #[command(after_help = "Examples:
  carelink key rotate --reason 'a colleague has left'
  carelink key rotate --only access --reason 'policy'")]
    Rotate(Rotate),
    /// Withdraw a key that somebody else may know: nothing it signed is believed from then on, anywhere
    ///
    /// The next key signs at once. Sessions whose refresh token it had signed end; whoever holds no more than an access token of it
    /// refreshes.
    #[command(after_help = "Examples:
  carelink key list
  carelink key withdraw HxmHigiN0DMVDjkrvN_BzNTUWRhNvFrRDCfNpauo2Fg --reason 'a disk went astray'")]
    Withdraw(Withdraw),
    /// Put what a fleet's token-service keeps sealed under another master key
    ///
    /// Its signing keys and predecessors' keys, all of them or none. Works offline: stop every token-service first, and give each the
    /// new key before it starts. Nobody has to sign in again.
    #[command(after_help = "Examples:
  carelink key rewrap --from keys/token.key --to keys/token-2027.key --config owner.toml")]
    Rewrap(rewrap::Rewrap),
}

/// `carelink key init`.
#[derive(Args)]
pub(crate) struct Init {
    /// The folder to put them in; made where there is none
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// `carelink key rotate`.
#[derive(Args)]
pub(crate) struct Rotate {
    /// One kind alone
    #[arg(long, value_name = "KIND")]
    only: Option<Kind>,
    /// Why; goes into the trail
    #[arg(long)]
    reason: Option<String>,
}

/// `carelink key withdraw`.
#[derive(Args)]
pub(crate) struct Withdraw {
    /// The key, as `carelink key list` shows it
    #[arg(value_name = "KEY")]
    kid: String,
    /// Why; goes into the trail
    #[arg(long)]
    reason: Option<String>,
}

/// What a key signs.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Access and service tokens
    Access,
    /// Refresh tokens
    Refresh,
}

/// Does it.
pub(crate) async fn run(command: Command, context: &mut Context) -> anyhow::Result<()> {
    match command {
        Command::Init(args) => init::run(&args.dir, context),
        Command::List => {
            let keys = context.connect().await?.token.list_keys(ListKeysRequest {}).await?.into_inner().keys;
            context.console.value(&serde_json::json!({ "keys": keys.iter().map(Key::from).collect::<Vec<_>>() }))?;
            tell(&keys, &mut context.console)
        }
        Command::Rotate(args) => rotate(args, context).await,
        Command::Withdraw(args) => withdraw(args, context).await,
        Command::Rewrap(args) => rewrap::run(args, context).await,
    }
}

async fn withdraw(args: Withdraw, context: &mut Context) -> anyhow::Result<()> {
    let reason = context.console.reason(args.reason, "nothing that the key signed is believed any more")?;
    let request = WithdrawKeyRequest { kid: args.kid.clone(), reason };
    let answer = context.connect().await?.token.withdraw_key(request).await?.into_inner();
    let keys: Vec<Key> = answer.keys.iter().map(Key::from).collect();
    context.console.value(&serde_json::json!({ "withdrawn": args.kid, "sessions_ended": answer.ended, "keys": keys }))?;
    context.console.line(match answer.ended {
        0 => format!("withdrew {}; no session had to end", args.kid),
        1 => format!("withdrew {}; 1 session ended", args.kid),
        many => format!("withdrew {}; {many} sessions ended", args.kid),
    })?;
    tell(&answer.keys, &mut context.console)
}

async fn rotate(args: Rotate, context: &mut Context) -> anyhow::Result<()> {
    let reason = context.console.reason(args.reason, "the trail says why keys were rotated")?;
    let of = match args.only {
        None => KeyUse::Unspecified,
        Some(Kind::Access) => KeyUse::Access,
        Some(Kind::Refresh) => KeyUse::Refresh,
    };
    let request = RotateKeysRequest { r#use: of.into(), reason };
    let answer = context.connect().await?.token.rotate_keys(request).await?.into_inner();
    let keys: Vec<Key> = answer.keys.iter().map(Key::from).collect();
    context.console.value(&serde_json::json!({ "done": answer.done, "keys": keys }))?;
    tell(&answer.keys, &mut context.console)?;
    if !answer.done {
        context
            .console
            .note("A next key is still too young for every verifier to know it; it signs by itself as soon as it is old enough.");
    }
    Ok(())
}

fn tell(keys: &[SigningKey], console: &mut Console) -> anyhow::Result<()> {
    let mut table = Table::new(["SIGNS", "STATE", "MADE", "SINCE", "RETIRED", "KEY"]);
    for key in keys {
        let (made, since, retired) = (time_cell(key.created_us), time_cell(key.signs_us), time_cell(key.retired_us));
        table.row([of(key).to_owned(), state(key).to_owned(), made, since, retired, key.kid.clone()]);
    }
    console.table(table)
}

fn of(key: &SigningKey) -> &'static str {
    match key.r#use() {
        KeyUse::Access => "access",
        KeyUse::Refresh => "refresh",
        KeyUse::Unspecified => "unknown",
    }
}

fn state(key: &SigningKey) -> &'static str {
    match key.state() {
        KeyState::Next => "next",
        KeyState::Signing => "signing",
        KeyState::Retired => "retired",
        KeyState::Unspecified => "unknown",
    }
}

/// A key as JSON.
#[derive(Serialize)]
struct Key {
    kid: String,
    signs: &'static str,
    state: &'static str,
    created_at: Option<String>,
    signs_at: Option<String>,
    retired_at: Option<String>,
}

impl From<&SigningKey> for Key {
    fn from(key: &SigningKey) -> Self {
        Self {
            kid: key.kid.clone(),
            signs: of(key),
            state: state(key),
            created_at: time(key.created_us),
            signs_at: time(key.signs_us),
            retired_at: time(key.retired_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use carelink_proto::token::{KeyState, KeyUse, SigningKey};

    use crate::{
        error::Exit,
        fake::{Fake, State},
        tests::run,
    };

    fn key(kid: &str, of: KeyUse, state: KeyState) -> SigningKey {
        SigningKey { kid: kid.into(), r#use: of.into(), state: state.into(), created_us: 1_700_000_000_000_000, ..SigningKey::default() }
    }

    #[tokio::test]
    async fn k1_keys_are_listed_with_what_they_do_and_a_rotation_says_why() {
        let keys = vec![key("a", KeyUse::Access, KeyState::Signing), key("b", KeyUse::Access, KeyState::Next)];
        let fake = Fake::start(State { keys, ..State::default() });
        let listed = run(fake.data(), &["key", "list"]).await;
        assert!(listed.out.contains("access  signing  2023-11-14T22:13:20Z"), "{}", listed.out);
        let json = run(fake.data(), &["key", "list", "--json"]).await.json();
        assert_eq!((&json["keys"][1]["state"], &json["keys"][1]["retired_at"]), (&"next".into(), &serde_json::Value::Null));
        assert_eq!(run(fake.data(), &["key", "rotate"]).await.sentence().0, Exit::Usage);
        let rotated = run(fake.data(), &["key", "rotate", "--only", "access", "--reason", "a backup went astray"]).await;
        assert!(rotated.err.contains("still too young"), "{}", rotated.err);
        let seen = fake.state.lock().unwrap().seen.last().unwrap().0.clone();
        assert!(seen.contains("use: Access") && seen.contains("a backup went astray"), "{seen}");
    }

    #[tokio::test]
    async fn a_key_is_withdrawn_with_a_reason_and_told_whose_sessions_ended() {
        let fake = Fake::start(State { keys: vec![key("b", KeyUse::Access, KeyState::Signing)], ..State::default() });
        assert_eq!(run(fake.data(), &["key", "withdraw", "a"]).await.sentence().0, Exit::Usage);
        let told = run(fake.data(), &["key", "withdraw", "a", "--reason", "a disk went astray"]).await;
        assert!(told.out.starts_with("withdrew a; 3 sessions ended\n"), "{}", told.out);
        let seen = fake.state.lock().unwrap().seen.last().unwrap().0.clone();
        assert!(seen.contains("kid: \"a\"") && seen.contains("a disk went astray"), "{seen}");
    }

    #[tokio::test]
    async fn k3_a_data_directorys_one_master_key_stays() {
        let dir = tempfile::tempdir().unwrap();
        let refused = run(dir.path(), &["key", "rewrap", "--from", "a", "--to", "b"]).await.result.unwrap_err();
        assert!(refused.exit == Exit::Failed && refused.message.contains("one master key for everything"), "{}", refused.message);
    }
}
