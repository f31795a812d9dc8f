//! Shells in a directory of their own, with the binaries in reach.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{self, Stdio},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use super::root;
use crate::{
    cli,
    wait::{PATIENCE, eventually},
};

/// Where pages find the binaries once they are built.
const BINARIES: &str = "target/release";
/// Ends what a command printed.
const MARK: &str = "--8<--";
/// What `cargo` and `carelink` are in the shell of the test: the binary that was built, on ports of its own. `up` takes the shell's
/// place: a shell between it and ^C may report the interrupt instead of how `up` ended.
const PRELUDE: &str = r#"
carelink() { if [ "$1" = up ]; then exec carelink "$@" --port 0 --ops-port 0 2>>up.log; else command carelink "$@"; fi; }
cargo() { if [ "$1" = build ]; then return; fi; while [ "$1" != -- ]; do shift; done; shift; carelink "$@"; }
"#;

/// Where the commands run: an empty directory with the fixtures and the binaries in reach. A fleet that is still up ends with it.
pub struct Place {
    home: TempDir,
    /// Where pages say that something listens, and where it does.
    ports: BTreeMap<u16, u16>,
}

/// Where pages say that they are typed.
const SHOWN: &str = "/srv";
/// What a line that names an address begins with, and the port that pages have for it.
const ADDRESSES: [(&str, u16); 3] = [("listening on ", 8000), ("health and metrics on ", 9000), ("ready: https://", 8443)];

#[allow(clippy::new_without_default)] // a directory is made: no default
impl Place {
    /// An empty directory.
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("carelink-typed-").tempdir().unwrap();
        fs::create_dir_all(home.path().join(BINARIES)).unwrap();
        for name in ["carelink", "gateway", "auth-service", "token-service", "audit-service"] {
            std::os::unix::fs::symlink(cli::binary().with_file_name(name), home.path().join(BINARIES).join(name)).unwrap();
        }
        for folder in ["tests", "deploy"] {
            std::os::unix::fs::symlink(root().join(folder), home.path().join(folder)).unwrap();
        }
        Self { home, ports: BTreeMap::new() }
    }

    fn shell(&self, program: &str, args: &[&str]) -> Shell {
        let mut command = Command::new(program);
        let ours =
            |name: &str| name.starts_with("CARELINK_") || ["DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS", "SUDO_USER"].contains(&name);
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        let path = format!("{}:{}", self.home.path().join(BINARIES).display(), std::env::var("PATH").unwrap());
        command.args(args).current_dir(self.home.path()).env("NO_COLOR", "1").env("PATH", path).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (input, lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        Shell { child, input, lines }
    }

    /// A shell that takes one command after the other.
    pub async fn prompt(&self) -> Shell {
        let mut shell = self.shell("bash", &["--noprofile", "--norc"]);
        shell.input.write_all(format!("exec 2>&1\n{PRELUDE}").as_bytes()).await.unwrap();
        shell
    }

    /// A terminal in which one command runs on.
    pub fn terminal(&self, command: &str) -> Shell {
        let script = self.home.path().join("terminal.sh");
        fs::write(&script, format!("{PRELUDE}\n{command}\n")).unwrap();
        self.shell("script", &["-qefc", "exec bash terminal.sh", "/dev/null"])
    }

    /// The ports of the page become those in use.
    pub(super) fn to_real(&self, command: &str) -> String {
        let replaced = |text: String, (shown, real): (&u16, &u16)| text.replace(&format!(":{shown}"), &format!(":{real}"));
        self.ports.iter().fold(command.to_owned(), replaced)
    }

    /// The ports in use become those of the page, and so does the directory.
    pub(super) fn to_shown(&self, line: &str) -> String {
        let replaced = |text: String, (shown, real): (&u16, &u16)| text.replace(&format!(":{real}"), &format!(":{shown}"));
        self.ports.iter().fold(line.replace(&self.home.path().display().to_string(), SHOWN), replaced)
    }

    /// Waits until no event of the data directory is on its way to the trail.
    pub(super) async fn delivered(&self) {
        if !self.home.path().join("carelink-data").exists() {
            return;
        }
        eventually("all events are in the trail", async || {
            let waiting = ["auth", "token"].map(|service| {
                let path = self.home.path().join(format!("carelink-data/{service}.sqlite3"));
                let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
                database.query_row("SELECT count(*) FROM outbox", [], |row| row.get::<_, u32>(0)).unwrap()
            });
            (waiting == [0, 0]).then_some(())
        })
        .await;
    }

    /// Takes note of a line that says where something listens.
    pub fn heard(&mut self, line: &str) {
        for (begins, shown) in ADDRESSES {
            let address = line.strip_prefix(begins).and_then(|rest| rest.trim().split(' ').next());
            if let Some(real) = address.and_then(|address| address.rsplit(':').next()).and_then(|port| port.parse().ok()) {
                self.ports.insert(shown, real);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let entries = fs::read_dir(self.home.path()).into_iter().flatten().flatten();
        for fleet in entries.map(|entry| entry.path()).filter(|path| path.join("etc/supervisord.conf").exists()) {
            end_fleet(&fleet);
        }
    }
}

/// Ends what `deploy/fleet/up` started in a directory, if it still runs, and takes away what it had to keep elsewhere.
pub fn end_fleet(directory: &Path) {
    let _ = process::Command::new(root().join("deploy/fleet/down")).arg("--dir").arg(directory).output(); // it may be down
    if let Ok(elsewhere) = fs::read_link(directory.join("postgres")) {
        let _ = fs::remove_dir_all(elsewhere); // the machine's to clean up else
    }
}

/// A process that is typed to.
pub struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    /// The next line, if one comes in time.
    pub async fn line(&mut self, within: Duration) -> Option<String> {
        let line = timeout(within, self.lines.next_line()).await.ok()?.unwrap()?;
        Some(line.trim_end_matches('\r').to_owned())
    }

    /// Types a command and returns what it printed. It must succeed.
    pub async fn types(&mut self, command: &str) -> Vec<String> {
        self.input.write_all(format!("{command}\nprintf '%s %s\\n' '{MARK}' $?\n").as_bytes()).await.unwrap();
        let mut printed = Vec::new();
        loop {
            let line = self.line(6 * PATIENCE).await.unwrap_or_else(|| panic!("`{command}` has not ended; so far {printed:#?}"));
            match line.split_once(MARK) {
                None => printed.push(line),
                Some((rest, status)) => {
                    printed.extend(Some(rest.to_owned()).filter(|rest| !rest.is_empty()));
                    assert_eq!(status.trim(), "0", "`{command}`: {printed:#?}");
                    return printed;
                }
            }
        }
    }

    /// Presses ^C and waits for a clean end.
    pub async fn interrupt(mut self) {
        self.input.write_all(b"\x03").await.unwrap();
        let status = timeout(PATIENCE, async {
            while let Ok(Some(_)) = self.lines.next_line().await {}
            self.child.wait().await.unwrap()
        });
        assert_eq!(status.await.expect("it ends when interrupted").code(), Some(0));
    }
}
