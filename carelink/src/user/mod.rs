//! `carelink user`: see and change users. Decides nothing; auth-service does, and writes it into the trail.

mod access;
mod csv;
mod shown;

use std::io::stdin;

use carelink_platform::{
    clock::Clock,
    secrets::{ExposeSecret, SecretString},
};
use carelink_proto::auth::{
    self, ChangeRolesRequest, CreateUserRequest, ListUsersRequest, SetPasswordRequest, SetUserActiveRequest, UserOrder,
};
use clap::{ArgGroup, Args, Subcommand};

use self::shown::{Changed, Many, One, Revocation, User};
use crate::{
    cli::Context,
    error::usage,
    output::{Table, shell_word, time_cell, uuid},
    paging::Paging,
    password::PasswordSource,
    when::{When, when},
    who,
};

/// Of `carelink user --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink user add amina21 --role nurse
  carelink user list --prefix am
  carelink user disable amina21 --reason 'left the house'";

/// What can be done with users.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a user; asks for the password unless told where it is
    #[command(after_help = "Examples:
  carelink user add amina21 --full-name 'Amina Okafor' --role nurse,staff
  carelink user add amina21 --password-file new-password
  pwgen -s 20 1 | carelink user add amina21 --password-stdin
  carelink user add amina21 --no-password")]
    Add(Add),
    /// List users by name
    #[command(after_help = "Examples:
  carelink user list --prefix am
  carelink user list --role admin
  carelink user list --disabled --all --json
  carelink user list --last-sign-in --before 90days --all --csv > review.csv")]
    List(List),
    /// Show one user
    #[command(after_help = "Examples:
  carelink user show amina21
  carelink user show id:1000000000 --json")]
    Show(Show),
    /// Let nobody sign in as this user, and end their sessions everywhere
    #[command(after_help = "Examples:
  carelink user disable amina21 --reason 'left the house'")]
    Disable(Disable),
    /// Let this user sign in again
    #[command(after_help = "Examples:
  carelink user enable amina21 --reason 'back from leave'")]
    Enable(Enable),
    /// Set a user's password, and end their sessions everywhere
    #[command(after_help = "Examples:
  carelink user set-password carelink-admin
  carelink user set-password amina21 --reason 'lost it' --password-stdin < new-password")]
    SetPassword(SetPassword),
    /// Open an account to guesses again, where too many wrong passwords have closed a way to it
    #[command(after_help = "Examples:
  carelink user unlock amina21 --reason 'she called from the ward'")]
    Unlock(access::Unlock),
    /// Mail a user a link by which they choose a password; good once, for a day
    #[command(after_help = "Examples:
  carelink user add amina21 --email amina@ward.example --no-password
  carelink user invite amina21")]
    Invite(Show),
    /// Grant and take roles; a role taken is refused at once everywhere
    #[command(after_help = "Examples:
  carelink user roles amina21 --add ward-lead
  carelink user roles amina21 --add auditor --remove nurse,ward-lead --reason 'moved to quality'")]
    Roles(Roles),
}

/// `carelink user add`.
#[derive(Args)]
pub(crate) struct Add {
    /// The name to sign in with; compared letter by letter
    name: String,
    /// E-mail address
    #[arg(long)]
    email: Option<String>,
    /// As people know them
    #[arg(long)]
    full_name: Option<String>,
    /// A role; several with commas or by repeating it
    #[arg(long = "role", value_name = "ROLE", value_delimiter = ',')]
    roles: Vec<String>,
    #[command(flatten)]
    password: PasswordSource,
    /// Without one: nobody can sign in until it is set
    #[arg(long, conflicts_with_all = ["password_stdin", "password_file"])]
    no_password: bool,
}

/// `carelink user list`.
#[derive(Args)]
pub(crate) struct List {
    /// Only names that begin so
    #[arg(long)]
    prefix: Option<String>,
    /// Only those with this role
    #[arg(long)]
    role: Option<String>,
    /// Only disabled ones
    #[arg(long)]
    disabled: bool,
    /// Whoever has not signed in for longest first, before them who never has
    #[arg(long)]
    last_sign_in: bool,
    /// Only those who have not signed in since a time (RFC 3339), a day, or for so long (`90days`)
    #[arg(long, value_name = "TIME", value_parser = when)]
    before: Option<When>,
    /// As CSV, for a spreadsheet
    #[arg(long)]
    csv: bool,
    #[command(flatten)]
    paging: Paging,
}

/// `carelink user show`.
#[derive(Args)]
pub(crate) struct Show {
    #[arg(value_name = "USER", help = who::HELP)]
    user: String,
}

