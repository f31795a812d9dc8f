//! `carelink bench`: the predecessor's quick performance test, against any deployment that answers at a URL.
//!
//! It signs in as a user that exists, refreshes, asks who that is, has tokens judged, signs out, and refreshes eight times at once. What
//! the guide promised is the verdict. It makes nobody up: the name and the password are given, or the demo's.

mod demo;
mod run;

use std::{path::PathBuf, time::Duration};

use carelink_platform::secrets::SecretString;
use clap::Args as ClapArgs;
use serde::Serialize;

use self::run::Bench;
use crate::{
    cli::Context,
    error::{failed, usage},
    http::{Base, Http},
    output::Table,
    password::PasswordSource,
};

/// Of `carelink bench --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink bench --demo
  carelink bench http://127.0.0.1:8000 --username amina21
  carelink bench https://signin.example --username probe --password-file probe.password --json

The goals are the predecessor's: a refresh under 50 ms, a call under 100 ms, a sign-in under 500 ms, on average. Exit status 1 \
where one is missed. What is measured is what a client sees, its network included.";

/// What the guide calls acceptable.
pub(crate) const REFRESH: Duration = Duration::from_millis(50);
/// The same of any call with an access token.
pub(crate) const CALL: Duration = Duration::from_millis(100);
/// The same of a sign-in.
pub(crate) const SIGN_IN: Duration = Duration::from_millis(500);

/// `carelink bench`.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// Where it is [default: http://127.0.0.1:8000]
    #[arg(value_name = "URL", conflicts_with = "demo")]
    url: Option<String>,
    /// Start a demo, measure that, and end it
    #[arg(long)]
    demo: bool,
    /// Somebody who may sign in; asked for the password unless told where it is
    #[arg(long, value_name = "NAME", conflicts_with = "demo", required_unless_present = "demo")]
    username: Option<String>,
    #[command(flatten)]
    password: PasswordSource,
    /// Where the predecessor's paths begin there (gateway.account_prefix)
    #[arg(long, value_name = "PATH", default_value = "/account")]
    prefix: String,
    /// How often to refresh and to call
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Believe these authorities of an https URL, and no others (PEM)
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// One line of what was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) what: &'static str,
    pub(crate) times: usize,
    pub(crate) average_ms: f64,
    pub(crate) least_ms: f64,
    pub(crate) most_ms: f64,
    pub(crate) goal_ms: u64,
    pub(crate) met: bool,
}

impl Measured {
    /// Of some measurements; none of nothing.
    pub(crate) fn of(what: &'static str, took: &[Duration], goal: Duration) -> Option<Self> {
        let (least, most) = (took.iter().min()?, took.iter().max()?);
        let average = took.iter().sum::<Duration>() / u32::try_from(took.len()).ok()?;
        Some(Self {
            what,
            times: took.len(),
            average_ms: millis(average),
            least_ms: millis(*least),
            most_ms: millis(*most),
            goal_ms: u64::try_from(goal.as_millis()).unwrap_or(u64::MAX),
            met: average < goal,
        })
    }
}

/// What eight refreshes at once came to.
#[derive(Debug, Serialize)]
pub(crate) struct Parallel {
    pub(crate) at_once: usize,
    pub(crate) refused: usize,
    pub(crate) successors: usize,
    pub(crate) slowest_ms: f64,
    pub(crate) met: bool,
}

/// All of it.
#[derive(Debug, Serialize)]
struct Report {
    url: String,
    measured: Vec<Measured>,
    parallel: Parallel,
    met: bool,
}

/// Milliseconds with a fraction of two digits.
pub(crate) fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 100_000.0).round() / 100.0
}

