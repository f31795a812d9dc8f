//! Holds what is written to what is built: every rule to a test, every citation to a rule, every link to a file, every generated page
//! to its table, every key and every crate to its line.
//!
//! `UPDATE_DOCS=1` writes the generated pages instead of comparing them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Component, Path},
};

use carelink_platform::{
    config::{SECTIONS, Settings},
    errors::Reason,
    events,
    grpc::GrpcConfig,
    location::DatabaseConfig,
    process::{KeysConfig, OpsConfig},
    telemetry::TelemetryConfig,
    verified::VerifierConfig,
};
use carelink_tests::typed::{root, updating};

/// Every file below the root whose name ends in one of these, by its path from there.
pub(crate) fn files(endings: &[&str]) -> BTreeMap<String, String> {
    fn walk(folder: &Path, root: &Path, endings: &[&str], into: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            let skipped = ["target", "carelink-data", "fixtures", "node_modules"].contains(&name.as_str()) || name.starts_with('.');
            if entry.file_type().unwrap().is_dir() && !skipped {
                walk(&path, root, endings, into);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                into.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap());
            }
        }
    }
    let (root, mut found) = (root(), BTreeMap::new());
    walk(&root, &root, endings, &mut found);
    found
}

/// Every page of the project.
pub(crate) fn pages() -> BTreeMap<String, String> {
    files(&[".md"])
}

