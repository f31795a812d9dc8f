//! The command line beside a running CareLink.

use std::{path::PathBuf, process::Stdio};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

/// The binary under test: `CARELINK_BIN`, else the one that was built beside this test.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CARELINK_BIN") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().unwrap();
    let path = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder }.join("carelink");
    assert!(path.is_file(), "{} is not there: run `cargo build` first, as tests/run does", path.display());
    path
}

/// A service's binary, beside that of [`binary`].
pub fn binary_of(service: &str) -> PathBuf {
    let path = binary().with_file_name(service);
    assert!(path.is_file(), "{} is not there: run `cargo build --workspace --bins` first, as tests/run does", path.display());
    path
}

/// A run of the binary whose configuration comes from nowhere but the test.
pub fn command() -> Command {
    clean(Command::new(binary()))
}

/// Takes from a command's environment whatever would configure CareLink.
pub fn clean(mut command: Command) -> Command {
    let ours = |name: &str| name.starts_with("CARELINK_") || ["DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS", "SUDO_USER"].contains(&name);
    for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1").stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Said {
    /// Its exit status; none where a signal ended it.
    pub exit: Option<i32>,
    /// What scripts read.
    pub stdout: String,
    /// What people read besides.
    pub stderr: String,
}

impl Said {
    /// It must have worked.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert_eq!(self.exit, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// It must have failed like this; gives what it said about it.
    #[track_caller]
    pub fn fails(self, exit: i32) -> String {
        assert_eq!(self.exit, Some(exit), "{}{}", self.stdout, self.stderr);
        self.stderr
    }

    /// The one document of `--json`.
    #[track_caller]
    pub fn json(self) -> Value {
        let said = self.ok();
        serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {}", said.stdout))
    }
}

/// Runs a command to its end.
pub async fn run(mut command: Command, stdin: &str) -> Said {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let _ = input.write_all(stdin.as_bytes()).await; // who does not read does not ask
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { exit: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}
