//! The command line: what there is to type, and what every command is given.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use carelink_platform::{
    clock::Clock,
    config::{ConfigError, Settings},
    context::{RequestContext, TraceContext},
    events::Actor,
    grpc::OperatorProof,
    random::Random,
};
use clap::{Args, Parser, Subcommand};

use crate::{
    audit, backup, bench, check_config, completions,
    connect::{self, Clients},
    doctor, import, key, log, migrate,
    output::{Console, data_option},
    pki, restore, sessions, token, up, user, why,
};

/// Signs people in, keeps them signed in for a shift, and proves afterwards what happened.
#[derive(Parser)]
#[command(
    name = "carelink",
    version,
    max_term_width = 120,
    after_help = "Examples:
  carelink up --demo                             try it: a throw-away directory with users in it
  carelink up                                    for good, in ./carelink-data
  carelink user set-password carelink-admin      the first administrator's password
  carelink sessions list amina21                 who is signed in

Exit status: 0 done, 1 failed, 2 usage, 64 bad configuration."
)]
pub(crate) struct Cli {
    /// What every command takes.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command takes.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    /// The data directory [default: ./carelink-data]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    data: Option<PathBuf>,
    /// The configuration file; where its section grpc says so, commands go to that fleet [default: carelink.toml in the data directory]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    config: Option<PathBuf>,
    /// Answer with one JSON document, errors too; never ask anything
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
}

/// The commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run all of CareLink in this process, on embedded SQLite
    #[command(after_help = up::EXAMPLES)]
    Up(up::Args),
    /// Take over a predecessor's users and sessions
    #[command(
        subcommand,
        after_help = "Examples:
  carelink import django db.sqlite3 --secret-key-file secret_key --dry-run"
    )]
    Import(import::Command),
    /// See and change users
    #[command(subcommand, after_help = user::EXAMPLES)]
    User(user::Command),
    /// See and end sessions
    #[command(subcommand, after_help = sessions::EXAMPLES)]
    Sessions(sessions::Command),
    /// Read the trail
    #[command(
        subcommand,
        after_help = "Examples:
  carelink audit list --user amina21"
    )]
    Audit(audit::Command),
    /// Say what was decided about a request, a session or a user, and by which rule
    #[command(after_help = why::EXAMPLES)]
    Why(why::Args),
    /// Bring the databases' schemas up to date
    #[command(after_help = migrate::EXAMPLES)]
    Migrate(migrate::Args),
    /// Copy all databases into one file, while they are in use
    #[command(after_help = backup::EXAMPLES)]
    Backup(backup::Args),
    /// Fill empty databases from a backup
    #[command(after_help = restore::EXAMPLES)]
    Restore(restore::Args),
    /// Make the keys of a fleet, see and rotate those that sign
    #[command(subcommand, after_help = key::EXAMPLES)]
    Key(key::Command),
    /// See and change what processes log, while they run
    #[command(subcommand, after_help = log::EXAMPLES)]
    Log(log::Command),
    /// Keep a small CA: certificates for services and operators
    #[command(subcommand, after_help = pki::EXAMPLES)]
    Pki(pki::Command),
    /// Measure a deployment as its clients see it
    #[command(after_help = bench::EXAMPLES)]
    Bench(bench::Args),
    /// Say why it is slow or not well, one line for each thing that can be wrong
    #[command(after_help = doctor::EXAMPLES)]
    Doctor(doctor::Args),
    /// Judge tokens offline
    #[command(subcommand, after_help = token::EXAMPLES)]
    Token(token::Command),
    /// Say what is configured, or what is wrong with it
    #[command(after_help = check_config::EXAMPLES)]
    CheckConfig,
    /// Print what a shell needs to complete these commands
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Args),
}

/// What a command is given: where it works, how it speaks, who it is.
pub(crate) struct Context {
    global: Global,
    /// How it speaks.
    pub(crate) console: Console,
    /// Where it draws randomness.
    pub(crate) random: Random,
    trace: TraceContext,
    claimed: Option<String>,
    environment: Vec<(String, String)>,
}

impl Context {
    /// For one run of the binary. `claimed` is what `sudo` says about who is behind it.
    pub(crate) fn new(global: Global, console: Console, random: Random, claimed: Option<String>) -> Self {
        let trace = TraceContext::root(&random, true);
        Self { global, console, random, trace, claimed, environment: Vec::new() }
    }

    /// In the process's environment, of which some may configure CareLink.
    #[must_use]
    pub(crate) fn with_environment(self, of_process: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let environment = of_process.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        Self { environment, ..self }
    }

    /// What is configured for a fleet, by the file named and the environment.
    pub(crate) fn settings(&self) -> Result<Settings, ConfigError> {
        Settings::load(self.config(), self.environment.iter().cloned())
    }

    /// Whether anything but a data directory can have been meant: a file was named, or the environment says something of the section.
    pub(crate) fn configures(&self, section: &str) -> bool {
        let prefix = format!("CARELINK_{}__", section.to_uppercase());
        self.config().is_some() || self.environment.iter().any(|(name, _)| name.starts_with(&prefix))
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        self.global.data.as_deref().unwrap_or(Path::new("./carelink-data"))
    }

    /// The data directory, where one was named.
    pub(crate) fn data_given(&self) -> Option<&Path> {
        self.global.data.as_deref()
    }

