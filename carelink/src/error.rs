//! How a command fails: a sentence for people, a stable code for scripts, an exit status for shells.
//!
//! A command returns `anyhow::Result`; [`report`] is the one place that prints what went wrong.

use std::{
    error::Error as _,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use carelink_platform::{config::ConfigError, errors::Failure};
use serde::Serialize;
use tonic::{Code, Status};

use crate::output::{colours, printable};

/// What a shell sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It was tried and did not work.
    Failed = 1,
    /// The command line does not say what to do.
    Usage = 2,
    /// The configuration is wrong.
    Configuration = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure in words of our own.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
struct Failed {
    exit: Exit,
    code: &'static str,
    sentence: String,
}

/// It was tried and did not work.
pub(crate) fn failed(code: &'static str, sentence: impl Into<String>) -> anyhow::Error {
    Failed { exit: Exit::Failed, code, sentence: sentence.into() }.into()
}

/// The command line does not say what to do.
pub(crate) fn usage(sentence: impl Into<String>) -> anyhow::Error {
    Failed { exit: Exit::Usage, code: "usage", sentence: sentence.into() }.into()
}

/// The configuration is wrong, in more than one place perhaps.
pub(crate) fn misconfigured(sentence: impl Into<String>) -> anyhow::Error {
    Failed { exit: Exit::Configuration, code: "configuration", sentence: sentence.into() }.into()
}

/// Whoever read our output has read enough: `carelink user list | head` is no failure.
#[derive(Debug, thiserror::Error)]
#[error("nobody reads the output any more")]
pub(crate) struct OutputClosed;

/// What is printed of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    /// The exit status.
    pub(crate) exit: Exit,
    /// A stable reason.
    pub(crate) code: String,
    /// What was wrong and what to do.
    pub(crate) message: String,
    /// Whether a request had left: then its trace id finds it in the logs and the trail.
    pub(crate) traced: bool,
}

impl Report {
    /// Reads a failure.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let local = |exit, code: &str| Self { exit, code: code.into(), message: format!("{error:#}"), traced: false };
        if let Some(failed) = error.downcast_ref::<Failed>() {
            return local(failed.exit, failed.code);
        }
        if error.is::<ConfigError>() {
            return local(Exit::Configuration, "configuration");
        }
        match error.downcast_ref::<Status>() {
            Some(status) => Self::of_status(status),
            None => local(Exit::Failed, "failed"),
        }
    }

    fn of_status(status: &Status) -> Self {
        let failure = Failure::from_status(status);
        let ours = failure.source().is_none();
        let (code, message) = match status.code() {
            _ if ours => (failure.reason().as_str(), failure.text().to_owned()),
            Code::Cancelled | Code::DeadlineExceeded => {
                ("deadline_exceeded", "no answer came in time; look at what CareLink logs, then try again".into())
            }
            _ if status.source().is_some() => {
                ("connection_lost", "the connection was lost before an answer came; see whether CareLink still runs, then try again".into())
            }
            Code::Unimplemented => ("unimplemented", "what runs does not know this command; use the same version for both".into()),
            code => (failure.reason().as_str(), format!("{} ({})", failure.text(), code.description())),
        };
        let message = match failure.retry() {
            Some(after) => format!("{message} (worth trying again in {} s)", after.as_secs().max(1)),
            None => message,
        };
        Self { exit: Exit::Failed, code: code.into(), message, traced: true }
    }

    fn write(&self, out: &mut dyn Write, json: bool, colour: bool, trace_id: &str) -> io::Result<()> {
        let trace_id = self.traced.then_some(trace_id);
        if json {
            serde_json::to_writer(&mut *out, &JsonReport { error: JsonError { code: &self.code, message: &self.message, trace_id } })?;
            return writeln!(out);
        }
        let label = if colour { "\u{1b}[1;31merror:\u{1b}[0m" } else { "error:" };
        let trace = trace_id.map(|id| format!(" [trace {id}]")).unwrap_or_default();
        writeln!(out, "{label} {}{trace}", printable(&self.message))
    }
}

#[derive(Serialize)]
struct JsonReport<'a> {
    error: JsonError<'a>,
}

