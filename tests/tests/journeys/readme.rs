//! README types itself, and what `up --demo` prints can be pasted.

use carelink_tests::{
    typed::{self, Place},
    wait::PATIENCE,
};

#[tokio::test]
async fn every_command_of_the_readme_does_what_it_shows() {
    typed::page("README.md", 11).await;
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
