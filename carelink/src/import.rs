//! `carelink import`: takes over a predecessor's users and sessions.

use crate::cli::Context;

/// What can be imported.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// From Django with SimpleJWT
    #[command(after_help = "Examples:\n  carelink import django db.sqlite3 --secret-key-file secret_key --dry-run")]
    Django {
        /// Path
        source: String,
        /// Key
        #[arg(long)]
        secret_key_file: Option<std::path::PathBuf>,
        /// Dry
        #[arg(long)]
        dry_run: bool,
    },
}

/// Does it.
pub(crate) async fn run(_: Command, _: &mut Context) -> anyhow::Result<()> {
    anyhow::bail!("not here yet")
}