pub(crate) fn page(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backticks, outside of fenced blocks.
pub(crate) fn code_spans(page: &str) -> Vec<String> {
    let prose = page.split("\n```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Whether a word names a rule: `S3`, `S10`.
fn is_rule(word: &str) -> bool {
    let mut letters = word.chars();
    let letter = letters.next().is_some_and(|letter| "TSUVKGCLABR".contains(letter));
    letter && (1..=2).contains(&letters.as_str().len()) && letters.all(|digit| digit.is_ascii_digit())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// docs/PROTOCOL.md: the rules that are built with the tests named beside them, and the rules that wait.
struct Protocol {
    built: BTreeMap<String, Vec<String>>,
    waiting: BTreeSet<String>,
}

impl Protocol {
    fn read() -> Self {
        let text = page("docs/PROTOCOL.md");
        let (built, waiting) = text.split_once("\n## Not yet\n").expect("a section `Not yet`");
        let mut rules: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut current = String::new();
        for paragraph in built.split("\n\n") {
            if let Some(rule) = paragraph.strip_prefix("**").and_then(|rest| words(rest).next()).filter(|word| is_rule(word)) {
                rule.clone_into(&mut current);
                assert!(rules.insert(current.clone(), Vec::new()).is_none(), "{rule} is there twice");
            }
            if let Some(held) = paragraph.strip_prefix("*Held by* ") {
                rules.get_mut(&current).expect("tests of no rule").extend(code_spans(held));
            }
        }
        let waiting = waiting.split("**").skip(1).step_by(2).filter(|bold| is_rule(bold));
        Self { built: rules, waiting: waiting.map(str::to_owned).collect() }
    }

    fn knows(&self, rule: &str) -> bool {
        self.built.contains_key(rule) || self.waiting.contains(rule)
    }
}

/// The name of every test in the tree.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for text in files(&[".rs"]).values() {
        let mut attribute = false;
        for line in text.lines().map(str::trim) {
            let name = line.trim_start_matches("async ").strip_prefix("fn ").and_then(|rest| words(rest).next());
            match name {
                Some(name) if attribute => drop(found.insert(name.to_owned())),
                _ => {}
            }
            attribute = line.starts_with("#[") && words(line).any(|word| word == "test")
                || attribute && (line.starts_with("#[") || line.starts_with("//"));
        }
        for list in text.split("on_both_engines!(").skip(1).filter_map(|rest| rest.split(')').next()) {
            found.extend(list.lines().filter(|line| !line.trim().starts_with("//")).flat_map(words).map(str::to_owned));
        }
    }
    assert!(found.len() > 200, "only {} tests found", found.len());
    found
}

/// `s3_one_older_..` holds S3.
fn rule_of(test: &str) -> Option<String> {
    let (rule, _) = test.split_once('_')?;
    let upper = rule.to_ascii_uppercase();
    (is_rule(&upper) && rule != upper).then_some(upper)
}

#[test]
fn every_rule_names_the_tests_that_hold_it_and_they_exist() {
    let (protocol, tests) = (Protocol::read(), tests());
    let mut wrong = Vec::new();
    for (rule, named) in &protocol.built {
        if named.is_empty() {
            wrong.push(format!("{rule} names no test"));
        }
        wrong.extend(named.iter().filter(|test| !tests.contains(*test)).map(|test| format!("{rule} names `{test}`, which is not there")));
    }
    assert!(protocol.built.len() >= 40, "only {} rules found", protocol.built.len());
    assert!(wrong.is_empty(), "docs/PROTOCOL.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_test_named_in_a_page_exists_and_every_test_of_a_rule_has_one() {
    let (protocol, tests) = (Protocol::read(), tests());
    for (path, text) in pages() {
        // A test's name is a sentence: no other word here has so many underscores.
        let is_test = |span: &str| {
            words(span).eq([span])
                && !span.starts_with("carelink_")
                && !span.contains(char::is_uppercase) // somebody's setting, or a variable of the environment
                && (rule_of(span).is_some() || span.matches('_').count() >= 4)
        };
        for span in code_spans(&text).iter().filter(|span| is_test(span)) {
            assert!(tests.contains(span), "{path} names `{span}`, which is not there");
        }
    }
    for test in &tests {
        if let Some(rule) = rule_of(test) {
            assert!(protocol.knows(&rule), "{test} is named after {rule}, which docs/PROTOCOL.md does not have");
        }
    }
}

#[test]
fn every_rule_cited_in_the_code_is_in_the_protocol() {
    let protocol = Protocol::read();
    let mut unknown = BTreeSet::new();
    for (path, text) in files(&[".rs", ".sql", ".proto", ".toml"]) {
        let begins = if path.ends_with(".sql") {
            "--"
        } else if path.ends_with(".toml") {
            "#"
        } else {
            "//"
        };
        for (_, comment) in text.lines().filter_map(|line| line.split_once(begins)) {
            for rule in words(comment).filter(|word| is_rule(word) && !protocol.knows(word)) {
                unknown.insert(format!("{rule} in {path}"));
            }
        }
    }
    for (path, text) in pages() {
        let prose: String = text.split("\n```").step_by(2).collect();
        for rule in words(&prose).filter(|word| is_rule(word) && !protocol.knows(word)) {
            unknown.insert(format!("{rule} in {path}"));
        }
    }
    assert!(unknown.is_empty(), "not in docs/PROTOCOL.md: {unknown:?}");
}

#[test]
fn every_link_and_every_path_leads_to_a_file() {
    for (path, text) in pages() {
        let folder = root().join(&path).parent().unwrap().to_owned();
        for file in code_spans(&text).iter().filter(|span| span.ends_with(".rs") && span.contains('/') && !span.contains('*')) {
            assert!(root().join(file).exists(), "{path} names {file}, which is not there");
        }
        let prose: String = text.split("\n```").step_by(2).collect();
        for link in prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") || file.starts_with("mailto:") {
                continue;
            }
            let target = folder.join(file);
            let inside = !Path::new(&path).join("..").join(file).components().any(|part| part == Component::RootDir);
            assert!(inside && target.exists(), "{path} links to {link}, which is not there");
        }
    }
}

/// Compares a page that is made from a table with the file, or writes it.
fn generated(path: &str, page: &str) {
    let file = root().join(path);
    if updating() {
        fs::write(&file, page).unwrap();
    }
    assert!(fs::read_to_string(&file).unwrap_or_default() == page, "{path} is not what its table says: run the tests with UPDATE_DOCS=1");
}

#[test]
fn the_page_of_errors_is_the_table() {
    let mut page = String::from(
        "# Errors\n\nEvery refusal and failure has one of these reasons, the same over gRPC (`ErrorInfo.reason`, domain `carelink`) and HTTP (`code`). \
         The names are stable.\nA 429 and a 503 say when to try again (`Retry-After`, `RetryInfo`). The predecessor's paths use the predecessor's words for \
         them ([PROTOCOL.md](PROTOCOL.md), L4). The table is made from `platform/src/errors.rs`.\n\n\
         | reason | HTTP | gRPC | in words |\n|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let code = format!("{:?}", reason.code()).chars().fold(String::new(), |name, letter| {
            let between = letter.is_uppercase() && !name.is_empty();
            name + if between { "_" } else { "" } + &letter.to_uppercase().to_string()
        });
        let _ = writeln!(page, "| `{reason}` | {} | {code} | {} |", reason.http(), reason.title());
    }
    generated("docs/ERRORS.md", &page);
}

