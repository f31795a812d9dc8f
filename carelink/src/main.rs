//! The `carelink` binary: `carelink up` runs everything in one process, every other command is an operator's client of it.
//!
//! Parse, run, report. What a command does is in the module of its name; what it may assume is [`cli::Context`].

use std::process::ExitCode;

use carelink_platform::random::Random;
use clap::Parser;

use crate::{
    cli::{Cli, Context},
    error::{failed, report, report_usage},
    output::Console,
};

mod audit;
mod backup;
mod before;
mod bench;
mod check_config;
mod cli;
mod completions;
mod connect;
mod deployment;
mod doctor;
mod error;
mod http;
mod import;
mod key;
mod log;
mod migrate;
mod output;
mod paging;
mod password;
mod pki;
mod restore;
mod sessions;
mod token;
mod up;
mod user;
mod when;
mod who;
mod why;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return report_usage(&error, std::env::args_os().any(|arg| arg == "--json")),
    };
    let json = cli.global.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(&failed("failed", format!("the system gives no threads: {error}")), json, ""),
    };
    let mut context = Context::new(cli.global, Console::of_process(json), Random::system(), std::env::var("SUDO_USER").ok())
        .with_environment(std::env::vars_os());
    match runtime.block_on(Box::pin(cli::run(cli.command, &mut context))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report(&error, json, &context.trace().trace_hex()),
    }
}
