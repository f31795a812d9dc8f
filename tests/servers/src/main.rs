//! Runs a command beside a PostgreSQL cluster that all tests under it share: `carelink-servers cargo nextest run`.
#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::unreachable)] // a tool of tests

use std::{env, process::ExitCode};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let mut words = env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: carelink-servers COMMAND [ARGUMENT..]");
        return ExitCode::from(2);
    };
    let cluster = carelink_servers::postgres().await;
    let status = tokio::process::Command::new(program).args(words).env("CARELINK_TEST_POSTGRES", cluster.superuser("postgres")).status();
    match status.await {
        Ok(status) => status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(127)
        }
    }
}
