//! `carelink audit`: reads the trail.

use crate::cli::Context;

/// What can be done with the trail.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// List events, newest first
    #[command(after_help = "Examples:\n  carelink audit list --user amina21")]
    List {
        /// Only of this user
        #[arg(long)]
        user: Option<String>,
    },
}

/// Does it.
pub(crate) async fn run(_: Command, _: &mut Context) -> anyhow::Result<()> {
    anyhow::bail!("not here yet")
}
