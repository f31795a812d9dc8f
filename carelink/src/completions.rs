//! `carelink completions`: what a shell needs to complete our commands, made from the command line itself.

use clap::{Args as ClapArgs, CommandFactory, ValueEnum};
use clap_complete::{Shell as Known, generate};

use crate::cli::{Cli, Context};

/// Of `carelink completions --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink completions bash > ~/.local/share/bash-completion/completions/carelink
  carelink completions zsh > \"${fpath[1]}/_carelink\"
  carelink completions fish > ~/.config/fish/completions/carelink.fish";

/// `carelink completions`.
#[derive(ClapArgs)]
pub(crate) struct Args {
    /// For which shell
    shell: Shell,
}

/// The shells that are known.
#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    /// GNU bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Does it.
pub(crate) fn run(args: &Args, context: &mut Context) -> anyhow::Result<()> {
    let shell = match args.shell {
        Shell::Bash => Known::Bash,
        Shell::Zsh => Known::Zsh,
        Shell::Fish => Known::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "carelink", &mut script);
    context.console.script(&String::from_utf8_lossy(&script))
}
