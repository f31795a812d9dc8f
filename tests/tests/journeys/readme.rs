//! What the pages say to type is typed here, in a shell, against the real binary; what they show is compared with what it answers.
//!
//! A fenced block `console` holds commands after `$ ` and below each what it prints. Ids, times, tokens, passwords and ports are
//! masked on both sides; a line `...` stands for any lines, `^C` is pressed. `up` gets a terminal of its own and goes on running.
//! `UPDATE_DOCS=1` writes the answers into README.md instead.

use std::{
    collections::VecDeque,
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use carelink_tests::{cli, eventually, wait::PATIENCE};
use rusqlite::{Connection, OpenFlags};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::timeout,
};

use crate::docs::{root, updating};

/// Ends what a command printed.
const MARK: &str = "--8<--";
/// How the throw-away directory of a demo begins; six letters follow.
const DEMO: &str = "/carelink-demo-";
/// Nothing more comes after so long.
const QUIET: Duration = Duration::from_secs(2);
/// What `cargo` and `carelink` are in the shell of the test: the binary that was built, on ports of its own. `up` takes the shell's
/// place: a shell between it and ^C may report the interrupt instead of how `up` ended.
const PRELUDE: &str = r#"
carelink() { if [ "$1" = up ]; then exec carelink "$@" --port 0 --ops-port 0 2>>up.log; else command carelink "$@"; fi; }
cargo() { if [ "$1" = build ]; then return; fi; while [ "$1" != -- ]; do shift; done; shift; carelink "$@"; }
"#;

/// A command of the page, and what it is said to print: the lines from `begin` to `end`.
struct Step {
    command: String,
    expected: Vec<String>,
    begin: usize,
    end: usize,
}

impl Step {
    fn all(page: &[&str]) -> Vec<Self> {
        let (mut steps, mut inside, mut at): (Vec<Self>, bool, usize) = (Vec::new(), false, 0);
        while let Some(line) = page.get(at) {
            at += 1;
            if line.starts_with("```") {
                inside = *line == "```console";
            } else if let (true, Some(first)) = (inside, line.strip_prefix("$ ")) {
                let mut command = first.to_owned();
                while command.ends_with('\\') {
                    command = format!("{command}\n{}", page[at]);
                    at += 1;
                }
                steps.push(Self { command, expected: Vec::new(), begin: at, end: at });
            } else if let (true, Some(step)) = (inside, steps.last_mut()) {
                step.expected.push((*line).to_owned());
                step.end = at;
            }
        }
        steps
    }

    fn is_up(&self) -> bool {
        self.command.split_whitespace().any(|word| word == "up")
    }

    /// Shows what may come a moment after an answer: a hash is replaced then.
    fn may_take_a_moment(&self) -> bool {
        self.command.starts_with("carelink user show")
    }

    fn reads_the_trail(&self) -> bool {
        self.command.starts_with("carelink audit list")
    }
}

/// Where the commands run: an empty directory with the fixtures and the binary in reach.
struct Place {
    home: TempDir,
    /// Where the last `up` listens, and its ops port.
    ports: (u16, u16),
}

impl Place {
    fn new() -> Self {
        let home = tempfile::Builder::new().prefix("carelink-readme-").tempdir().unwrap();
        fs::create_dir(home.path().join("bin")).unwrap();
        std::os::unix::fs::symlink(cli::binary(), home.path().join("bin/carelink")).unwrap();
        std::os::unix::fs::symlink(root().join("tests"), home.path().join("tests")).unwrap();
        Self { home, ports: (8000, 9000) }
    }

    fn shell(&self, program: &str, args: &[&str]) -> Shell {
        let mut command = Command::new(program);
        let ours =
            |name: &str| name.starts_with("CARELINK_") || ["DATABASE_URL", "REDIS_URL", "ALLOWED_HOSTS", "SUDO_USER"].contains(&name);
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        let path = format!("{}:{}", self.home.path().join("bin").display(), std::env::var("PATH").unwrap());
        command.args(args).current_dir(self.home.path()).env("NO_COLOR", "1").env("PATH", path).kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (input, lines) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()).lines());
        Shell { child, input, lines }
    }

    /// A shell that takes one command after the other.
    async fn prompt(&self) -> Shell {
        let mut shell = self.shell("bash", &["--noprofile", "--norc"]);
        shell.input.write_all(format!("exec 2>&1\n{PRELUDE}").as_bytes()).await.unwrap();
        shell
    }

    /// A terminal in which one command runs on.
    fn terminal(&self, command: &str) -> Shell {
        let script = self.home.path().join("terminal.sh");
        fs::write(&script, format!("{PRELUDE}\n{command}\n")).unwrap();
        self.shell("script", &["-qefc", "bash terminal.sh", "/dev/null"])
    }

    /// The ports of the page become those in use, or the other way round.
    fn to_real(&self, command: &str) -> String {
        command.replace(":8000", &format!(":{}", self.ports.0)).replace(":9000", &format!(":{}", self.ports.1))
    }

    fn to_shown(&self, line: &str) -> String {
        line.replace(&format!(":{}", self.ports.0), ":8000").replace(&format!(":{}", self.ports.1), ":9000")
    }

    /// Waits until no event is on its way to the trail.
    async fn delivered(&self) {
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

    fn heard(&mut self, line: &str) {
        let port = |line: &str| line.rsplit(':').next().and_then(|port| port.trim_end().parse().ok());
        match (line.starts_with("listening on "), line.starts_with("health and metrics on "), port(line)) {
            (true, _, Some(port)) => self.ports.0 = port,
            (_, true, Some(port)) => self.ports.1 = port,
            _ => {}
        }
    }
}

