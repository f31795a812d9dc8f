//! MariaDB, as many a Django keeps its tables in.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Server, command, directory, free_port, run, wait_until};

/// A server of one's own, whose `root` has no password; it ends with this value.
#[derive(Debug)]
pub struct Mariadb {
    server: Server,
    dir: TempDir,
    port: u16,
}

impl Mariadb {
    /// Starts one, unless it is not installed here.
    pub async fn start() -> Option<Self> {
        let Some(program) = program() else {
            println!("SKIPPED: no MariaDB here (Debian: mariadb-server)");
            return None;
        };
        let started = tokio::task::spawn_blocking(move || {
            let dir = directory();
            let data = format!("--datadir={}", dir.path().join("data").display());
            let mut install = command(Path::new("mariadb-install-db"));
            // Its temporary tables are named by its process: in a folder that all share, one takes away another's.
            let temporary = format!("--tmpdir={}", dir.path().display());
            install.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", &data, &temporary]);
            install.env("TMPDIR", dir.path());
            run(&mut install);
            loop {
                if let Some((server, port)) = try_start(&program, dir.path(), &data) {
                    return Self { server, dir, port };
                }
            }
        });
        Some(started.await.unwrap())
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The superuser's URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    /// Runs statements as the superuser; what they answer, fields separated by tabs. Panics where one fails.
    pub fn sql(&self, database: &str, text: &str) -> String {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--default-character-set=utf8mb4"]);
        client.arg(format!("--socket={}", self.dir.path().join("socket").display()));
        client.args([&format!("--execute={text}"), database]).stdin(Stdio::null());
        run(&mut client).trim_end().to_owned()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }
}

fn program() -> Option<PathBuf> {
    ["/usr/sbin/mariadbd", "/usr/bin/mariadbd"].map(PathBuf::from).into_iter().find(|path| path.is_file())
}

fn try_start(program: &Path, dir: &Path, data: &str) -> Option<(Server, u16)> {
    let (port, socket) = (free_port(), dir.join("socket"));
    let mut mariadb = command(program);
    mariadb.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", data]);
    mariadb.arg(format!("--tmpdir={}", dir.display()));
    mariadb.args([format!("--port={port}"), format!("--socket={}", socket.display()), format!("--pid-file={}", dir.join("pid").display())]);
    let server = Server::start(mariadb, &dir.join("log"), Signal::TERM);
    let mut answers = false;
    wait_until("MariaDB answers", || {
        let mut ping = Command::new("mariadb-admin");
        ping.args(["--no-defaults", "--user=root", "--silent", &format!("--socket={}", socket.display()), "ping"]);
        answers = ping.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success();
        answers || !server.is_running()
    });
    answers.then_some((server, port))
}
