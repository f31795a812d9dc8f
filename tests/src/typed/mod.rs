//! What pages say to type is typed here, in a shell, against the real binaries; what they show is compared with what is answered.
//!
//! A fenced block `console` holds commands after `$ ` and below each what it prints. Ids, times, tokens, passwords and ports are
//! masked on both sides; a line `...` stands for any lines, `^C` is pressed. `up` gets a terminal of its own and goes on running.
//! `UPDATE_DOCS=1` writes the answers into the page instead.

mod compare;
mod shell;
mod step;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub use self::shell::{Place, Shell, end_fleet};
use self::{
    compare::{agrees, cut, presentable},
    step::Step,
};
use crate::wait::PATIENCE;

/// How the throw-away directory of a demo begins; six letters follow.
const DEMO: &str = "/carelink-demo-";
/// Nothing more comes after so long.
const QUIET: Duration = Duration::from_secs(2);

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Whether pages are to be written.
pub fn updating() -> bool {
    std::env::var_os("UPDATE_DOCS").is_some()
}

/// Types every command of a page, of which there are at least so many, and compares.
pub async fn page(path: &str, at_least: usize) {
    let path = root().join(path);
    let page = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = page.lines().collect();
    let steps = Step::all(&lines);
    assert!(steps.len() >= at_least, "only {} commands found", steps.len());
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
            printed.iter().for_each(|line| place.heard(line));
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
