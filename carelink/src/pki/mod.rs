//! `carelink pki`: a small CA for those who have none. Works offline, on files only.
//!
//! `authority` makes certificates, `folder` keeps them, `der` reads them back. A root is replaced in three steps, between which the
//! files are handed out: trust both (`init --next`), sign with the second (`renew --switch`), trust it alone (`retire`).

mod authority;
mod der;
mod folder;
mod roots;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use carelink_platform::clock::{Clock, Timestamp};
use clap::{Args, Subcommand, value_parser};
use serde::Serialize;

use self::{
    authority::{Authority, Leaf, days},
    der::Certificate,
    folder::{Folder, Found, RESERVED},
};
use crate::{
    cli::Context,
    error::{failed, usage},
    output::{Table, shell_word},
};

/// Of `carelink pki --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink pki init --dir pki
  carelink pki issue token-service --dir pki
  carelink pki issue alice --operator --dir pki
  carelink pki renew --dir pki
  carelink pki show --dir pki

To replace the root, hand out ca.pem and the leaves after each step, and let every process load them:
  carelink pki init --next --dir pki             trust a second root beside the first
  carelink pki renew --switch --dir pki          sign with the second, and issue all leaves anew
  carelink pki retire --dir pki                  trust the second alone";

/// The parent of every identity.
const DOMAIN: &str = "carelink.internal";
const OPERATORS: &str = "operator.carelink.internal";
/// `renew` without names takes what ends within so many days.
const SOON_DAYS: u32 = 30;

/// What can be done with a CA.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make the CA, or (--next) a second root beside the first
    #[command(after_help = "Examples:
  carelink pki init --dir pki
  carelink pki init --next --dir pki")]
    Init(roots::Init),
    /// Make a certificate for a service or an operator
    ///
    /// NAME.pem is good for both ends of a connection, under the name NAME.carelink.internal, or NAME.operator.carelink.internal
    /// with --operator. That name is who the holder is, whatever address it is reached at.
    #[command(after_help = "Examples:
  carelink pki issue token-service --dir pki
  carelink pki issue billing --dir pki --days 30
  carelink pki issue alice --operator --dir pki
  carelink pki issue edge --also localhost --also 127.0.0.1 --dir pki")]
    Issue(Issue),
    /// Make certificates anew before they end, under the same names and with new keys
    #[command(after_help = "Examples:
  carelink pki renew --dir pki
  carelink pki renew token-service alice --dir pki
  carelink pki renew --all --days 30 --dir pki
  carelink pki renew --switch --dir pki")]
    Renew(Renew),
    /// Stop trusting the root that signs no longer
    #[command(after_help = "Examples:
  carelink pki retire --dir pki")]
    Retire(roots::Retire),
    /// List roots and certificates, and when they end
    #[command(after_help = "Examples:
  carelink pki show --dir pki
  carelink pki show --dir pki --json")]
    Show(Show),
}

/// Where the CA is.
#[derive(Args)]
pub(crate) struct Where {
    /// The folder of the CA
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

/// `carelink pki issue`.
#[derive(Args)]
pub(crate) struct Issue {
    /// The service (auth-service, gateway, billing, ..) or, with --operator, the person
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    at: Where,
    /// For a person who may use the command line
    #[arg(long)]
    operator: bool,
    /// Another DNS name or address that clients of this server check; may be repeated
    #[arg(long, value_name = "HOST", conflicts_with = "operator")]
    also: Vec<String>,
    /// How long it is good for
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = value_parser!(u32).range(1..=3_650))]
    days: u32,
}

/// `carelink pki renew`.
#[derive(Args)]
pub(crate) struct Renew {
    /// Which [default: those that end within 30 days]
    #[arg(value_name = "NAME", conflicts_with_all = ["all", "switch"])]
    names: Vec<String>,
    #[command(flatten)]
    at: Where,
    /// All there are
    #[arg(long)]
    all: bool,
    /// Sign with the second root from now on, and make all anew
    #[arg(long)]
    switch: bool,
    /// How long they are good for
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = value_parser!(u32).range(1..=3_650))]
    days: u32,
}

/// `carelink pki show`.
#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    at: Where,
}

/// A certificate as JSON.
#[derive(Serialize)]
struct Shown {
    name: String,
    names: Vec<String>,
    issuer: String,
    serial: String,
    not_before: String,
    not_after: String,
}

impl Shown {
    fn of(name: &str, certificate: &Certificate) -> Self {
        Self {
            name: name.to_owned(),
            names: certificate.names.clone(),
            issuer: certificate.issuer.clone(),
            serial: certificate.serial.clone(),
            not_before: certificate.not_before.to_string(),
            not_after: certificate.not_after.to_string(),
        }
    }
}

