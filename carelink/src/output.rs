//! How a command speaks: tables and sentences for people, one JSON document for scripts, prompts on a terminal.
//!
//! Everything on stdout goes through [`Console`], which never panics on a closed pipe. With `--json`, stdout carries
//! exactly one document, nothing is prompted for, and whatever is meant for eyes is left out.

use std::{
    io::{self, IsTerminal, Write},
    path::Path,
};

use anyhow::Context as _;
use carelink_platform::{clock::Timestamp, secrets::SecretString};
use comfy_table::{Attribute, Cell, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use uuid::Uuid;

use crate::error::{OutputClosed, usage};

/// Whether colours are welcome (<https://no-color.org>).
pub(crate) fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Where a command reads from and writes to.
pub(crate) struct Console {
    json: bool,
    interactive: bool,
    styled: bool,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
}

impl Console {
    /// The process's own streams.
    pub(crate) fn of_process(json: bool) -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        Self {
            json,
            interactive: !json && io::stdin().is_terminal() && err.is_terminal(),
            styled: colours() && out.is_terminal(),
            out: Box::new(out),
            err: Box::new(err),
        }
    }

    /// Streams of a test; never interactive.
    #[cfg(test)]
    pub(crate) fn new(json: bool, out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self { json, interactive: false, styled: false, out: Box::new(out), err: Box::new(err) }
    }

    /// Whether the answer is a JSON document.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// A sentence on stdout.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { self.write(&printable(text.as_ref())) }
    }

    /// A table on stdout.
    pub(crate) fn table(&mut self, table: Table) -> anyhow::Result<()> {
        if self.json { Ok(()) } else { self.write(&table.render(self.styled)) }
    }

    /// The command's one JSON document, where asked for.
    pub(crate) fn value(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        if self.json { self.write(&serde_json::to_string_pretty(value)?) } else { Ok(()) }
    }

    /// One of several documents, each a line, whether JSON was asked for or not: what is made for a pipe.
    pub(crate) fn record(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        self.write(&serde_json::to_string(value)?)
    }

    /// Text as it is, for whatever reads it instead of people.
    pub(crate) fn script(&mut self, text: &str) -> anyhow::Result<()> {
        self.write(text.trim_end_matches('\n'))
    }

    /// A remark on stderr, which no script has to step over.
    pub(crate) fn note(&mut self, text: impl AsRef<str>) {
        if !self.json {
            let _ = writeln!(self.err, "{}", printable(text.as_ref())); // a remark may be lost
        }
    }

    /// Asks for a password, twice.
    pub(crate) fn ask_new_password(&self, prompt: &str) -> anyhow::Result<SecretString> {
        if !self.interactive {
            return Err(usage("no terminal to ask for the password on; use --password-stdin or --password-file FILE"));
        }
        let typed = dialoguer::Password::new()
            .with_prompt(prompt)
            .with_confirmation("Once more", "These two differ; again")
            .report(false)
            .interact()
            .context("could not ask for the password")?;
        Ok(SecretString::from(typed))
    }

    /// Asks for a password that is known already.
    pub(crate) fn ask_password(&self, prompt: &str) -> anyhow::Result<SecretString> {
        if !self.interactive {
            return Err(usage("no terminal to ask for the password on; use --password-stdin or --password-file FILE"));
        }
        let typed = dialoguer::Password::new().with_prompt(prompt).report(false).interact().context("could not ask for the password")?;
        Ok(SecretString::from(typed))
    }

    /// The reason given, or asked for; `deed` completes "say why with --reason: ...".
    pub(crate) fn reason(&self, given: Option<String>, deed: &str) -> anyhow::Result<String> {
        let reason = match given {
            Some(given) => given,
            None if self.interactive => {
                dialoguer::Input::new().with_prompt("Reason").interact_text().context("could not ask for the reason")?
            }
            None => return Err(usage(format!("say why with --reason \"...\": {deed}"))),
        };
        if reason.trim().is_empty() {
            return Err(usage(format!("the reason is empty; say why with --reason \"...\": {deed}")));
        }
        Ok(reason)
    }

    fn write(&mut self, text: &str) -> anyhow::Result<()> {
        match writeln!(self.out, "{text}").and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(OutputClosed.into()),
            written => written.context("could not write to stdout"),
        }
    }
}

