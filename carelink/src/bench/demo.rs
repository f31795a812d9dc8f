//! A demo for as long as it is measured: `carelink up --demo` in a process of its own.

use std::{process::Stdio, time::Duration};

use carelink_platform::secrets::SecretString;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
    time::timeout,
};

use crate::error::failed;

/// How long it may take to start, and to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running demo, and somebody in it.
pub(super) struct Demo {
    child: Child,
    pub(super) url: String,
    pub(super) username: String,
    pub(super) password: SecretString,
}

impl Demo {
    /// Starts one on free ports and reads what it announces.
    pub(super) async fn start() -> anyhow::Result<Self> {
        let own = |error: std::io::Error| failed("demo", format!("the demo cannot be started: {error}"));
        let mut command = Command::new(std::env::current_exe().map_err(own)?);
        // No setting of this machine's is the demo's, and nothing that a variable names is its database.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARELINK_") || ["DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS"].contains(&&*name) {
                command.env_remove(&*name);
            }
        }
        command.args(["up", "--demo", "--json", "--port", "0", "--ops-port", "0"]).env("CARELINK_TELEMETRY__LOG", "error");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().map_err(own)?;
        let mut out = child.stdout.take().ok_or_else(|| failed("demo", "the demo says nothing"))?;
        let announced = async {
            let mut text = Vec::new();
            loop {
                let mut some = [0; 4096];
                let read = out.read(&mut some).await.map_err(own)?;
                text.extend_from_slice(some.get(..read).unwrap_or_default());
                if let Ok(said) = serde_json::from_slice::<Value>(&text) {
                    return Ok(said);
                }
                if read == 0 {
                    return Err(failed("demo", "the demo did not start; see what it says by itself: carelink up --demo"));
                }
            }
        };
        let said = timeout(PATIENCE, announced).await.map_err(|_| failed("demo", "the demo did not start in time"))??;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let somebody = said.get("people").and_then(|people| people.get(0));
        Ok(Self {
            child,
            url: text(said.get("url")),
            username: text(somebody.and_then(|person| person.get("username"))),
            password: SecretString::from(text(somebody.and_then(|person| person.get("password")))),
        })
    }

    /// Ends it; its directory goes with it.
    pub(super) async fn stop(mut self) {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM); // else it is killed when dropped
        }
        let _ = timeout(PATIENCE, self.child.wait()).await; // the same
    }
}