/// A process that is typed to.
struct Shell {
    child: Child,
    input: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Shell {
    async fn line(&mut self, within: Duration) -> Option<String> {
        let line = timeout(within, self.lines.next_line()).await.ok()?.unwrap()?;
        Some(line.trim_end_matches('\r').to_owned())
    }

    /// Types a command and returns what it printed. It must succeed.
    async fn types(&mut self, command: &str) -> Vec<String> {
        self.input.write_all(format!("{command}\nprintf '%s %s\\n' '{MARK}' $?\n").as_bytes()).await.unwrap();
        let mut printed = Vec::new();
        loop {
            let line = self.line(PATIENCE).await.unwrap_or_else(|| panic!("`{command}` has not ended; so far {printed:#?}"));
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
    async fn interrupt(mut self) {
        self.input.write_all(b"\x03").await.unwrap();
        let status = timeout(PATIENCE, async {
            while let Ok(Some(_)) = self.lines.next_line().await {}
            self.child.wait().await.unwrap()
        });
        assert_eq!(status.await.expect("it ends when interrupted").code(), Some(0));
    }
}

/// What is the same in every run: ids, times, tokens and the like by their kind.
fn mask(line: &str) -> String {
    let (line, secret) =
        line.split_once("one-time password (24 hours): ").map_or((line, ""), |(before, _)| (before, "one-time password <secret>"));
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '…');
    let mut words = Vec::new();
    let mut word = String::new();
    for c in line.chars().chain(['\n']) {
        if part(c) {
            word.push(c);
            continue;
        }
        words.push(mask_word(&std::mem::take(&mut word)).to_owned());
        words.push(c.to_string());
    }
    let line = words.concat().split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ") + secret;
    match line.split_once(' ') {
        Some((first, rest)) if first.parse::<u64>().is_ok() => format!("<n> {rest}"), // an index of the trail
        _ => line,
    }
}

fn mask_word(word: &str) -> &str {
    let bytes = word.as_bytes();
    let hyphens = |at: &[usize]| at.iter().all(|at| bytes.get(*at) == Some(&b'-'));
    match word.len() {
        _ if word.starts_with("eyJ") => "<token>",
        36 if hyphens(&[8, 13, 18, 23]) => "<id>",
        20.. if word.ends_with('Z') && hyphens(&[4, 7]) && bytes.get(10) == Some(&b'T') => "<time>",
        32 if word.bytes().all(|b| b.is_ascii_hexdigit()) => "<id>",
        _ if word.starts_with("uid:") => "<operator>",
        _ if word.contains(DEMO) => "<demo>",
        _ => word,
    }
}

/// As it is written into the page: tokens cut short, and nothing of the machine it ran on.
fn presentable(line: &str) -> String {
    let mut shown = String::new();
    let mut rest = line;
    while let Some((before, from)) = rest.find("eyJ").map(|at| rest.split_at(at)) {
        let end = from.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-' | '.')).unwrap_or(from.len());
        shown = format!("{shown}{before}{}…", &from[..end.min(24)]);
        rest = &from[end..];
    }
    let line = shown + rest;
    let line = match line.find(DEMO) {
        None => line,
        Some(at) => {
            let begin = line[..at].rfind(' ').map_or(0, |blank| blank + 1);
            format!("{}/tmp{DEMO}4F8yPd{}", &line[..begin], &line[at + DEMO.len() + 6..])
        }
    };
    line.replace("uid:0   ", "uid:1000").trim_end().to_owned()
}

/// Whether what was printed is what the page shows. The trail promises an order within a session only.
fn agrees(step: &Step, expected: &[String], printed: &[String]) -> bool {
    if step.reads_the_trail() {
        let sorted = |lines: &[String]| {
            let mut lines: Vec<String> = lines.iter().map(|line| mask(line)).collect();
            lines.sort();
            lines
        };
        return sorted(expected) == sorted(printed);
    }
    let of_machines_with_ipv6 = |line: &&String| !line.trim_start().starts_with("and http://[::1]");
    let expected: VecDeque<String> = expected.iter().filter(of_machines_with_ipv6).map(|line| mask(line)).collect();
    let printed: VecDeque<String> = printed.iter().filter(of_machines_with_ipv6).map(|line| mask(line)).collect();
    let Some(gap) = expected.iter().position(|line| line == "...") else { return expected == printed };
    let (begins, ends) = (expected.range(..gap), expected.range(gap + 1..));
    let long_enough = printed.len() >= begins.len() + ends.len();
    long_enough && begins.eq(printed.range(..gap)) && ends.clone().eq(printed.range(printed.len() - ends.len()..))
}

/// What was printed, cut where the page cuts.
fn cut(expected: &[String], printed: Vec<String>) -> Vec<String> {
    let Some(gap) = expected.iter().position(|line| line == "...") else { return printed };
    let ends = expected.len() - gap - 1;
    let mut shown = printed[..gap.min(printed.len())].to_vec();
    shown.push("...".to_owned());
    shown.extend_from_slice(&printed[printed.len().saturating_sub(ends).max(gap)..]);
    shown
}

/// Types what the page says and returns what was printed for each.
async fn play(steps: &[Step]) -> Vec<Vec<String>> {
    let mut place = Place::new();
    let (mut prompt, mut running, mut answers) = (place.prompt().await, Vec::new(), Vec::new());
    for step in steps {
        let interrupted = step.expected.last().is_some_and(|line| line == "^C");
        let expected = &step.expected[..step.expected.len() - usize::from(interrupted)];
        let mut printed = if step.is_up() {
            let mut terminal = place.terminal(&step.command);
            let printed = announced(&mut terminal, &mut place, step, expected).await;
            if interrupted {
                terminal.interrupt().await;
            } else {
                running.push(terminal);
            }
            printed
        } else {
            if step.reads_the_trail() {
                place.delivered().await;
            }
            let command = place.to_real(&step.command);
            let (began, mut printed) = (Instant::now(), prompt.types(&command).await);
            let settled = |printed: &[String]| if updating() { began.elapsed() > QUIET } else { agrees(step, expected, printed) };
            while step.may_take_a_moment() && !settled(&printed) && began.elapsed() < PATIENCE {
                printed = prompt.types(&command).await;
            }
            printed
        };
        for line in &mut printed {
            *line = place.to_shown(line);
        }
        assert!(
            updating() || agrees(step, expected, &printed),
            "`{}` printed\n{}\nand not\n{}",
            step.command,
            printed.join("\n"),
            expected.join("\n")
        );
        let mut answer = cut(expected, printed);
        answer.extend(interrupted.then(|| "^C".to_owned()));
        answers.push(answer);
    }
    for terminal in running {
        terminal.interrupt().await;
    }
    answers
}

/// What `up` says before it goes on running: as many lines as the page shows, or up to its last one.
async fn announced(terminal: &mut Shell, place: &mut Place, step: &Step, expected: &[String]) -> Vec<String> {
    let mut printed: Vec<String> = Vec::new();
    loop {
        let shown: Vec<String> = printed.iter().map(|line| place.to_shown(line)).collect();
        if !updating() && agrees(step, expected, &shown) {
            return printed;
        }
        let within = if updating() && !printed.is_empty() { QUIET } else { PATIENCE };
        let Some(line) = terminal.line(within).await else {
            assert!(updating(), "it said\n{}\nand not\n{}", shown.join("\n"), expected.join("\n"));
            return printed;
        };
        place.heard(&line);
        printed.push(line);
    }
}

#[tokio::test]
async fn every_command_of_the_readme_does_what_it_shows() {
    let path = root().join("README.md");
    let page = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = page.lines().collect();
    let steps = Step::all(&lines);
    assert!(steps.len() > 10, "only {} commands found", steps.len());
    let answers = play(&steps).await;
    if updating() {
        let mut written: Vec<String> = Vec::new();
        let mut at = 0;
        for (step, answer) in steps.iter().zip(answers) {
            written.extend(lines[at..step.begin].iter().map(ToString::to_string));
            written.extend(answer.iter().map(|line| presentable(line)));
            at = step.end;
        }
        written.extend(lines[at..].iter().map(ToString::to_string));
        fs::write(&path, written.join("\n") + "\n").unwrap();
    }
}

/// What `up --demo` prints can be pasted, line by line.
#[tokio::test]
async fn the_lines_of_the_demo_can_be_pasted() {
    let mut place = Place::new();
    let mut terminal = place.terminal("carelink up --demo");
    let mut printed: Vec<String> = Vec::new();
    while !printed.iter().any(|line| line.contains("/account/token/blacklist/")) {
        let line = terminal.line(PATIENCE).await.unwrap_or_else(|| panic!("so far {printed:#?}"));
        place.heard(&line);
        printed.push(line);
    }
    let mut prompt = place.prompt().await;
    let mut answers = Vec::new();
    let lines = printed.iter().skip_while(|line| !line.starts_with("sign in:"));
    for line in lines.filter_map(|line| line.strip_prefix("  ")) {
        answers.push(prompt.types(line).await.concat());
    }
    let answers: Vec<&str> = answers.iter().map(String::as_str).filter(|answer| !answer.is_empty()).collect();
    let [signed_in, me, refreshed, signed_out] = answers.as_slice() else { panic!("{answers:#?}") };
    assert!(signed_in.contains("\"refresh\":\"eyJ") && refreshed.contains("\"refresh\":\"eyJ"), "{answers:#?}");
    assert!(me.contains("\"username\":\"amina\""), "{me}");
    assert_eq!(*signed_out, "{}");
    terminal.interrupt().await;
}
