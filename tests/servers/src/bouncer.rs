//! pgbouncer in transaction mode, as Debian has it: it keeps no prepared statements and refuses startup options.

use std::{fmt::Write as _, fs, net::TcpStream, path::PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    Postgres, TestDatabase,
    process::{Server, command, directory, free_port, give, wait_until},
};

const ROLES: [&str; 3] = ["auth", "token", "audit"];

/// A pooler in front of a cluster; it ends with this value.
#[derive(Debug)]
pub struct Pgbouncer {
    server: Server,
    _dir: TempDir,
    port: u16,
}

impl Pgbouncer {
    /// Starts one that keeps `connections` to the cluster at most, per role and database.
    pub async fn start(cluster: &Postgres, connections: u32) -> Self {
        let address = cluster.address();
        tokio::task::spawn_blocking(move || {
            loop {
                if let Some(bouncer) = Self::try_start(&address, connections) {
                    return bouncer;
                }
            }
        })
        .await
        .unwrap()
    }

    /// A role's URL of a database, through the pooler.
    pub fn url(&self, role: &str, database: &TestDatabase) -> String {
        format!("postgres://{role}@127.0.0.1:{}/{}", self.port, database.name())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.server.pid()
    }

    fn try_start((host, to): &(String, u16), connections: u32) -> Option<Self> {
        let (dir, port) = (directory(), free_port());
        let users = dir.path().join("users.txt");
        let listed = ROLES.iter().flat_map(|role| [format!("\"carelink_{role}\" \"\"\n"), format!("\"carelink_{role}_owner\" \"\"\n")]);
        fs::write(&users, listed.chain(["\"postgres\" \"\"\n".to_owned()]).collect::<String>()).unwrap();
        let mut ini = format!("[databases]\n* = host={host} port={to}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n");
        write!(ini, "unix_socket_dir = {}\nauth_type = trust\nauth_file = {}\n", dir.path().display(), users.display()).unwrap();
        write!(ini, "pool_mode = transaction\ndefault_pool_size = {connections}\nmax_client_conn = 500\n").unwrap();
        let file = dir.path().join("pgbouncer.ini");
        fs::write(&file, ini).unwrap();
        give(&users);
        give(&file);
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(PathBuf::from).into_iter().find(|path| path.is_file());
        let mut bouncer = command(&program.expect("pgbouncer is not installed"));
        bouncer.arg(&file);
        let server = Server::start(bouncer, &dir.path().join("log"), Signal::QUIT);
        let socket = dir.path().join(format!(".s.PGSQL.{port}"));
        wait_until("pgbouncer listens", || !server.is_running() || (socket.exists() && TcpStream::connect(("127.0.0.1", port)).is_ok()));
        server.is_running().then_some(Self { server, _dir: dir, port })
    }
}
