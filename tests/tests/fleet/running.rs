//! `deploy/fleet/up` and `down`, as somebody runs them who has never seen the inside.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use carelink_tests::{
    PASSWORD, Said, claims,
    cli::{binary, clean, command, run},
    eventually,
    typed::end_fleet,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

/// A directory in which a fleet runs; it ends with the test.
struct Running(PathBuf);

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/fleet").join(name)
}

impl Running {
    fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = clean(Command::new(script(name)));
        command.arg("--dir").arg(&self.0).args(args).env("CARELINK_BIN", binary());
        command
    }

    async fn do_it(&self, name: &str, args: &[&str]) -> Said {
        timeout(Duration::from_secs(240), run(self.command(name, args), "")).await.expect("it does not return")
    }

    fn facts(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.join("fleet.json")).unwrap()).unwrap()
    }

    async fn carelink(&self, args: &[&str], stdin: &str) -> Said {
        let mut command = command();
        command.args(args).arg("--config").arg(self.facts()["config"].as_str().unwrap()).current_dir(&self.0);
        run(command, stdin).await
    }

    /// Asks through nginx, by TLS under the fleet's own CA.
    async fn ask(&self, path: &str, body: &Value) -> (u16, Value) {
        let facts = self.facts();
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--cacert",
            facts["ca"].as_str().unwrap(),
            "--write-out",
            "\n%{http_code}",
        ]);
        curl.args(["--header", "content-type: application/json", "--data", &body.to_string()]);
        curl.arg(format!("{}{path}", facts["nginx"].as_str().unwrap())).stdin(Stdio::null());
        let output = curl.output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').unwrap_or_default();
        (status.parse().unwrap_or_default(), serde_json::from_str(body).unwrap_or_default())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end_fleet(&self.0);
    }
}

fn runs(pid: i64) -> bool {
    test_kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()).is_ok()
}

#[tokio::test]
async fn the_fleet_of_one_command_signs_in_comes_back_and_ends() {
    let home = tempfile::tempdir().unwrap();
    let fleet = Running(home.path().join("fleet"));
    let said = fleet.do_it("up", &["--replicas", "2"]).await.ok();
    assert!(said.stdout.contains("ready: https://127.0.0.1:"), "{}", said.stdout);
    let facts = fleet.facts();
    let processes = facts["processes"].as_array().unwrap().clone();
    assert_eq!(processes.len(), 8, "{facts}");

    fleet.carelink(&["user", "add", "amina21", "--role", "nurse", "--password-stdin"], PASSWORD).await.ok();
    let (status, pair) = fleet.ask("/account/token/", &json!({"username": "amina21", "password": PASSWORD})).await;
    assert_eq!(status, 200, "{pair}");
    let listed = fleet.carelink(&["sessions", "list", "amina21", "--json"], "").await.json();
    assert_eq!(listed["sessions"].as_array().unwrap().len(), 1);

    // Whatever dies comes back, and meanwhile the others answer.
    let mut refresh = pair["refresh"].as_str().unwrap().to_owned();
    for service in ["gateway", "token-service"] {
        let process = processes.iter().find(|process| process["service"] == service).unwrap();
        let pid = process["pid"].as_i64().unwrap();
        kill_process(Pid::from_raw(i32::try_from(pid).unwrap()).unwrap(), Signal::KILL).unwrap();
        let next = eventually("somebody answers", async || {
            let (status, pair) = fleet.ask("/account/token/refresh/", &json!({"refresh": refresh})).await;
            assert_ne!(status, 401, "signed out: {pair}");
            (status == 200).then_some(pair)
        })
        .await;
        next["refresh"].as_str().unwrap().clone_into(&mut refresh);
        eventually(format!("{service} is there again"), async || {
            let again = fleet.facts()["processes"].as_array().unwrap().clone();
            let again = again
                .iter()
                .find(|other| other["service"] == process["service"] && other["replica"] == process["replica"])
                .unwrap()
                .clone();
            let ready = reqwest::get(format!("{}/readyz", again["ops"].as_str().unwrap())).await.is_ok_and(|answer| answer.status() == 200);
            (again["pid"] != process["pid"] && ready).then_some(())
        })
        .await;
    }
    assert_eq!(claims(&refresh)["sid"], claims(pair["refresh"].as_str().unwrap())["sid"]);
    let again = fleet.do_it("up", &[]).await.fails(1);
    assert!(again.contains("runs in") && again.contains("deploy/fleet/down"), "{again}");

    // It ends, keeps what it knew, and goes on with it.
    let pids: Vec<i64> = fleet.facts()["processes"].as_array().unwrap().iter().map(|process| process["pid"].as_i64().unwrap()).collect();
    fleet.do_it("down", &[]).await.ok();
    assert!(pids.iter().all(|pid| !runs(*pid)), "not everything has ended");
    assert!(!fleet.0.join("fleet.json").exists());
    fleet.do_it("down", &[]).await.ok();
    fleet.do_it("up", &["--replicas", "1"]).await.ok();
    let (status, pair) = fleet.ask("/account/token/refresh/", &json!({"refresh": refresh})).await;
    assert_eq!(status, 200, "{pair}");
    fleet.do_it("down", &[]).await.ok();
}

#[tokio::test]
async fn what_cannot_be_is_said_in_a_sentence() {
    let home = tempfile::tempdir().unwrap();
    let fleet = Running(home.path().join("fleet"));
    assert!(fleet.do_it("up", &["--replicas", "0"]).await.fails(1).contains("a number from 1 to 99"));
    assert!(fleet.do_it("up", &["--what"]).await.fails(2).starts_with("usage: deploy/fleet/up"));
    assert!(fleet.do_it("down", &[]).await.fails(1).contains("no fleet was started in"));
    let odd = Running(home.path().join("a fleet"));
    assert!(odd.do_it("up", &[]).await.fails(1).contains("choose a --dir of letters"));
    // Where nothing is installed, the packages are named.
    let tools = home.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    for tool in ["bash", "dirname", "sort", "tr", "env"] {
        let from = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(tool)).into_iter().find(|path| path.exists()).unwrap();
        std::os::unix::fs::symlink(from, tools.join(tool)).unwrap();
    }
    let mut bare = fleet.command("up", &[]);
    bare.env("PATH", &tools);
    let said = run(bare, "").await.fails(1);
    assert!(said.contains("apt-get install") && said.contains("supervisor") && said.contains("redis-server"), "{said}");
}
