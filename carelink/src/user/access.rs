//! `carelink user unlock` and `invite`: the ways back in for whoever has lost theirs.

use carelink_proto::auth::{GuessingWay, InviteUserRequest, UnlockUserRequest};
use clap::Args;

use super::shown::User;
use crate::{
    cli::Context,
    output::{time, time_cell},
    who,
};

/// `carelink user unlock`.
#[derive(Args)]
pub(crate) struct Unlock {
    #[arg(value_name = "USER", help = who::HELP)]
    user: String,
    /// Why; goes into the trail
    #[arg(long)]
    reason: Option<String>,
}

/// Opens an account to guesses again.
pub(super) async fn unlock(args: Unlock, context: &mut Context) -> anyhow::Result<()> {
    let reason = context.console.reason(args.reason, "an account is opened to guesses again")?;
    let mut clients = context.connect().await?;
    let user = who::find(&mut clients, &args.user).await?;
    let answer = clients.auth.unlock_user(UnlockUserRequest { id: user.id.clone(), reason }).await?.into_inner();
    let opened: Vec<&str> = answer.opened().map(way).collect();
    context.console.value(&serde_json::json!({ "user": User::from(&user), "opened": opened }))?;
    context.console.line(match opened.as_slice() {
        [] => format!("nothing was closed to {}", user.username),
        opened => format!("opened to {} again: {}", user.username, opened.join(", ")),
    })
}

/// From where somebody guesses (C5).
fn way(way: GuessingWay) -> &'static str {
    match way {
        GuessingWay::Unspecified => "unknown",
        GuessingWay::Strangers => "strangers",
        GuessingWay::KnownNetworks => "known networks",
        GuessingWay::KnownDevices => "known devices",
    }
}

/// Mails a link.
pub(super) async fn invite(user: String, context: &mut Context) -> anyhow::Result<()> {
    let mut clients = context.connect().await?;
    let user = who::find(&mut clients, &user).await?;
    let answer = clients.auth.invite_user(InviteUserRequest { id: user.id.clone() }).await?.into_inner();
    context.console.value(&serde_json::json!({ "user": User::from(&user), "expires_at": time(answer.expires_us) }))?;
    context.console.line(format!("mailed {} a link, good once until {}", user.username, time_cell(answer.expires_us)))
}

#[cfg(test)]
mod tests {
    use crate::{
        error::Exit,
        fake::{Fake, State, user},
        tests::run,
    };

    fn ward() -> Fake {
        Fake::start(State { users: vec![user(1, "amina21", &["nurse"])], ..State::default() })
    }

    #[tokio::test]
    async fn c5_an_account_is_unlocked_with_a_reason_and_told_what_was_closed() {
        let fake = ward();
        assert_eq!(run(fake.data(), &["user", "unlock", "amina21"]).await.sentence().0, Exit::Usage);
        let told = run(fake.data(), &["user", "unlock", "amina21", "--reason", "she called"]).await;
        assert_eq!(told.out, "opened to amina21 again: strangers\n");
        assert!(fake.state.lock().unwrap().seen.last().unwrap().0.contains("she called"));
    }

    #[tokio::test]
    async fn who_is_invited_is_told_until_when_the_link_is_good() {
        let fake = ward();
        let told = run(fake.data(), &["user", "invite", "amina21"]).await;
        assert_eq!(told.out, "mailed amina21 a link, good once until 2023-11-15T22:13:20Z\n");
        let json = run(fake.data(), &["user", "invite", "amina21", "--json"]).await.json();
        assert_eq!(json["expires_at"], "2023-11-15T22:13:20Z");
    }

    #[tokio::test]
    async fn a_review_of_access_is_ordered_by_the_last_sign_in_and_is_csv() {
        let fake = ward();
        let listed = run(fake.data(), &["user", "list", "--last-sign-in", "--before", "2026-11-24", "--csv"]).await;
        assert!(listed.out.starts_with("username,user_id,") && listed.out.contains("\r\namina21,1,"), "{}", listed.out);
        let seen = fake.state.lock().unwrap().seen.last().unwrap().0.clone();
        assert!(seen.contains("order: LastSignIn") && seen.contains("last_sign_in_before_us: 1795478400000000"), "{seen}");
        assert_eq!(run(fake.data(), &["user", "list", "--csv", "--json"]).await.sentence().0, Exit::Usage);
    }
}
