//! `carelink pki init` and `retire`: the first root, a second beside it, and the end of the first.

use carelink_platform::clock::Timestamp;
use clap::Args;

use super::{
    Where,
    authority::make_root,
    folder::{Folder, Found, ROOTS},
    refused,
};
use crate::{cli::Context, error::failed};

/// `carelink pki init`.
#[derive(Args)]
pub(crate) struct Init {
    #[command(flatten)]
    at: Where,
    /// A second root: trusted at once, signing later
    #[arg(long)]
    next: bool,
}

/// `carelink pki retire`.
#[derive(Args)]
pub(crate) struct Retire {
    #[command(flatten)]
    at: Where,
}

/// Makes a root.
pub(super) fn init(args: &Init, now: Timestamp, context: &mut Context) -> anyhow::Result<()> {
    let folder = Folder::new(&args.at.dir);
    if !args.next && folder.has_authority() {
        let second = format!("for a second root beside it: carelink pki init --next {}", folder.option());
        return Err(failed("exists", format!("{} holds a CA already, which is never overwritten; {second}", args.at.dir.display())));
    }
    let root = make_root(now, &context.random).map_err(|error| refused(&error))?;
    if args.next {
        let trusted = folder.roots()?;
        if trusted.len() > 1 || folder.has_next() {
            let finish = format!("finish with: carelink pki renew --switch {0}, carelink pki retire {0}", folder.option());
            return Err(failed("exists", format!("a second root is there already; {finish}")));
        }
        folder.keep_next(&trusted, &root)?;
    } else {
        folder.make()?;
        folder.keep_first(&root)?;
    }
    let roots = folder.roots()?;
    told(&folder, &roots, context)?;
    let then = if args.next { "renew --switch" } else { "issue token-service" };
    let wait = if args.next { "once every process trusts it" } else { "next" };
    context.console.note(format!("{wait}: carelink pki {then} {}", folder.option()));
    Ok(())
}

/// Drops the roots that sign no longer.
pub(super) fn retire(args: &Retire, now: Timestamp, context: &mut Context) -> anyhow::Result<()> {
    let folder = Folder::new(&args.at.dir);
    let (roots, signs) = (folder.roots()?, folder.authority()?.name());
    if folder.has_next() {
        let first = format!("first: carelink pki renew --switch {}", folder.option());
        return Err(failed("root_in_use", format!("the second root does not sign yet; {first}")));
    }
    let (kept, dropped): (Vec<&Found>, Vec<&Found>) = roots.iter().partition(|root| root.certificate.subject == signs);
    if kept.is_empty() {
        return Err(failed("authority_key", format!("ca.key is the key of none of the roots in {ROOTS}; nothing was dropped")));
    }
    if dropped.is_empty() {
        return Err(failed("no_second_root", "there is one root only, and it signs; nothing was dropped"));
    }
    let leaves = folder.leaves()?;
    let still = |leaf: &&(String, Found)| leaf.1.certificate.issuer != signs && leaf.1.certificate.not_after > now;
    if let Some((name, _)) = leaves.iter().find(still) {
        let renew = format!("first: carelink pki renew {name} {}", folder.option());
        return Err(failed("root_in_use", format!("{name} still has a certificate of the root to be dropped; {renew}")));
    }
    folder.trust(&kept)?;
    told(&folder, &folder.roots()?, context)
}

fn told(folder: &Folder, roots: &[Found], context: &mut Context) -> anyhow::Result<()> {
    let file = folder.file(ROOTS);
    let names: Vec<&str> = roots.iter().map(|root| root.certificate.subject.as_str()).collect();
    context.console.line(format!("{} holds {}", file.display(), names.join(" and ")))?;
    context.console.value(&serde_json::json!({ "file": file, "roots": names }))
}