#[test]
fn a2_the_page_of_events_is_the_table_of_event_types() {
    generated("docs/EVENTS.md", &events::markdown());
}

#[test]
fn the_page_of_settings_is_what_the_types_say() {
    let mut settings = Settings::load(None, []).unwrap();
    token_service::Config::read(&mut settings).unwrap();
    auth_service::Config::read(&mut settings).unwrap();
    gateway::Config::read(&mut settings).unwrap();
    settings.section::<audit_service::Config>("audit").unwrap();
    settings.section::<VerifierConfig>("verifier").unwrap();
    settings.section::<TelemetryConfig>("telemetry").unwrap();
    settings.section::<DatabaseConfig>("database").unwrap();
    settings.section::<GrpcConfig>("grpc").unwrap();
    settings.section::<OpsConfig>("ops").unwrap();
    settings.section::<KeysConfig>("keys").unwrap();
    settings.section::<auth_service::MailConfig>("mail").unwrap();
    let reference = settings.reference();
    for section in SECTIONS {
        assert!(
            reference.iter().any(|setting| setting.key.starts_with(&format!("{section}."))),
            "nothing is said of the section {section}"
        );
    }
    for setting in &reference {
        assert!(setting.says.ends_with('.'), "{} says `{}`, which is no sentence", setting.key, setting.says);
    }
    generated("docs/SETTINGS.md", &settings.markdown());
}

/// What a source says of a metric where it makes, uses or describes one.
#[derive(Default)]
struct Metric {
    kind: String,
    text: String,
    labels: BTreeSet<String>,
    used: bool,
}

/// The texts between quotes.
fn literals(code: &str) -> Vec<String> {
    let code = code.replace("\\\"", "'");
    code.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// From an opening parenthesis to the one that closes it.
fn in_parentheses(code: &str) -> &str {
    let (mut depth, mut quoted) = (0_usize, false);
    for (at, c) in code.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return &code[..at];
                }
            }
            _ => {}
        }
    }
    code
}

