//! What the pages name in their sentences exists: commands with their options, and settings. README's blocks are typed in `readme`.

use carelink_platform::events::EventType;
use carelink_tests::cli;

use crate::docs::{code_spans, pages};

#[test]
fn no_other_page_says_what_to_type_in_a_block() {
    for (path, text) in pages().iter().filter(|(path, _)| *path != "README.md") {
        let typed = text.lines().any(|line| ["```console", "```sh", "```bash", "```shell"].contains(&line.trim()));
        assert!(!typed, "{path} has commands in a block: only README.md's are run");
    }
}

/// `carelink user roles NAME --add ROLE`, named in a sentence, is a command with that option.
#[tokio::test]
async fn every_command_named_in_a_page_exists() {
    let mut seen = 0;
    for (path, text) in pages() {
        for span in code_spans(&text).into_iter().filter(|span| span.starts_with("carelink ")) {
            let plain = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
            let command: Vec<&str> = span.split_whitespace().skip(1).take_while(plain).collect();
            let mut process = cli::command();
            process.args(&command).arg("--help");
            let help = cli::run(process, "").await.ok().stdout;
            for option in span.split_whitespace().filter(|word| word.starts_with("--")) {
                assert!(help.contains(option), "{path} names `{span}`, which has no {option}");
            }
            seen += 1;
        }
    }
    assert!(seen > 3, "only {seen} commands found");
}

/// `session.grace`, named in a sentence, is a setting.
#[tokio::test]
async fn every_setting_named_in_a_page_exists() {
    let sections = ["session", "token", "legacy", "password", "limits", "gateway", "verifier", "audit", "telemetry"];
    let is_event = |span: &str| EventType::ALL.iter().any(|kind| kind.as_str() == span);
    let data = tempfile::tempdir().unwrap();
    let mut seen = 0;
    for (path, text) in pages() {
        let built = text.split("\n## Not yet\n").next().unwrap_or_default();
        for span in code_spans(built).iter().filter_map(|span| span.split(' ').next()) {
            let Some((section, key)) = span.split_once('.').filter(|(section, _)| sections.contains(section)) else { continue };
            if is_event(span) || !key.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.')) {
                continue;
            }
            let mut process = cli::command();
            let name = format!("CARELINK_{}__{}", section.to_uppercase(), key.replace('.', "__").to_uppercase());
            process.args(["up", "--port", "0", "--ops-port", "0", "--data"]).arg(data.path());
            process.env(name, "1").env("CARELINK_NOTHING__AT_ALL", "1");
            let said = cli::run(process, "").await.fails(64);
            let other = said.contains("`nothing`") || said.contains(&format!("setting `{section}")) && !said.contains("unknown setting");
            assert!(other, "{path} names the setting `{span}`: {said}");
            seen += 1;
        }
    }
    assert!(seen > 5, "only {seen} settings found");
}
