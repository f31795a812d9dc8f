//! What the pages name in their sentences exists: commands with their options, and settings. README's blocks are typed in `readme`.

use carelink_platform::events::EventType;
use carelink_tests::cli;

use tokio::process::Command;

use crate::docs::{code_spans, files, pages};

/// Pages whose blocks are typed.
const TYPED: [&str; 3] = ["README.md", "docs/OPERATIONS.md", "docs/MIGRATION.md"];

#[test]
fn no_other_page_says_what_to_type_in_a_block() {
    for (path, text) in pages().iter().filter(|(path, _)| !TYPED.contains(&path.as_str())) {
        let typed = text.lines().any(|line| ["```console", "```sh", "```bash", "```shell"].contains(&line.trim()));
        assert!(!typed, "{path} has commands in a block: only those of {TYPED:?} are run");
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
    let of_fleets = ["grpc", "keys", "ops", "database", "auth"];
    let is_event = |span: &str| EventType::ALL.iter().any(|kind| kind.as_str() == span);
    let data = tempfile::tempdir().unwrap();
    let mut seen = 0;
    // docs/SETTINGS.md is made from the types that read them.
    for (path, text) in pages().into_iter().filter(|(path, _)| path != "docs/SETTINGS.md") {
        let built = text.split("\n## Not yet\n").next().unwrap_or_default();
        for span in code_spans(built).iter().filter_map(|span| span.split(' ').next()) {
            let Some((section, key)) = span.split_once('.') else { continue };
            let of_fleet = of_fleets.contains(&section) || key.contains("_url");
            if !of_fleet && !sections.contains(&section)
                || is_event(span)
                || key == "key" // a file: `auth.key`
                || !key.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'))
            {
                continue;
            }
            let name = format!("CARELINK_{}__{}", section.to_uppercase(), key.replace('.', "__").to_uppercase());
            if of_fleet && section != "limits" {
                let mut service = cli::clean(Command::new(cli::binary_of("token-service")));
                service.args(["--ops-port", "0", "--data"]).arg(data.path().join("service")).env(name, "[1]");
                let said = cli::run(service, "").await.fails(64);
                assert!(
                    said.contains(&format!("setting `{span}`")) && !said.contains("unknown"),
                    "{path} names the setting `{span}`: {said}"
                );
                seen += 1;
                continue;
            }
            let mut process = cli::command();
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

/// `carelink_outbox_backlog`, named in a sentence, is a metric (or a role of PostgreSQL).
#[test]
fn every_metric_named_in_a_page_exists() {
    let sources = files(&[".rs"]);
    for (path, text) in pages() {
        for span in code_spans(&text).into_iter().filter(|span| span.starts_with("carelink_") && !span.contains("::")) {
            let name = span.split(['{', ' ', ':']).next().unwrap_or_default();
            let known =
                sources.iter().any(|(_, source)| source.contains(&format!("\"{name}\"")) || source.contains(&format!("mod {name}")));
            assert!(known || name.ends_with('_'), "{path} names `{span}`, which no code does");
        }
    }
}
