//! nginx, as many a house has it in front.

use std::{fs, path::Path};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Server, command, directory, free_port, give, wait_until};

/// A running nginx; it ends with this value.
#[derive(Debug)]
pub struct Nginx {
    server: Server,
    dir: TempDir,
    port: u16,
}

impl Nginx {
    /// Starts one with what is said inside of `http { }`, made of the port that it is to listen at on 127.0.0.1 and of its directory.
    pub async fn start(http: impl Fn(u16, &Path) -> String + Send + 'static) -> Self {
        tokio::task::spawn_blocking(move || {
            loop {
                if let Some(nginx) = Self::try_start(&http) {
                    return nginx;
                }
            }
        })
        .await
        .unwrap()
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its directory: what the configuration names without a path is there.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn try_start(http: impl Fn(u16, &Path) -> String) -> Option<Self> {
        let (dir, port) = (directory(), free_port());
        let at = dir.path().display();
        let temporary: String =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|kind| format!("{kind}_temp_path {at}/{kind};\n")).concat();
        let text = format!(
            "daemon off;\nmaster_process off;\npid {at}/pid;\nerror_log stderr warn;\nevents {{ }}\n\
             http {{\naccess_log off;\n{temporary}{}\n}}\n",
            http(port, dir.path())
        );
        let file = dir.path().join("nginx.conf");
        fs::write(&file, text).unwrap();
        give(&file);
        let program = ["/usr/sbin/nginx", "/usr/bin/nginx"].map(Path::new).into_iter().find(|path| path.is_file());
        let mut nginx = command(program.expect("nginx is not installed"));
        nginx.args(["-e", "stderr", "-p"]).arg(dir.path()).arg("-c").arg(&file);
        let server = Server::start(nginx, &dir.path().join("log"), Signal::TERM);
        // It writes that file once it listens.
        let listens = dir.path().join("pid");
        wait_until("nginx listens", || !server.is_running() || fs::read(&listens).is_ok_and(|pid| !pid.is_empty()));
        let nginx = Self { server, dir, port };
        if nginx.server.is_running() {
            return Some(nginx);
        }
        assert!(nginx.log().contains("Address already in use"), "nginx does not start: {}", nginx.log());
        None
    }
}