#[derive(Serialize)]
struct JsonError<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<&'a str>,
}

/// Prints a failure to stderr, once, and says how to exit.
pub(crate) fn report(error: &anyhow::Error, json: bool, trace_id: &str) -> ExitCode {
    if error.is::<OutputClosed>() {
        return ExitCode::SUCCESS;
    }
    let report = Report::of(error);
    let stderr = io::stderr();
    let colour = colours() && stderr.is_terminal();
    let _ = report.write(&mut stderr.lock(), json, colour, trace_id); // nobody left to tell
    report.exit.into()
}

/// Prints what clap has to say: help and version to stdout, a usage error to stderr (as JSON where asked for).
pub(crate) fn report_usage(error: &clap::Error, json: bool) -> ExitCode {
    if !error.use_stderr() {
        return match error.print().and_then(|()| io::stdout().flush()) {
            Err(lost) if lost.kind() != io::ErrorKind::BrokenPipe => Exit::Failed.into(),
            _ => ExitCode::SUCCESS,
        };
    }
    if json {
        return report(&usage(sentence(&error.render().to_string())), true, "");
    }
    let _ = error.print(); // nobody left to tell
    Exit::Usage.into()
}

/// What clap says on several lines, without the usage that follows.
fn sentence(rendered: &str) -> String {
    let lines = rendered.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let joined = lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ");
    joined.strip_prefix("error: ").unwrap_or(&joined).to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use carelink_platform::errors::Reason;

    use super::*;

    fn written(error: &anyhow::Error, json: bool) -> String {
        let mut out = Vec::new();
        Report::of(error).write(&mut out, json, false, "4bf92f3577b34da6a3ce929d0e0e4736").unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_failure_of_ours_is_one_sentence_and_has_its_exit_code() {
        assert_eq!(written(&failed("not_running", "nothing is running"), false), "error: nothing is running\n");
        assert_eq!(Report::of(&failed("x", "")).exit, Exit::Failed);
        assert_eq!(Report::of(&usage("")).exit, Exit::Usage);
        assert_eq!(Report::of(&ConfigError::invalid("session.grace", "too long").into()).exit, Exit::Configuration);
    }

    #[test]
    fn a_services_refusal_keeps_its_reason_words_and_trace() {
        let status = Status::from(Failure::new(Reason::Throttled).message("too many tries").retry_after(Duration::from_secs(7)));
        let error = anyhow::Error::from(status).context("while asking");
        assert_eq!(written(&error, false), "error: too many tries (worth trying again in 7 s) [trace 4bf92f3577b34da6a3ce929d0e0e4736]\n");
        assert_eq!(
            written(&error, true),
            "{\"error\":{\"code\":\"throttled\",\"message\":\"too many tries (worth trying again in 7 s)\",\
             \"trace_id\":\"4bf92f3577b34da6a3ce929d0e0e4736\"}}\n"
        );
    }

    #[test]
    fn a_foreign_status_does_not_show_its_text() {
        for status in [Status::unknown("canary"), Status::unimplemented("canary"), Status::deadline_exceeded("canary")] {
            let report = Report::of(&status.into());
            assert!(!report.message.contains("canary") && report.traced, "{report:?}");
        }
    }

    #[test]
    fn a_usage_error_is_one_sentence_too() {
        use clap::Parser;
        let parse = |words: &[&str]| sentence(&crate::cli::Cli::try_parse_from(words).err().unwrap().render().to_string());
        assert_eq!(
            parse(&["carelink", "sessions", "revoke"]),
            "the following required arguments were not provided: <SESSION|--user <USER>>"
        );
        assert_eq!(parse(&["carelink", "usr"]), "unrecognized subcommand 'usr' tip: a similar subcommand exists: 'user'");
        assert_eq!(parse(&["carelink", "user", "list", "--limit", "0"]), "invalid value '0' for '--limit <N>': 0 is not in 1..=1000");
    }

    #[test]
    fn a_sentence_cannot_steer_the_terminal() {
        assert_eq!(written(&failed("x", "no user `\u{1b}[2J`"), false), "error: no user `\\u{1b}[2J`\n");
    }
}
