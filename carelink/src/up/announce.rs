//! What `up` tells whoever started it, once: where it listens, where the data are, how to get in.

use std::{
    io::IsTerminal,
    path::{Path, PathBuf},
};

use auth_service::FirstAdministrator;
use carelink_platform::secrets::{ExposeSecret, write_private};

use serde::Serialize;

use super::{demo::Person, directory::Directory, listen::Addresses};
use crate::{cli::Context, error::failed};

/// All of it as one JSON document.
#[derive(Serialize)]
struct Announced<'a> {
    url: &'a str,
    listening: Vec<String>,
    ops: String,
    data: &'a Path,
    master_key_made: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_administrator: Option<FirstAccount<'a>>,
    #[serde(skip_serializing_if = "<[Person]>::is_empty")]
    people: &'a [Person],
}

#[derive(Serialize)]
struct FirstAccount<'a> {
    username: &'a str,
    one_time_password_file: PathBuf,
}

/// Tells everything. The first line is what scripts read.
pub(super) fn all(
    context: &mut Context,
    directory: &Directory,
    addresses: &Addresses,
    administrator: Option<&FirstAdministrator>,
    people: &[Person],
    may_show_secrets: bool,
) -> anyhow::Result<()> {
    let url = addresses.url();
    if context.console.json() {
        let waiting = administrator.map(|administrator| keep(directory, administrator)).transpose()?;
        return context.console.value(&Announced {
            url: &url,
            listening: addresses.http.iter().map(|address| format!("{}://{address}", addresses.scheme)).collect(),
            ops: format!("http://{}", addresses.ops),
            data: directory.path(),
            master_key_made: directory.new_master,
            first_administrator: administrator
                .zip(waiting)
                .map(|(administrator, one_time_password_file)| FirstAccount { username: &administrator.username, one_time_password_file }),
            people,
        });
    }
    context.console.line(format!("listening on {url}"))?;
    for address in addresses.http.iter().skip(1) {
        context.console.line(format!("           and {}://{address}", addresses.scheme))?;
    }
    context.console.line(format!("health and metrics on http://{}", addresses.ops))?;
    context.console.line(format!("data in {}", directory.path().display()))?;
    if directory.new_master && people.is_empty() {
        context.console.line(format!(
            "made {}: keep a copy of it elsewhere, nothing can be read without it",
            directory.path().join("master.key").display()
        ))?;
    }
    if let Some(administrator) = administrator {
        first_administrator(context, directory, administrator, may_show_secrets)?;
    }
    demo(context, &url, people)
}

/// The way in for the first administrator (C6): on the terminal, or in a private file where nobody watches. Never in a log.
fn first_administrator(
    context: &mut Context,
    directory: &Directory,
    administrator: &FirstAdministrator,
    may_show_secrets: bool,
) -> anyhow::Result<()> {
    let FirstAdministrator { username, one_time_password } = administrator;
    let secret = one_time_password.expose_secret();
    if may_show_secrets && std::io::stdout().is_terminal() {
        context.console.line(format!("first administrator: {username}, one-time password (24 hours): {secret}"))?;
    } else {
        let path = keep(directory, administrator)?;
        context.console.line(format!("first administrator: {username}; the one-time password (24 hours) is in {}", path.display()))?;
    }
    let data = context.data_option();
    context.console.line(format!("next: carelink user set-password {username}{data}"))
}

/// Puts the one-time password where only this user can read it.
fn keep(directory: &Directory, FirstAdministrator { username, one_time_password }: &FirstAdministrator) -> anyhow::Result<PathBuf> {
    let path = directory.first_admin();
    let _ = std::fs::remove_file(&path); // of an earlier start, and of no use any more
    write_private(&path, &format!("{username} {}\n", one_time_password.expose_secret()))
        .map_err(|error| failed("first_admin", format!("{}: {error}", path.display())))?;
    Ok(path)
}

/// The newcomer's first steps, ready to paste.
fn demo(context: &mut Context, url: &str, people: &[Person]) -> anyhow::Result<()> {
    let Some(first) = people.first() else { return Ok(()) };
    context.console.line("")?;
    context.console.line("people to try (this directory goes when you stop):")?;
    for person in people {
        context.console.line(format!("  {:10} {}   {}", person.username, person.password, person.roles.join(", ")))?;
    }
    let json = "-H 'content-type: application/json'";
    let field = |name: &str| format!(r#"$(echo "$TOKENS" | sed 's/.*"{name}":"\([^"]*\)".*/\1/')"#);
    let refresh = r#"-d "{\"refresh\": \"$REFRESH\"}""#;
    let lines = [
        "sign in:".to_owned(),
        format!(
            r#"  TOKENS=$(curl -s {url}/account/token/ {json} -d '{{"username": "{}", "password": "{}"}}'); echo "$TOKENS""#,
            first.username, first.password
        ),
        format!("  ACCESS={} REFRESH={}", field("access"), field("refresh")),
        "who am I:".to_owned(),
        format!(r#"  curl -s {url}/account/me/ -H "authorization: Bearer $ACCESS""#),
        "refresh:".to_owned(),
        format!(r#"  TOKENS=$(curl -s {url}/account/token/refresh/ {json} {refresh}); echo "$TOKENS""#),
        format!("  ACCESS={} REFRESH={}", field("access"), field("refresh")),
        "sign out:".to_owned(),
        format!("  curl -s {url}/account/token/blacklist/ {json} {refresh}"),
    ];
    context.console.line("")?;
    for line in lines {
        context.console.line(line)?;
    }
    Ok(())
}