/// Does it.
pub(crate) fn run(command: Command, context: &mut Context) -> anyhow::Result<()> {
    let now = Clock::system().now();
    match command {
        Command::Init(args) => roots::init(&args, now, context),
        Command::Issue(args) => issue(args, now, context),
        Command::Renew(args) => renew(&args, now, context),
        Command::Retire(args) => roots::retire(&args, now, context),
        Command::Show(args) => show(&args, now, context),
    }
}

fn issue(args: Issue, now: Timestamp, context: &mut Context) -> anyhow::Result<()> {
    let folder = Folder::new(&args.at.dir);
    let name = label(&args.name)?;
    let identity = format!("{name}.{}", if args.operator { OPERATORS } else { DOMAIN });
    if let Some(taken) = args.also.iter().find(|host| host.to_ascii_lowercase().trim_end_matches('.').ends_with(DOMAIN)) {
        return Err(usage(format!("--also {taken}: names under {DOMAIN} say who somebody is; issue a certificate of its own for it")));
    }
    let (roots, authority) = (folder.roots()?, folder.authority()?);
    if folder.leaf(name)?.is_some() || folder.file(&format!("{name}.key")).exists() {
        let again = format!("make it anew with: carelink pki renew {name} {}", folder.option());
        return Err(failed("exists", format!("{} has a certificate for {name} already; {again}", args.at.dir.display())));
    }
    let leaf =
        Leaf { common: name, names: [identity].into_iter().chain(args.also).collect(), until: until(now, args.days, &roots, &authority)? };
    let made = authority.issue(&leaf, now, &context.random).map_err(|error| refused(&error))?;
    folder.keep(name, &made)?;
    told(&folder, &[name], "issued", context)
}

fn renew(args: &Renew, now: Timestamp, context: &mut Context) -> anyhow::Result<()> {
    let folder = Folder::new(&args.at.dir);
    let roots = folder.roots()?;
    if args.switch {
        if !folder.has_next() {
            let first = format!("make it with: carelink pki init --next {}", folder.option());
            return Err(failed("no_second_root", format!("there is no second root to sign with; {first}")));
        }
        folder.switch()?;
    }
    let authority = folder.authority()?;
    let wanted = if args.names.is_empty() {
        let soon = days(now, SOON_DAYS);
        folder.leaves()?.into_iter().filter(|(_, leaf)| args.all || args.switch || leaf.certificate.not_after < soon).collect()
    } else {
        args.names.iter().map(|name| named(&folder, name)).collect::<anyhow::Result<Vec<_>>>()?
    };
    for (name, Found { certificate, .. }) in &wanted {
        let ours: Vec<&str> = certificate.names.iter().map(String::as_str).filter(|name| name.ends_with(DOMAIN)).collect();
        let own = [format!("{name}.{DOMAIN}"), format!("{name}.{OPERATORS}")];
        if !matches!(ours.as_slice(), [one] if own.iter().any(|own| own == one)) {
            let file = folder.file(&format!("{name}.pem"));
            let says = ours.join(", ");
            return Err(failed("not_its_name", format!("{} says that it is {says}; it was not issued here as {name}", file.display())));
        }
        let addresses = certificate.addresses.iter().filter_map(|bytes| address(bytes));
        let names = certificate.names.iter().cloned().chain(addresses).collect();
        let leaf = Leaf { common: name, names, until: until(now, args.days, &roots, &authority)? };
        folder.renew(name, &authority.issue(&leaf, now, &context.random).map_err(|error| refused(&error))?, &context.random)?;
    }
    if wanted.is_empty() {
        context.console.note(format!("None ends within {SOON_DAYS} days; name those to renew, or add --all."));
    }
    let names: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    told(&folder, &names, "renewed", context)
}

fn named(folder: &Folder, name: &str) -> anyhow::Result<(String, Found)> {
    let leaf = folder.leaf(label(name)?)?;
    let first = format!("make one with: carelink pki issue {} {}", shell_word(name), folder.option());
    leaf.map(|leaf| (name.to_owned(), leaf)).ok_or_else(|| failed("no_certificate", format!("there is no certificate for {name}; {first}")))
}

fn address(bytes: &[u8]) -> Option<String> {
    <[u8; 4]>::try_from(bytes)
        .map(|v4| std::net::Ipv4Addr::from(v4).to_string())
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(|v6| std::net::Ipv6Addr::from(v6).to_string()))
        .ok()
}

/// No certificate outlives the root that signed it.
fn until(now: Timestamp, wanted: u32, roots: &[Found], authority: &Authority) -> anyhow::Result<Timestamp> {
    let name = authority.name();
    let root = roots.iter().find(|root| root.certificate.subject == name).ok_or_else(|| {
        failed("authority_key", "ca.key is the key of none of the roots in ca.pem; put back the files that belong together")
    })?;
    let end = root.certificate.not_after;
    if end <= now {
        return Err(failed("root_ended", format!("the root ended on {end}; make another with: carelink pki init, in a new folder")));
    }
    Ok(days(now, wanted).min(end))
}

