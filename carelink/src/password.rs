//! Where a new password comes from: a prompt, a file or stdin, never the command line (others can read that).

use std::{io::Read, path::PathBuf};

use anyhow::Context as _;
use carelink_platform::secrets::{ExposeSecret, SecretString, read_secret_file};
use clap::Args;

use crate::{error::usage, output::Console};

/// More than any password; keeps a wrong pipe from filling the memory.
const MAX_BYTES: u64 = 64 * 1024;

/// Where to read it; asked for on the terminal where neither is named.
#[derive(Args, Debug)]
pub(crate) struct PasswordSource {
    /// Read the password from stdin; one trailing newline is not part of it
    #[arg(long, conflicts_with = "password_file")]
    password_stdin: bool,
    /// Read the password from a file; one trailing newline is not part of it
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl PasswordSource {
    /// Reads a password that is known already: asked for once.
    pub(crate) fn read_existing(&self, console: &Console, stdin: impl Read, prompt: &str) -> anyhow::Result<SecretString> {
        match &self.password_file {
            Some(path) => read_secret_file(path).context("could not read the password"),
            None if self.password_stdin => from_reader(stdin),
            None => console.ask_password(prompt),
        }
    }

    /// Reads a new password.
    pub(crate) fn read(&self, console: &Console, stdin: impl Read, prompt: &str) -> anyhow::Result<SecretString> {
        let password = match &self.password_file {
            Some(path) => read_secret_file(path).context("could not read the password")?,
            None if self.password_stdin => from_reader(stdin)?,
            None => console.ask_new_password(prompt)?,
        };
        if password.expose_secret().is_empty() {
            return Err(usage("the password is empty; give one, or leave the user without: carelink user add --no-password"));
        }
        Ok(password)
    }
}

fn from_reader(stdin: impl Read) -> anyhow::Result<SecretString> {
    let mut text = String::new();
    let read = stdin.take(MAX_BYTES + 1).read_to_string(&mut text).context("could not read the password from stdin")?;
    if u64::try_from(read).is_ok_and(|read| read > MAX_BYTES) {
        return Err(usage("that is no password: more than 64 KiB on stdin"));
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(SecretString::from(line.strip_suffix('\r').unwrap_or(line)))
}

#[cfg(test)]
mod tests {
    use std::io::{empty, repeat, sink};

    use super::*;

    fn console() -> Console {
        Console::new(false, sink(), sink())
    }

    #[test]
    fn one_trailing_newline_is_not_part_of_it() {
        let source = PasswordSource { password_stdin: true, password_file: None };
        let read = |text: &'static str| source.read(&console(), text.as_bytes(), "").unwrap().expose_secret().to_owned();
        assert_eq!(read("a long enough one\n"), "a long enough one");
        assert_eq!(read(" kept as it is \r\n"), " kept as it is ");
        assert_eq!(read("two\n\n"), "two\n");
    }

    #[test]
    fn a_password_file_is_read_and_a_missing_one_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pw");
        std::fs::write(&path, "from a file\n").unwrap();
        let source = PasswordSource { password_stdin: false, password_file: Some(path) };
        assert_eq!(source.read(&console(), empty(), "").unwrap().expose_secret(), "from a file");
        let source = PasswordSource { password_stdin: false, password_file: Some(dir.path().join("none")) };
        assert!(format!("{:#}", source.read(&console(), empty(), "").unwrap_err()).contains("none"));
    }

    #[test]
    fn nothing_endless_or_empty_is_taken_and_nobody_is_asked_without_a_terminal() {
        let stdin = PasswordSource { password_stdin: true, password_file: None };
        assert!(stdin.read(&console(), empty(), "").is_err());
        assert!(stdin.read(&console(), repeat(b'x'), "").is_err());
        let prompt = PasswordSource { password_stdin: false, password_file: None };
        assert!(prompt.read(&console(), empty(), "").unwrap_err().to_string().contains("--password-stdin"));
    }
}