/// `carelink user disable`.
#[derive(Args)]
pub(crate) struct Disable {
    #[arg(value_name = "USER", help = who::HELP)]
    user: String,
    /// Why; goes into the trail
    #[arg(long)]
    reason: Option<String>,
}

/// `carelink user enable`.
#[derive(Args)]
pub(crate) struct Enable {
    #[arg(value_name = "USER", help = who::HELP)]
    user: String,
    /// Why; goes into the trail
    #[arg(long)]
    reason: Option<String>,
}

/// `carelink user set-password`.
#[derive(Args)]
pub(crate) struct SetPassword {
    #[arg(value_name = "USER", help = who::HELP)]
    user: String,
    #[command(flatten)]
    password: PasswordSource,
    /// Why; goes into the trail
    #[arg(long)]
    reason: Option<String>,
}

/// `carelink user roles`.
#[derive(Args)]
#[command(group(ArgGroup::new("change").args(["add", "remove"]).required(true).multiple(true)))]
pub(crate) struct Roles {
    #[arg(value_name = "USER", help = who::HELP)]
    user: String,
    /// A role to grant; several with commas or by repeating it
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    add: Vec<String>,
    /// A role to take; several with commas or by repeating it
    #[arg(long, value_name = "ROLE", value_delimiter = ',')]
    remove: Vec<String>,
    /// Why; goes into the trail, and is asked for where a role is taken
    #[arg(long)]
    reason: Option<String>,
}

/// Does it.
pub(crate) async fn run(command: Command, context: &mut Context) -> anyhow::Result<()> {
    match command {
        Command::Add(args) => add(args, context).await,
        Command::List(args) => list(args, context).await,
        Command::Show(args) => show(args, context).await,
        Command::Disable(args) => disable(args, context).await,
        Command::Enable(args) => enable(args, context).await,
        Command::SetPassword(args) => set_password(args, context).await,
        Command::Roles(args) => roles(args, context).await,
        Command::Unlock(args) => access::unlock(args, context).await,
        Command::Invite(args) => access::invite(args.user, context).await,
    }
}

async fn add(args: Add, context: &mut Context) -> anyhow::Result<()> {
    let mut clients = context.connect().await?;
    let password = match args.no_password {
        true => SecretString::default(),
        false => args.password.read(&context.console, stdin(), &format!("Password for {}", args.name))?,
    };
    let request = CreateUserRequest {
        username: args.name,
        email: args.email.unwrap_or_default(),
        full_name: args.full_name.unwrap_or_default(),
        roles: args.roles,
        password: password.expose_secret().to_owned(),
    };
    let user = clients.auth.create_user(request).await?.into_inner().user.unwrap_or_default();
    context.console.value(&One { user: User::from(&user) })?;
    context.console.line(format!("added {} (user_id {}, id {})", user.username, user.user_id, uuid(&user.id)))?;
    if args.no_password {
        let next = format!("carelink user set-password {}{}", shell_word(&user.username), context.data_option());
        context.console.note(format!("nobody can sign in as {} yet; next: {next}", user.username));
    }
    Ok(())
}

async fn list(args: List, context: &mut Context) -> anyhow::Result<()> {
    if args.csv && context.console.json() {
        return Err(usage("the list is either CSV or JSON; give one of --csv and --json"));
    }
    let clients = context.connect().await?;
    let request = ListUsersRequest {
        prefix: args.prefix.unwrap_or_default(),
        role: args.role.unwrap_or_default(),
        only_disabled: args.disabled,
        order: if args.last_sign_in { UserOrder::LastSignIn } else { UserOrder::Unspecified }.into(),
        last_sign_in_before_us: args.before.map_or(0, |before| before.micros(Clock::system().now())),
        ..Default::default()
    };
    let fetch = async |page_size, cursor| {
        let page = clients.auth.clone().list_users(ListUsersRequest { page_size, cursor, ..request.clone() }).await?.into_inner();
        Ok((page.users, page.next_cursor))
    };
    let pages = args.paging.read(fetch).await?;
    if args.csv {
        context.console.script(&csv::of(&pages.items))?;
        pages.remark(&mut context.console);
        return Ok(());
    }
    context.console.value(&Many { users: pages.items.iter().map(User::from).collect(), next_cursor: pages.next_cursor.as_deref() })?;
    let mut table = Table::new(["NAME", "USER_ID", "STATE", "ROLES", "LAST SIGN-IN", "ID"]);
    for user in &pages.items {
        let last = time_cell(user.last_sign_in_us);
        table.row([user.username.clone(), user.user_id.to_string(), state(user).into(), user.roles.join(","), last, uuid(&user.id)]);
    }
    context.console.table(table)?;
    pages.remark(&mut context.console);
    Ok(())
}

