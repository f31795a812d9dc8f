//! A real browser: Chromium without a window, told what to do over WebDriver.
//!
//! It is the browser that decides here what a page may send and read; a test only says where it goes and what its scripts do.

use std::{path::Path, process::Stdio};

use http::Method;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{Http, cli::clean, wait::PATIENCE};

/// Where Debian has them.
const DRIVER: &str = "/usr/bin/chromedriver";
const CHROMIUM: &str = "/usr/bin/chromium";
/// What every element is called in an answer of WebDriver.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with a profile of its own; it ends with this value.
#[derive(Debug)]
pub struct Browser {
    http: Http,
    session: String,
    pid: Option<Pid>,
    _driver: Child,
    _home: TempDir,
}

impl Browser {
    /// Starts one, unless there is none here.
    pub async fn start() -> Option<Self> {
        if ![DRIVER, CHROMIUM].iter().all(|program| Path::new(program).exists()) {
            println!("SKIPPED: no browser here (Debian: chromium, chromium-driver)");
            return None;
        }
        Some(Self::launch().await)
    }

    async fn launch() -> Self {
        let home = tempfile::Builder::new().prefix("carelink-browser-").tempdir().unwrap();
        let mut command = clean(Command::new(DRIVER));
        command.arg("--port=0").env("HOME", home.path()).env("XDG_CONFIG_HOME", home.path()).env("XDG_CACHE_HOME", home.path());
        let mut driver = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = timeout(PATIENCE * 2, async {
            loop {
                let line = said.next_line().await.unwrap().expect("chromedriver ended");
                if let Some((_, port)) = line.split_once("started successfully on port ") {
                    break port.trim_end_matches('.').parse::<u16>().unwrap();
                }
            }
        })
        .await
        .expect("chromedriver does not start");
        tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });

        let profile = format!("--user-data-dir={}", home.path().join("profile").display());
        let mut args = vec!["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", &profile];
        args.push("--disable-features=HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,Translate");
        // Whatever a page names is this machine: sites that are not one another's, without a name server.
        args.push("--host-resolver-rules=MAP *.example 127.0.0.1");
        if geteuid().is_root() {
            args.push("--no-sandbox");
        }
        let options = json!({"binary": CHROMIUM, "args": args});
        let wanted = json!({"capabilities": {"alwaysMatch": {"acceptInsecureCerts": true, "goog:chromeOptions": options}}});
        let http = Http::default();
        let (base, headers) = (format!("http://127.0.0.1:{port}/session"), [("content-type", "application/json")]);
        let answer = http.ask(Method::POST, &base, &headers, wanted.to_string()).await.unwrap().expect(200).json();
        let session = format!("{base}/{}", answer["value"]["sessionId"].as_str().unwrap());
        let pid = answer["value"]["capabilities"]["goog:processID"].as_i64().and_then(|pid| Pid::from_raw(pid.try_into().unwrap()));
        Self { http, session, pid, _driver: driver, _home: home }
    }

    async fn tell(&self, method: Method, what: &str, body: &Value) -> Value {
        let body = if method == Method::POST { body.to_string() } else { String::new() };
        let answer = self.http.ask(method, &format!("{}/{what}", self.session), &[("content-type", "application/json")], body).await;
        answer.unwrap().expect(200).json()["value"].take()
    }

    /// Goes to a page and waits until it is there.
    pub async fn open(&self, url: &str) {
        self.tell(Method::POST, "url", &json!({"url": url})).await;
    }

    /// Where it is.
    pub async fn url(&self) -> String {
        self.tell(Method::GET, "url", &Value::Null).await.as_str().unwrap().to_owned()
    }

    /// Runs the body of an async function in the page, with `args`; gives what it returns, or the error that it throws as text.
    pub async fn run(&self, body: &str, args: &[Value]) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
            (async (...args) => {{ {body} }})(...arguments).then(done, error => done(String(error)));"
        );
        self.tell(Method::POST, "execute/async", &json!({"script": script, "args": args})).await
    }

    /// What the page's scripts may not see either: the cookies of where it is, each with its attributes.
    pub async fn cookies(&self) -> Vec<Value> {
        self.tell(Method::GET, "cookie", &Value::Null).await.as_array().unwrap().clone()
    }

    /// Clicks the first element that a CSS selector finds, as a person would.
    pub async fn click(&self, selector: &str) {
        let found = self.tell(Method::POST, "element", &json!({"using": "css selector", "value": selector})).await;
        self.tell(Method::POST, &format!("element/{}/click", found[ELEMENT].as_str().unwrap()), &json!({})).await;
    }

    /// The text that the page shows.
    pub async fn text(&self) -> String {
        self.run("return document.body.innerText", &[]).await.as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver alone would leave it running.
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, Signal::KILL); // it may have ended
        }
    }
}
