//! A server as a child: its user, its port, its end.
#![allow(clippy::disallowed_methods)] // nobody's runtime is here to wait with

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// How long a server may take to start or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// The user as whom servers run that refuse root.
const USER: &str = "postgres";

/// A directory that the server's user may use.
pub(crate) fn directory() -> TempDir {
    let dir = tempfile::Builder::new().prefix("carelink-test-").tempdir().unwrap();
    give(dir.path());
    dir
}

/// Makes a path the server's user's own.
pub(crate) fn give(path: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|line| line.starts_with(&format!("{USER}:"))).expect("root needs the user postgres, as Debian makes it");
    let mut fields = line.split(':').skip(2).map(|id| id.parse().unwrap());
    chown(path, fields.next(), fields.next()).unwrap();
}

/// A command that is not run as root.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = if geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", USER, "--init-groups", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Runs to the end, or panics with what it said.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks until it is so, or as long as a server may take.
pub(crate) fn wait_until(what: &str, mut ask: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !ask() {
        assert!(Instant::now() < end, "after {PATIENCE:?} still not: {what}");
        thread::sleep(PAUSE);
    }
}

/// A running server. It ends when this is dropped, and when this process is gone.
#[derive(Debug)]
pub(crate) struct Server {
    child: Mutex<Child>,
    guard: Child,
    pid: Pid,
    end: Signal,
}

impl Server {
    /// Starts it, writing what it says into a file; `end` is the signal that ends it soon.
    pub(crate) fn start(mut command: Command, log: &Path, end: Signal) -> Self {
        let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let pid = Pid::from_child(&child);
        // Reads from a pipe that this process holds open as long as it lives, and then ends the server.
        let script = r#"read -r _; kill -s "$1" "$2"; kill -s CONT "$2""#;
        let mut guard = Command::new("sh");
        guard.args(["-c", script, "guard", &end.as_raw().to_string(), &pid.as_raw_nonzero().to_string()]);
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self { child: Mutex::new(child), guard: guard.spawn().unwrap(), pid, end }
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.child.lock().unwrap().try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid, signal); // it may have ended
    }

    /// Sends a signal to it and to its children.
    pub(crate) fn signal_all(&self, signal: Signal) {
        self.signal(signal);
        for child in self.children() {
            let _ = kill_process(child, signal); // it may have ended
        }
    }

    /// Waits for its end.
    pub(crate) fn wait(&self) {
        wait_until("the server has ended", || !self.is_running());
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.lock().unwrap().id()
    }

    fn children(&self) -> Vec<Pid> {
        let task = PathBuf::from(format!("/proc/{0}/task/{0}/children", self.pid.as_raw_nonzero()));
        let children = fs::read_to_string(task).unwrap_or_default();
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.guard.kill(); // before the pid can be anybody else's
        let _ = self.guard.wait();
        self.signal_all(Signal::CONT);
        self.signal(self.end);
        if let Ok(mut child) = self.child.lock() {
            let end = Instant::now() + PATIENCE;
            while matches!(child.try_wait(), Ok(None)) {
                if Instant::now() > end {
                    let _ = child.kill(); // it was asked
                }
                thread::sleep(PAUSE);
            }
        }
    }
}