async fn show(args: Show, context: &mut Context) -> anyhow::Result<()> {
    let mut clients = context.connect().await?;
    let user = who::find(&mut clients, &args.user).await?;
    context.console.value(&One { user: User::from(&user) })?;
    context.console.table(Table::fields([
        ("name", user.username.clone()),
        ("full name", user.full_name.clone()),
        ("e-mail", user.email.clone()),
        ("state", state(&user).into()),
        ("roles", user.roles.join(", ")),
        ("password", user.hasher.clone()),
        ("user_id", user.user_id.to_string()),
        ("id", uuid(&user.id)),
        ("source", user.source.clone()),
        ("version", user.version.to_string()),
        ("created", time_cell(user.created_us)),
        ("last sign-in", time_cell(user.last_sign_in_us)),
        ("password changed", time_cell(user.password_changed_us)),
    ]))
}

async fn disable(args: Disable, context: &mut Context) -> anyhow::Result<()> {
    let reason = context.console.reason(args.reason, "disabling a user ends their sessions")?;
    let mut clients = context.connect().await?;
    let id = who::find(&mut clients, &args.user).await?.id;
    let answer = clients.auth.set_user_active(SetUserActiveRequest { id, active: false, reason }).await?.into_inner();
    let user = answer.user.unwrap_or_default();
    let said = format!("disabled {}: no sign-in, no session", user.username);
    told(context, &user, &said, Revocation::new(answer.revocation_pending, answer.revocation))
}

async fn enable(args: Enable, context: &mut Context) -> anyhow::Result<()> {
    let mut clients = context.connect().await?;
    let id = who::find(&mut clients, &args.user).await?.id;
    let request = SetUserActiveRequest { id, active: true, reason: args.reason.unwrap_or_default() };
    let answer = clients.auth.set_user_active(request).await?.into_inner();
    let user = answer.user.unwrap_or_default();
    told(context, &user, &format!("enabled {}", user.username), Revocation::new(answer.revocation_pending, answer.revocation))
}

async fn set_password(args: SetPassword, context: &mut Context) -> anyhow::Result<()> {
    let mut clients = context.connect().await?;
    let user = who::find(&mut clients, &args.user).await?;
    let password = args.password.read(&context.console, stdin(), &format!("New password for {}", user.username))?;
    let request =
        SetPasswordRequest { id: user.id, password: password.expose_secret().to_owned(), reason: args.reason.unwrap_or_default() };
    let answer = clients.auth.set_password(request).await?.into_inner();
    let user = answer.user.unwrap_or_default();
    let said = format!("set the password of {}; sessions from before are over", user.username);
    told(context, &user, &said, Revocation::new(answer.revocation_pending, answer.revocation))
}

async fn roles(args: Roles, context: &mut Context) -> anyhow::Result<()> {
    if let Some(role) = args.add.iter().find(|role| args.remove.contains(role)) {
        return Err(usage(format!("{role} is both granted and taken; say which")));
    }
    let reason = match args.remove.is_empty() {
        true => args.reason.unwrap_or_default(),
        false => context.console.reason(args.reason, "a role is taken away")?,
    };
    let mut clients = context.connect().await?;
    let id = who::find(&mut clients, &args.user).await?.id;
    let request = ChangeRolesRequest { id, add: args.add, remove: args.remove, reason };
    let answer = clients.auth.change_roles(request).await?.into_inner();
    let user = answer.user.unwrap_or_default();
    let roles = if user.roles.is_empty() { "none".to_owned() } else { user.roles.join(", ") };
    let said = format!("roles of {} now: {roles}", user.username);
    told(context, &user, &said, Revocation::new(answer.revocation_pending, answer.revocation))
}

/// Tells what became of a change, and whether every verifier knows (U3).
fn told(context: &mut Context, user: &auth::User, said: &str, revocation: Revocation) -> anyhow::Result<()> {
    context.console.value(&Changed { user: User::from(user), revocation })?;
    match revocation {
        Revocation { revocation: "done", number: Some(number) } => {
            context.console.line(format!("{said} (revocation {number})"))?;
        }
        _ => context.console.line(said)?,
    }
    if revocation.revocation == "pending" {
        context.console.note(
            "revocation pending: token-service has not taken this yet, tokens and sessions still hold as before; \
             it is sent until it is taken, look for subject.delivered_late in: carelink audit list",
        );
    }
    Ok(())
}

fn state(user: &auth::User) -> &'static str {
    if user.active { "active" } else { "disabled" }
}