    /// The configuration file, where one was named.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.global.config.as_deref()
    }

    /// The environment, as a start would read it.
    pub(crate) fn environment_pairs(&self) -> &[(String, String)] {
        &self.environment
    }

    /// A variable of the environment that was named on the command line.
    pub(crate) fn variable(&self, name: &str) -> Option<&str> {
        self.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The trace that every call of this command belongs to, so that a failure printed here is found in the logs and the trail.
    pub(crate) fn trace(&self) -> TraceContext {
        self.trace
    }

    /// Who `sudo` says is behind this.
    pub(crate) fn claimed(&self) -> Option<String> {
        self.claimed.clone()
    }

    /// ` --data DIR`, to be part of a command that is suggested.
    pub(crate) fn data_option(&self) -> String {
        data_option(self.data_given())
    }

    /// Who does what a command does by itself, without a service that would know.
    pub(crate) fn actor(&self) -> Actor {
        Actor::Operator { by: OperatorProof::Uid(rustix::process::geteuid().as_raw()), claimed: self.claimed.clone() }
    }

    /// Connects to the fleet that is configured, else to whatever runs on the data directory.
    pub(crate) async fn connect(&self) -> anyhow::Result<Clients> {
        match connect::fleet(self)? {
            Some(grpc) => connect::connect_fleet(grpc, self.claimed.clone(), &Clock::system(), &self.random),
            None => connect::connect(self.data(), self.claimed.clone()).await,
        }
    }
}

/// Does what was typed.
pub(crate) async fn run(command: Command, context: &mut Context) -> anyhow::Result<()> {
    let trace = RequestContext { trace: context.trace(), deadline: None };
    match command {
        Command::Up(args) => up::run(args, context).await,
        Command::Import(command) => trace.scope(import::run(command, context)).await,
        Command::User(command) => trace.scope(user::run(command, context)).await,
        Command::Sessions(command) => trace.scope(sessions::run(command, context)).await,
        Command::Audit(command) => trace.scope(audit::run(command, context)).await,
        Command::Why(args) => trace.scope(why::run(args, context)).await,
        Command::Migrate(args) => trace.scope(migrate::run(args, context)).await,
        Command::Backup(args) => backup::run(args, context).await,
        Command::Restore(args) => trace.scope(restore::run(args, context)).await,
        Command::Key(command) => trace.scope(key::run(command, context)).await,
        Command::Log(command) => trace.scope(log::run(command, context)).await,
        Command::Pki(command) => pki::run(command, context),
        Command::Bench(args) => bench::run(args, context).await,
        Command::Doctor(args) => doctor::run(args, context).await,
        Command::Token(command) => token::run(command, context).await,
        Command::CheckConfig => check_config::run(context),
        Command::Completions(args) => completions::run(&args, context),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Every command and subcommand with its path, the root first.
    fn all() -> Vec<(String, clap::Command)> {
        fn walk(path: &str, command: &clap::Command, into: &mut Vec<(String, clap::Command)>) {
            into.push((path.to_owned(), command.clone()));
            for below in command.get_subcommands() {
                walk(&format!("{path} {}", below.get_name()), below, into);
            }
        }
        let mut found = Vec::new();
        walk("carelink", &Cli::command(), &mut found);
        found
    }

    /// The words of an example line, up to a pipe, a redirection or a remark set off by blanks.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), None);
        let mut blanks = 0;
        for c in line.chars().chain([' ']) {
            match quoted {
                Some(quote) if c == quote => quoted = None,
                Some(_) => word.push(c),
                None if c == '\'' || c == '"' => quoted = Some(c),
                None if c == ' ' => {
                    blanks += 1;
                    if !word.is_empty() {
                        words.push(std::mem::take(&mut word));
                    }
                }
                None if blanks > 1 && !words.is_empty() || matches!(c, '|' | '<' | '>' | '#') => break,
                None => {
                    blanks = 0;
                    word.push(c);
                }
            }
        }
        words
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_commands_help_has_examples_and_every_example_is_understood() {
        for (path, command) in all() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "`{path} --help` shows no examples");
            let examples = help.lines().filter_map(|line| line.split_once("carelink ").map(|(_, rest)| rest));
            let mut seen = 0;
            for example in examples {
                let line = format!("carelink {example}");
                assert!(line.len() < 96, "`{line}` in `{path} --help` is too long for a terminal");
                if let Err(error) = Cli::try_parse_from(words(&line)) {
                    panic!("`{line}` in `{path} --help`: {error}");
                }
                seen += 1;
            }
            assert!(seen > 0, "`{path} --help` shows no examples");
        }
    }

    #[test]
    fn no_password_is_an_argument() {
        for (path, command) in all() {
            for arg in command.get_arguments().filter(|arg| arg.get_id().as_str().contains("password")) {
                let takes_a_file = arg.get_id().as_str().ends_with("file");
                assert!(takes_a_file || !arg.get_action().takes_values(), "`{path}` takes `{arg}`");
            }
        }
    }

    #[test]
    fn global_options_go_anywhere_and_have_defaults() {
        let parsed = Cli::try_parse_from(["carelink", "user", "list", "--data", "d", "--json"]).unwrap();
        assert!(parsed.global.json);
        let context = |global| Context::new(global, Console::new(false, std::io::sink(), std::io::sink()), Random::seeded(1), None);
        assert_eq!(context(parsed.global).data(), Path::new("d"));
        let parsed = Cli::try_parse_from(["carelink", "user", "list"]).unwrap();
        assert_eq!(context(parsed.global).data(), Path::new("./carelink-data"));
    }
}
