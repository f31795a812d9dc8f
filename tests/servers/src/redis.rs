//! Redis, to be killed, stalled and restarted.

use std::{path::Path, process::Command, sync::Mutex};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Server, command, directory, free_port, wait_until};

/// A Redis server that keeps nothing on disk; it ends with this value.
#[derive(Debug)]
pub struct Redis {
    server: Mutex<Option<Server>>,
    dir: TempDir,
    port: u16,
    more: Vec<String>,
}

impl Redis {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with further arguments: `--cluster-enabled yes`.
    pub async fn start_with(more: &[&str]) -> Self {
        let more = more.iter().map(|&word| word.to_owned()).collect();
        tokio::task::spawn_blocking(move || {
            let mut redis = Self { server: Mutex::new(None), dir: directory(), port: free_port(), more };
            while !redis.try_start() {
                redis.port = free_port(); // somebody else was faster
            }
            redis
        })
        .await
        .unwrap()
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once; what it held is gone.
    pub fn kill(&self) {
        if let Some(server) = self.server.lock().unwrap().take() {
            server.signal(Signal::KILL);
            server.wait();
        }
    }

    /// Starts it again, empty, on the same port.
    pub fn restart(&self) {
        self.kill();
        wait_until("Redis runs again", || self.try_start());
    }

    /// Lets it stand still; connections stay open and nobody answers.
    pub fn stall(&self) {
        self.signal(Signal::STOP);
    }

    /// Goes on after [`Self::stall`].
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        if let Some(server) = self.server.lock().unwrap().as_ref() {
            server.signal(signal);
        }
    }

    fn try_start(&self) -> bool {
        let socket = self.dir.path().join("socket");
        let mut redis = command(Path::new("redis-server"));
        redis.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"]);
        redis.arg("--dir").arg(self.dir.path()).arg("--unixsocket").arg(&socket).args(&self.more);
        let server = Server::start(redis, &self.dir.path().join("log"), Signal::KILL);
        let mut answers = false;
        wait_until("Redis answers", || {
            let ping = Command::new("redis-cli").arg("-s").arg(&socket).arg("ping").output().unwrap();
            answers = ping.stdout.starts_with(b"PONG");
            answers || !server.is_running()
        });
        if answers {
            *self.server.lock().unwrap() = Some(server);
        }
        answers
    }
}
