//! `carelink key rewrap`: puts what token-service keeps sealed under another master key. Works offline, on its database.

use std::path::PathBuf;

use carelink_database::copy;
use carelink_platform::secrets::MasterKey;
use clap::Args;

use crate::{
    cli::Context,
    deployment::Deployment,
    error::{failed, usage},
};

/// `carelink key rewrap`.
#[derive(Args)]
pub(crate) struct Rewrap {
    /// The key that it is sealed under (token.key)
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The key to seal it under; made where there is none
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
}

/// Does it.
pub(super) async fn run(args: Rewrap, context: &mut Context) -> anyhow::Result<()> {
    let deployment = Deployment::read(context)?;
    if let Some(directory) = &deployment.directory {
        let sentence = format!(
            "{} has one master key for everything, and what the trail keeps sealed under it cannot be put under another yet; \
             a fleet's token.key can: name its --config",
            directory.display()
        );
        return Err(failed("one_master_key", sentence));
    }
    let unusable = |error: carelink_platform::secrets::SecretError| failed("master_key", error.to_string());
    let from = MasterKey::load(&args.from).map_err(unusable)?;
    if let Some(by) = copy::in_use(&deployment.token.at, deployment.token.name).await?.first() {
        return Err(failed("in_use", format!("the token schema is in use (by {by}); stop every token-service first")));
    }
    let (to, made) = MasterKey::load_or_create(&args.to, &context.random).map_err(unusable)?;
    if from.id() == to.id() {
        return Err(usage("both files hold the same key; name another one with --to"));
    }
    let sealed = token_service::rewrap(deployment.token.at.clone(), &from, &to, &context.random).await.map_err(|error| {
        failed("not_rewrapped", format!("nothing was changed: {error}; is {} the key that it is sealed under?", args.from.display()))
    })?;
    context.console.value(&serde_json::json!({ "sealed": sealed, "from": from.id(), "to": to.id(), "made": made }))?;
    context.console.line(format!("sealed {sealed} keys under {}", to.id()))?;
    context.console.note(format!(
        "Before the start: give every token-service {} (keys.master_key_file). Keep the old key while backups are kept that were made \
         under it, and a copy of the new one where they are not.",
        args.to.display()
    ));
    Ok(())
}