/// Rows under headings, for eyes.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: impl IntoIterator<Item = &'static str>) -> Self {
        Self { headings: headings.into_iter().collect(), rows: Vec::new() }
    }

    /// One record, a field a line; fields without a value are left out.
    pub(crate) fn fields(fields: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        let rows = fields.into_iter().filter(|(_, value)| !value.is_empty());
        Self { headings: Vec::new(), rows: rows.map(|(name, value)| vec![name.to_owned(), value]).collect() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn render(self, styled: bool) -> String {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        if styled {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        if !self.headings.is_empty() {
            table.set_header(self.headings.into_iter().map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
        }
        table.add_rows(self.rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect::<Vec<_>>()));
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        table.trim_fmt()
    }
}

/// A bar on a terminal; elsewhere nothing.
pub(crate) fn progress_bar(console: &Console) -> ProgressBar {
    if console.json() || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let colour = if colours() { ".cyan" } else { "" };
    let template = format!("{{msg:8}} {{bar:40{colour}}} {{human_pos}} of {{human_len}}, {{eta}} left");
    ProgressBar::new(0).with_style(ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Text that cannot steer a terminal: what does not print is escaped.
pub(crate) fn printable(text: &str) -> String {
    let steers =
        |c: char| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Text as one word of a shell, ready to paste.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./@:+=,%".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// ` --data DIR` as it must follow in a command to paste; nothing for the default.
pub(crate) fn data_option(given: Option<&Path>) -> String {
    given.map(|dir| format!(" --data {}", shell_word(&dir.to_string_lossy()))).unwrap_or_default()
}

/// An id of 16 bytes as UUID text; anything else in hexadecimal.
pub(crate) fn uuid(bytes: &[u8]) -> String {
    Uuid::from_slice(bytes).map_or_else(|_| hex::encode(bytes), |id| id.to_string())
}

/// Microseconds since the Unix epoch as RFC 3339; none for 0, which stands for never.
pub(crate) fn time(micros: i64) -> Option<String> {
    (micros != 0).then(|| Timestamp::from_micros(micros).to_string())
}

/// The same to the second, for tables; empty for never.
pub(crate) fn time_cell(micros: i64) -> String {
    if micros == 0 { String::new() } else { Timestamp::from_micros(micros).floor_to_second().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_table_is_lined_up_and_ends_without_blanks() {
        let mut table = Table::new(["NAME", "ROLES", "STATE"]);
        table.row(["amina21", "nurse, staff", "active"].map(String::from));
        table.row(["bo", "", ""].map(String::from));
        assert_eq!(table.render(false), "NAME     ROLES         STATE\namina21  nurse, staff  active\nbo");
    }

    #[test]
    fn a_record_shows_only_what_it_has() {
        let table = Table::fields([("name", "amina21".into()), ("e-mail", String::new()), ("state", "active".into())]);
        assert_eq!(table.render(false), "name   amina21\nstate  active");
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[31m\n\u{202e}b é 名"), "a\\u{1b}[31m\\n\\u{202e}b é 名");
    }

    #[test]
    fn a_closed_pipe_is_told_from_other_failures() {
        let mut console = Console::new(false, Closed, io::sink());
        assert!(console.line("x").unwrap_err().is::<OutputClosed>());
    }

    #[test]
    fn words_of_a_shell_are_quoted_where_they_must_be() {
        assert_eq!(shell_word("amina@ward.example"), "amina@ward.example");
        assert_eq!(shell_word("it's me"), r"'it'\''s me'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn what_takes_away_asks_for_a_reason() {
        let console = Console::new(false, io::sink(), io::sink());
        assert!(console.reason(None, "x").is_err());
        assert!(console.reason(Some(" ".into()), "x").is_err());
        assert_eq!(console.reason(Some("left".into()), "x").unwrap(), "left");
    }
}
