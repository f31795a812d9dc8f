//! What a process logs, and changing that while it runs.
//!
//! Only CareLink's own parts may be made to log more than `info`: libraries print what they carry, and at `trace` that is tokens.

use std::{
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::{
    clock::Timestamp,
    errors::{Failure, Reason},
};

/// Longer than anybody watches.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
const MAX_DIRECTIVES_BYTES: usize = 256;
/// How targets of ours begin.
const OURS: [&str; 6] = ["carelink", "auth_service", "token_service", "audit_service", "gateway", "importer"];

static LEVELS: OnceLock<Levels> = OnceLock::new();

#[derive(Debug)]
struct Levels {
    filter: reload::Handle<EnvFilter, Registry>,
    configured: String,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    directives: String,
    until: Option<Timestamp>,
    /// Counts changes: whoever ends one after a while ends no later one.
    change: u64,
}

/// What a process logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The directives in force.
    pub directives: String,
    /// Those of its configuration.
    pub configured: String,
    /// Until when; none: until the process ends.
    pub until: Option<Timestamp>,
}

/// Directives that were read and may be put in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives(String);

impl Directives {
    /// Reads `debug` or `info,token_service=trace`. A level by itself that is more than `info` is for our own parts.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let refused = |message: String| Failure::new(Reason::InputInvalid).message(message);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '=' | ',' | '-');
        if text.len() > MAX_DIRECTIVES_BYTES || !text.chars().all(plain) {
            return Err(refused(format!(
                "directives are levels with or without a target, such as info,token_service=debug; at most {MAX_DIRECTIVES_BYTES} bytes"
            )));
        }
        let mut read: Vec<String> = Vec::new();
        for directive in text.split(',').filter(|directive| !directive.is_empty()) {
            let (target, level) = directive.split_once('=').map_or((None, directive), |(target, level)| (Some(target), level));
            let known = Some(level).filter(|level| !level.is_empty()).and_then(|level| level.parse::<LevelFilter>().ok());
            let known = known.ok_or_else(|| refused(format!("`{level}` is no level: off, error, warn, info, debug, trace")))?;
            let much = known > LevelFilter::INFO;
            match target {
                None if much => {
                    read.push("info".to_owned());
                    read.extend(OURS.map(|ours| format!("{ours}={known}")));
                }
                None => read.push(known.to_string()),
                Some(target) if much && !OURS.iter().any(|ours| target.starts_with(ours)) => {
                    let sentence = "is no part of CareLink: others log at most info, since they print what they carry, tokens too";
                    return Err(refused(format!("`{target}` {sentence}")));
                }
                Some(target) => read.push(format!("{target}={known}")),
            }
        }
        Ok(Self(read.join(",")))
    }

    /// As they are put in force; empty: those that are configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// For how long a change may be asked for; none: until the process ends.
///
/// # Errors
/// Where it is longer than anybody watches.
pub fn lasting(micros: i64) -> Result<Option<Duration>, Failure> {
    let lasting = u64::try_from(micros).ok().map(Duration::from_micros).filter(|lasting| *lasting <= LONGEST);
    let refused = || Failure::new(Reason::InputInvalid).message("for how long: at most seven days, or 0 until the process ends");
    lasting.map(|lasting| (!lasting.is_zero()).then_some(lasting)).ok_or_else(refused)
}

/// The filter of the process's log, which can be changed from now on.
pub(super) fn install(filter: EnvFilter, configured: &str) -> reload::Layer<EnvFilter, Registry> {
    let (layer, handle) = reload::Layer::new(filter);
    let state = State { directives: configured.to_owned(), until: None, change: 0 };
    // A second call in a test keeps the first.
    let _ = LEVELS.set(Levels { filter: handle, configured: configured.to_owned(), state: Mutex::new(state) });
    layer
}

/// What this process logs.
///
/// # Errors
/// Where it has no log.
pub fn logging() -> Result<Logging, Failure> {
    let levels = levels()?;
    Ok(levels.logging(&levels.state()))
}

