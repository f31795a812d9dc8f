//! What is the same in every run, and what of it a page shows.

use std::collections::VecDeque;

use super::{DEMO, step::Step};

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
        16 | 43 if is_key_id(word) => "<key>",
        32 if word.bytes().all(|b| b.is_ascii_hexdigit()) => "<id>",
        _ if word.starts_with("uid:") => "<operator>",
        _ if word.contains(DEMO) => "<demo>",
        _ => word,
    }
}

/// Base64 or hexadecimal: no word of ours mixes so.
fn is_key_id(word: &str) -> bool {
    let has = |kind: fn(&char) -> bool| word.chars().any(|c| kind(&c));
    let plain = word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    plain && has(char::is_ascii_lowercase) && (has(char::is_ascii_digit) || has(char::is_ascii_uppercase))
}

/// As it is written into the page: tokens cut short, and nothing of the machine it ran on.
pub(super) fn presentable(line: &str) -> String {
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
pub(super) fn agrees(step: &Step, expected: &[String], printed: &[String]) -> bool {
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
pub(super) fn cut(expected: &[String], printed: Vec<String>) -> Vec<String> {
    let Some(gap) = expected.iter().position(|line| line == "...") else { return printed };
    let ends = expected.len() - gap - 1;
    let mut shown = printed[..gap.min(printed.len())].to_vec();
    shown.push("...".to_owned());
    shown.extend_from_slice(&printed[printed.len().saturating_sub(ends).max(gap)..]);
    shown
}