/// Does it.
pub(crate) async fn run(args: Args, context: &mut Context) -> anyhow::Result<()> {
    if !args.prefix.starts_with('/') || args.prefix.ends_with('/') {
        return Err(usage("--prefix is a path such as /account: it begins with a slash and ends without one"));
    }
    let demo = if args.demo { Some(demo::Demo::start().await?) } else { None };
    let (url, username, password) = match &demo {
        Some(demo) => (demo.url.clone(), demo.username.clone(), demo.password.clone()),
        None => {
            let username = args.username.clone().unwrap_or_default();
            let prompt = format!("Password of {username}");
            let password: SecretString = args.password.read_existing(&context.console, std::io::stdin(), &prompt)?;
            (args.url.clone().unwrap_or_else(|| "http://127.0.0.1:8000".to_owned()), username, password)
        }
    };
    let http = Http::new(Base::parse(&url)?, "carelink-bench", args.ca_file.as_deref())?;
    let bench = Bench { http, prefix: args.prefix, rounds: args.rounds, username, password };
    let measured = bench.run().await;
    if let Some(demo) = demo {
        demo.stop().await;
    }
    let (measured, parallel) = measured?;
    let met = measured.iter().all(|line| line.met) && parallel.met;
    tell(&Report { url, measured, parallel, met }, context)
}

fn tell(report: &Report, context: &mut Context) -> anyhow::Result<()> {
    context.console.value(report)?;
    let mut table = Table::new(["WHAT", "TIMES", "AVERAGE", "LEAST", "MOST", "GOAL", ""]);
    let verdict = |met: bool| if met { "met" } else { "missed" }.to_owned();
    let ms = |ms: f64| format!("{ms:.1} ms");
    for line in &report.measured {
        let goal = format!("< {} ms", line.goal_ms);
        let times = line.times.to_string();
        table.row([line.what.to_owned(), times, ms(line.average_ms), ms(line.least_ms), ms(line.most_ms), goal, verdict(line.met)]);
    }
    let Parallel { at_once, successors, refused, slowest_ms, met } = &report.parallel;
    let came = match (refused, successors) {
        (0, 1) => "one successor".to_owned(),
        (0, many) => format!("{many} successors"),
        (refused, _) => format!("{refused} refused"),
    };
    let goal = "one successor".to_owned();
    table.row(["refresh, 8 at once".to_owned(), at_once.to_string(), came, String::new(), ms(*slowest_ms), goal, verdict(*met)]);
    context.console.table(table)?;
    if report.met {
        return context.console.line(format!("{} does what the guide promised", report.url));
    }
    let missed = report.measured.iter().filter(|line| !line.met).map(|line| line.what);
    let missed: Vec<&str> = missed.chain((!report.parallel.met).then_some("refresh, 8 at once")).collect();
    Err(failed("goal_missed", format!("missed: {}; carelink doctor may know why", missed.join(", "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_about_the_average() {
        let took = [10, 20, 90].map(Duration::from_millis);
        let line = Measured::of("refresh", &took, REFRESH).unwrap();
        assert_eq!((line.times, line.average_ms, line.least_ms, line.most_ms, line.goal_ms, line.met), (3, 40.0, 10.0, 90.0, 50, true));
        assert!(!Measured::of("refresh", &took[1..], REFRESH).unwrap().met);
        assert!(Measured::of("refresh", &[], REFRESH).is_none());
    }

    #[tokio::test]
    async fn nobody_is_made_up_and_a_place_that_is_away_is_a_sentence() {
        use crate::error::Exit;
        let dir = tempfile::tempdir().unwrap();
        let nobody = crate::tests::run(dir.path(), &["bench", "http://127.0.0.1:9", "--username", "amina21"]).await;
        assert_eq!(nobody.sentence().0, Exit::Usage, "no terminal to ask on");
        let file = dir.path().join("pw");
        std::fs::write(&file, "canary is long enough\n").unwrap();
        let words = ["bench", "http://127.0.0.1:9", "--username", "amina21", "--password-file", file.to_str().unwrap()];
        let away = crate::tests::run(dir.path(), &words).await;
        assert_eq!(away.sentence().0, Exit::Failed);
        assert!(away.sentence().1.contains("127.0.0.1:9 cannot be reached"), "{}", away.sentence().1);
    }
}