/// Refuses a certificate that opens nothing for an operator, before a connection fails without saying why.
pub(crate) fn is_operators(file: &Path, now: Timestamp) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).map_err(|error| failed("certificate", format!("{}: {error}", file.display())))?;
    let Some(Found { certificate, .. }) = folder::read(&text).into_iter().next() else { return Ok(()) };
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    if certificate.not_after <= now {
        let renew = format!("renew it where your CA is, with: carelink pki renew {} --dir PKI", shell_word(&name));
        return Err(failed("certificate", format!("{} ended on {}; {renew}", file.display(), certificate.not_after)));
    }
    if certificate.not_before > now {
        let sentence = format!("{} is good from {} on; look at this machine's clock", file.display(), certificate.not_before);
        return Err(failed("certificate", sentence));
    }
    if !certificate.names.iter().any(|name| name.ends_with(&format!(".{OPERATORS}"))) {
        let made = "make one where your CA is, with: carelink pki issue NAME --operator --dir PKI";
        let who = certificate.names.join(", ");
        return Err(failed("certificate", format!("{} is of {who}, which is no operator; {made}", file.display())));
    }
    Ok(())
}

/// One label of a DNS name.
fn label(name: &str) -> anyhow::Result<&str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = !name.is_empty() && name.len() <= 63 && name.chars().all(plain) && !name.starts_with('-') && !name.ends_with('-');
    if !fits {
        return Err(usage(format!("`{name}` cannot be part of a DNS name: lower-case letters, digits and hyphens, at most 63")));
    }
    if RESERVED.contains(&name) || name == "operator" {
        return Err(usage(format!("`{name}` is taken by the CA itself; choose another name")));
    }
    Ok(name)
}

fn refused(error: &rcgen::Error) -> anyhow::Error {
    failed("certificate", format!("the certificate cannot be made: {error}"))
}

/// Tells what was made, from the files.
fn told(folder: &Folder, names: &[&str], verb: &str, context: &mut Context) -> anyhow::Result<()> {
    let mut shown = Vec::new();
    for name in names {
        if let Some(Found { certificate, .. }) = folder.leaf(name)? {
            let who = certificate.names.first().map_or("", String::as_str);
            context.console.line(format!(
                "{verb} {} for {who}, good until {}",
                folder.file(&format!("{name}.pem")).display(),
                certificate.not_after
            ))?;
            shown.push(Shown::of(name, &certificate));
        }
    }
    context.console.value(&serde_json::json!({ "certificates": shown }))
}

fn show(args: &Show, now: Timestamp, context: &mut Context) -> anyhow::Result<()> {
    let folder = Folder::new(&args.at.dir);
    let (roots, leaves) = (folder.roots()?, folder.leaves()?);
    let (signs, next) = (folder.authority().ok().map(|root| root.name()), folder.next()?.map(|root| root.name()));
    let mut table = Table::new(["NAME", "WHO", "SIGNED BY", "GOOD UNTIL", "STATE"]);
    let state = |certificate: &Certificate| match certificate.not_after {
        end if end <= now => "ended".to_owned(),
        end if end < days(now, SOON_DAYS) => format!("ends in {} days", end.since(now).as_secs() / 86_400),
        _ => "good".to_owned(),
    };
    let role = |certificate: &Certificate| match Some(&certificate.subject) {
        name if name == signs.as_ref() => "signs",
        name if name == next.as_ref() => "will sign",
        _ => "trusted",
    };
    for Found { certificate, .. } in &roots {
        let state = format!("{}, {}", role(certificate), state(certificate));
        table.row(["ca".to_owned(), certificate.subject.clone(), "itself".to_owned(), certificate.not_after.to_string(), state]);
    }
    for (name, Found { certificate, .. }) in &leaves {
        let known = roots.iter().any(|root| root.certificate.subject == certificate.issuer);
        let state = if known { state(certificate) } else { "signed by no root of these".to_owned() };
        table.row([name.clone(), certificate.names.join(", "), certificate.issuer.clone(), certificate.not_after.to_string(), state]);
    }
    let of_root = |root: &Found| serde_json::json!({ "role": role(&root.certificate), "certificate": Shown::of("ca", &root.certificate) });
    context.console.value(&serde_json::json!({
        "roots": roots.iter().map(of_root).collect::<Vec<_>>(),
        "certificates": leaves.iter().map(|(name, leaf)| Shown::of(name, &leaf.certificate)).collect::<Vec<_>>(),
    }))?;
    context.console.table(table)
}