/// Changes what this process logs, until `until`, which is so far away.
///
/// # Errors
/// Where it has no log, or the directives cannot be put in force.
pub fn set_logging(directives: &Directives, until: Option<(Timestamp, Duration)>) -> Result<Logging, Failure> {
    let levels = levels()?;
    let mut state = levels.state();
    let wanted = if directives.0.is_empty() { levels.configured.clone() } else { directives.0.clone() };
    levels.put(&wanted)?;
    *state = State { directives: wanted, until: until.map(|(at, _)| at), change: state.change + 1 };
    let (now, change) = (levels.logging(&state), state.change);
    drop(state);
    tracing::info!(directives = %now.directives, "what is logged was changed");
    if let Some((_, lasting)) = until {
        tokio::spawn(async move {
            tokio::time::sleep(lasting).await;
            levels.end(change);
        });
    }
    Ok(now)
}

fn levels() -> Result<&'static Levels, Failure> {
    LEVELS.get().ok_or_else(|| Failure::new(Reason::Unready).message("this process has no log"))
}

impl Levels {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn logging(&self, state: &State) -> Logging {
        Logging { directives: state.directives.clone(), configured: self.configured.clone(), until: state.until }
    }

    fn put(&self, directives: &str) -> Result<(), Failure> {
        let internal = |error: String| Failure::new(Reason::Internal).caused_by(error);
        let filter = EnvFilter::try_new(directives).map_err(|error| internal(error.to_string()))?;
        self.filter.reload(filter).map_err(|error| internal(error.to_string()))
    }

    /// A change is over, if it is still the last one.
    fn end(&self, change: u64) {
        let mut state = self.state();
        if state.change == change && self.put(&self.configured).is_ok() {
            *state = State { directives: self.configured.clone(), until: None, change: change + 1 };
            drop(state);
            tracing::info!(directives = %self.configured, "what is logged is as configured again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        Directives::parse(text).unwrap().0
    }

    #[test]
    fn nobody_but_our_own_parts_logs_more_than_info() {
        assert_eq!(read("warn"), "warn");
        assert_eq!(read("info,token_service=TRACE,h2=info"), "info,token_service=trace,h2=info");
        let all = "info,carelink=debug,auth_service=debug,token_service=debug,audit_service=debug,gateway=debug,importer=debug";
        assert_eq!(read("debug"), all);
        assert_eq!(read(""), "");
        for foreign in ["h2=trace", "hyper=debug", "sqlx=trace,info"] {
            assert!(Directives::parse(foreign).unwrap_err().text().contains("no part of CareLink"), "{foreign}");
        }
        for wrong in ["loud", "a=b=c", "token_service=", "[span]=debug", "info;rm", &"info,".repeat(60)] {
            assert_eq!(Directives::parse(wrong).unwrap_err().reason(), Reason::InputInvalid, "{wrong}");
        }
    }

    #[test]
    fn a_change_lasts_a_week_at_most() {
        assert_eq!((lasting(0).unwrap(), lasting(5_000_000).unwrap()), (None, Some(Duration::from_secs(5))));
        assert!(lasting(-1).is_err() && lasting(i64::MAX).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_logged_changes_and_is_as_configured_again_after_a_while() {
        use tracing_subscriber::{Layer as _, layer::SubscriberExt as _};
        let layer = install(EnvFilter::new("warn"), "warn");
        let _here = tracing::subscriber::set_default(
            tracing_subscriber::registry().with(tracing_subscriber::fmt::layer().with_writer(std::io::sink).with_filter(layer)),
        );
        let logs = |level: &str| match level {
            "info" => tracing::enabled!(target: "token_service::rpc", tracing::Level::INFO),
            _ => tracing::enabled!(target: "token_service::rpc", tracing::Level::TRACE),
        };
        assert!(!logs("info"));
        let until = Timestamp::from_secs(60);
        let now = set_logging(&Directives::parse("token_service=trace").unwrap(), Some((until, Duration::from_secs(60)))).unwrap();
        assert_eq!(now, Logging { directives: "token_service=trace".into(), configured: "warn".into(), until: Some(until) });
        assert!(logs("trace"));
        assert!(!tracing::enabled!(target: "h2::codec", tracing::Level::TRACE));
        set_logging(&Directives::parse("info").unwrap(), Some((until, Duration::from_secs(120)))).unwrap();
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(logs("info") && !logs("trace"), "a change ends no later one");
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert!(!logs("info"));
        assert_eq!(logging().unwrap().directives, "warn");
        set_logging(&Directives::parse("debug").unwrap(), None).unwrap();
        assert_eq!(set_logging(&Directives::parse("").unwrap(), None).unwrap().directives, "warn");
    }
}