fn metrics() -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    let sources = files(&[".rs"]);
    let own = |path: &str| path.contains("/src/") && !path.starts_with("tests/") && !path.contains("/tests");
    for code in sources.iter().filter(|(path, _)| own(path)).map(|(_, text)| text.split("#[cfg(test)]\nmod tests {").next().unwrap()) {
        for kind in ["counter", "gauge", "histogram"] {
            for (at, call) in code.match_indices(&format!("{kind}!(")) {
                let arguments = in_parentheses(&code[at + call.len() - 1..]);
                let mut said = literals(arguments);
                if !arguments[1..].trim_start().starts_with('"') {
                    // The name is a variable: what it was last set to.
                    let variable = words(arguments).next().unwrap();
                    let Some((_, set)) = code[..at].rsplit_once(&format!("let {variable} = \"")) else { continue };
                    said.insert(0, set.split('"').next().unwrap().to_owned());
                }
                let metric = metrics.entry(said[0].clone()).or_default();
                assert!(metric.kind.is_empty() || metric.kind == kind, "{} is a {} and a {kind}", said[0], metric.kind);
                kind.clone_into(&mut metric.kind);
                if code[..at].ends_with("describe_") {
                    metric.text = said.last().filter(|_| said.len() > 1).cloned().unwrap_or_default();
                } else {
                    metric.used = true;
                    let mut before: Vec<&str> = arguments.split("=>").collect();
                    before.pop(); // what follows the last label
                    let labels = before.iter().filter_map(|text| text.trim_end().strip_suffix('"')?.rsplit('"').next());
                    metric.labels.extend(labels.map(str::to_owned));
                }
            }
        }
    }
    metrics
}

#[test]
fn the_page_of_metrics_is_what_the_code_describes() {
    let metrics = metrics();
    assert!(metrics.len() > 40, "only {} metrics found", metrics.len());
    let mut page = String::from(
        "# Metrics\n\nWhat every process tells at `/metrics` on its ops port, for Prometheus; [OPERATIONS.md](OPERATIONS.md#watch) says what to \
         raise an alarm on.\nThe texts are those of `describe_counter!`, `describe_gauge!` and `describe_histogram!` in the code.\n\n\
         | metric | kind | labels | what it tells |\n|---|---|---|---|\n",
    );
    for (name, Metric { kind, text, labels, used }) in &metrics {
        assert!(*used, "{name} is described, and nothing counts it");
        assert!(!text.is_empty(), "{name} is not described: say what it tells in a describe_{kind}!");
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let _ = writeln!(page, "| `{name}` | {kind} | {} | {text} |", labels.join(", "));
    }
    generated("docs/METRICS.md", &page);
}

#[test]
fn every_decision_is_in_the_list_and_numbered_without_gaps() {
    let folder = root().join("docs/adr");
    let mut names: Vec<String> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name != "README.md");
    names.sort();
    let list = page("docs/adr/README.md");
    for (at, name) in names.iter().enumerate() {
        assert!(name.starts_with(&format!("{:04}-", at + 1)), "{name} is not number {}", at + 1);
        assert!(list.contains(&format!("]({name})")), "docs/adr/README.md does not list {name}");
        let text = page(&format!("docs/adr/{name}"));
        assert!(text.starts_with(&format!("# {}. ", at + 1)), "{name} does not begin with its number");
    }
}

#[test]
fn the_map_of_folders_has_every_crate() {
    let manifest = page("Cargo.toml");
    let members = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']')).unwrap().0;
    let map = page("docs/ARCHITECTURE.md");
    for member in members.split('"').skip(1).step_by(2) {
        assert!(map.lines().any(|line| line.starts_with(&format!("{member}/"))), "docs/ARCHITECTURE.md has no line for {member}/");
    }
}

#[test]
fn k3_every_key_is_in_the_table_of_keys() {
    let table = page("docs/SECURITY.md");
    let mut found = 0;
    for (path, text) in files(&[".rs"]).iter().filter(|(path, _)| path.contains("/src/")) {
        for purpose in text.split('"').skip(1).step_by(2).filter(|text| is_purpose(text)) {
            found += 1;
            assert!(table.contains(&format!("`{purpose}`")), "docs/SECURITY.md does not know the key `{purpose}` of {path}");
        }
    }
    assert!(found >= 4, "only {found} purposes found");
}

/// `token/signing-keys/v1`: what the master key is asked for.
fn is_purpose(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let lower = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    matches!(parts.as_slice(), [whose, what, version] if lower(whose) && lower(what) && version.strip_prefix('v').is_some_and(|n| n.parse::<u8>().is_ok()))
}
