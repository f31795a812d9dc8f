//! `carelink sessions`: see and end sessions. Token-service decides, and writes it into the trail.

use carelink_proto::token::{self, ListSessionsRequest, RevokeSessionsRequest, revoke_sessions_request::Target};
use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;
use uuid::Uuid;

use crate::{
    cli::Context,
    output::{Table, time, time_cell, uuid},
    paging::Paging,
    who,
};

/// Of `carelink sessions --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink sessions list amina21
  carelink sessions revoke --user amina21 --reason 'lost her badge'";

/// What can be done with sessions.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List sessions, newest first
    #[command(after_help = "Examples:
  carelink sessions list
  carelink sessions list amina21 --ended
  carelink sessions list --all --json")]
    List(List),
    /// End one session, or all of a user; refused at once everywhere
    #[command(after_help = "Examples:
  carelink sessions revoke 0b54a1d2-7f0c-4f0e-9a57-0a6a0a2f3c11 --reason 'left it open'
  carelink sessions revoke --all-of amina21 --reason 'lost her badge'")]
    Revoke(Revoke),
}

/// `carelink sessions list`.
#[derive(Args)]
pub(crate) struct List {
    #[arg(value_name = "USER", help = who::HELP)]
    user: Option<String>,
    /// Also those that have ended
    #[arg(long)]
    ended: bool,
    #[command(flatten)]
    paging: Paging,
}

/// `carelink sessions revoke`.
#[derive(Args)]
#[command(group(ArgGroup::new("whose").args(["session", "user"]).required(true)))]
pub(crate) struct Revoke {
    /// The session, as `carelink sessions list` shows it
    #[arg(value_name = "SESSION")]
    session: Option<Uuid>,
    /// All of a user: name, UUID or user_id (`name:X` and `id:X` where it could be either)
    #[arg(long, value_name = "USER", visible_alias = "all-of")]
    user: Option<String>,
    /// Why; goes into the trail
    #[arg(long)]
    reason: Option<String>,
}

/// Does it.
pub(crate) async fn run(command: Command, context: &mut Context) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(args, context).await,
        Command::Revoke(args) => revoke(args, context).await,
    }
}

async fn list(args: List, context: &mut Context) -> anyhow::Result<()> {
    let mut clients = context.connect().await?;
    let subject = match &args.user {
        Some(user) => who::find(&mut clients, user).await?.id,
        None => Vec::new(),
    };
    let request = ListSessionsRequest { subject, include_ended: args.ended, ..Default::default() };
    let fetch = async |page_size, cursor| {
        let page = clients.token.clone().list_sessions(ListSessionsRequest { page_size, cursor, ..request.clone() }).await?.into_inner();
        Ok((page.sessions, page.next_cursor))
    };
    let pages = args.paging.read(fetch).await?;
    let sessions = pages.items.iter().map(Session::from).collect();
    context.console.value(&Many { sessions, next_cursor: pages.next_cursor.as_deref() })?;
    let mut table = Table::new(["SESSION", "USER_ID", "SIGNED IN", "REFRESHED", "GENERATION", "ENDS", "STATE"]);
    for session in &pages.items {
        let refreshed = if session.generation == 0 { String::new() } else { time_cell(session.rotated_us) };
        let state = match session.ended_us {
            0 => "live".to_owned(),
            ended => format!("{} {}", session.end_reason, time_cell(ended)),
        };
        let (signed_in, ends) = (time_cell(session.created_us), time_cell(session.ends_us));
        let generation = session.generation.to_string();
        table.row([uuid(&session.id), session.user_id.to_string(), signed_in, refreshed, generation, ends, state]);
    }
    context.console.table(table)?;
    pages.remark(&mut context.console);
    Ok(())
}

async fn revoke(args: Revoke, context: &mut Context) -> anyhow::Result<()> {
    let reason = context.console.reason(args.reason, "ending sessions takes them away")?;
    let mut clients = context.connect().await?;
    let (target, whose) = match (args.session, &args.user) {
        (Some(session), _) => (Target::Session(session.as_bytes().to_vec()), String::new()),
        (None, user) => {
            let user = who::find(&mut clients, user.as_deref().unwrap_or_default()).await?;
            (Target::Subject(user.id), format!(" of {}", user.username))
        }
    };
    let answer = clients.token.revoke_sessions(RevokeSessionsRequest { target: Some(target), reason }).await?.into_inner();
    let number = Some(answer.revocation).filter(|number| *number != 0);
    context.console.value(&Revoked { ended: answer.ended, revocation_number: number })?;
    let said = match answer.ended {
        0 => format!("ended no session{whose}: none was live"),
        1 => format!("ended 1 session{whose}"),
        count => format!("ended {count} sessions{whose}"),
    };
    match number {
        Some(number) => context.console.line(format!("{said} (revocation {number})")),
        None => context.console.line(said),
    }
}

#[derive(Serialize)]
struct Revoked {
    ended: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation_number: Option<u64>,
}

#[derive(Serialize)]
struct Many<'a> {
    sessions: Vec<Session>,
    next_cursor: Option<&'a str>,
}

/// A session as JSON.
#[derive(Serialize)]
struct Session {
    id: String,
    subject: String,
    user_id: i64,
    generation: u64,
    roles: Vec<String>,
    amr: Vec<String>,
    created_at: Option<String>,
    rotated_at: Option<String>,
    ends_at: Option<String>,
    ended_at: Option<String>,
    end_reason: Option<String>,
}

impl From<&token::Session> for Session {
    fn from(session: &token::Session) -> Self {
        Self {
            id: uuid(&session.id),
            subject: uuid(&session.subject),
            user_id: session.user_id,
            generation: session.generation,
            roles: session.roles.clone(),
            amr: session.amr.clone(),
            created_at: time(session.created_us),
            rotated_at: time(session.rotated_us),
            ends_at: time(session.ends_us),
            ended_at: time(session.ended_us),
            end_reason: Some(session.end_reason.clone()).filter(|reason| !reason.is_empty()),
        }
    }
}
