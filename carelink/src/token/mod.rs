//! `carelink token verify`: judges tokens that come on stdin, offline and as strictly as every verifier of ours does (V5).
//!
//! The checks are the verifier's own; this file owns where keys come from and how a verdict is told.

mod jwks;

use std::{io::BufRead, path::PathBuf};

use carelink_platform::{clock::Clock, config::SECTIONS};
use carelink_proto::token::{KeySet, Snapshot};
use carelink_verifier::{Claims, Config, Refusal, ServiceClaims, Verifier, key_set_digest};
use clap::{ArgGroup, Args, Subcommand};
use serde::Serialize;

use crate::{
    cli::Context,
    error::{failed, usage},
    http::{Base, Http},
    output::time,
};

/// Of `carelink token --help`.
pub(crate) const EXAMPLES: &str = "Examples:
  carelink token verify --jwk keys.json < tokens
  carelink token verify --jwks https://signin.example/.well-known/jwks.json < tokens";

/// What can be done with tokens.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Judge tokens from stdin, one a line, each with a line of JSON; exit 1 where one is refused
    ///
    /// Works offline: a signature, an issuer, an audience and an end can be judged without anybody's help. Whether a session was ended
    /// before its tokens expire only a verifier that follows the stream can tell.
    #[command(after_help = "Examples:
  carelink token verify --jwk keys.json < tokens
  carelink token verify --jwks http://127.0.0.1:8000/.well-known/jwks.json < tokens
  carelink token verify --jwk keys.json --issuer carelink --audience ward-board < tokens")]
    Verify(Verify),
}

/// `carelink token verify`.
#[derive(Args)]
#[command(group(ArgGroup::new("keys").args(["jwk", "jwks"]).required(true)))]
pub(crate) struct Verify {
    /// A file that holds a public key as JWK, or a set of them
    #[arg(long, value_name = "FILE")]
    jwk: Option<PathBuf>,
    /// Where the set of keys is published; asked once
    #[arg(long, value_name = "URL")]
    jwks: Option<String>,
    /// Believe these authorities of an https URL, and no others (PEM)
    #[arg(long, value_name = "FILE", requires = "jwks")]
    ca_file: Option<PathBuf>,
    /// Who must have issued them [default: token.issuer]
    #[arg(long)]
    issuer: Option<String>,
    /// For whom they must be [default: token.audience]
    #[arg(long)]
    audience: Option<String>,
}

/// What became of one token.
#[derive(Debug, Serialize)]
struct Verdict {
    line: u64,
    ok: bool,
    /// `access` or `service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(flatten)]
    says: Option<Says>,
    #[serde(flatten)]
    refused: Option<Refused>,
}

/// What a good token says.
#[derive(Debug, Serialize)]
struct Says {
    issuer: String,
    audience: Vec<String>,
    subject: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    roles: Vec<String>,
    issued_at: Option<String>,
    expires_at: Option<String>,
}

/// Why another is not.
#[derive(Debug, Serialize)]
struct Refused {
    reason: &'static str,
    detail: &'static str,
    message: String,
}

/// Does it.
pub(crate) async fn run(command: Command, context: &mut Context) -> anyhow::Result<()> {
    match command {
        Command::Verify(args) => verify(&args, std::io::stdin().lock(), context).await,
    }
}

async fn verify(args: &Verify, tokens: impl BufRead, context: &mut Context) -> anyhow::Result<()> {
    let text = match (&args.jwk, &args.jwks) {
        (Some(path), _) => std::fs::read(path).map_err(|error| failed("keys", format!("{}: {error}", path.display())))?,
        (None, url) => fetch(url.as_deref().unwrap_or_default(), args).await?,
    };
    let read = jwks::read(&text).map_err(|why| failed("keys", why))?;
    for why in &read.passed_over {
        context.console.note(format!("passed over {why}"));
    }
    let (issuer, audience) = names(args, context)?;
    let digest = key_set_digest(&read.keys);
    let snapshot = Snapshot {
        keys: Some(KeySet { keys: read.keys, digest }),
        time_us: Clock::system().now().as_micros(),
        issuer,
        audience: audience.clone(),
        ..Snapshot::default()
    };
    let verifier = Verifier::pinned(Config::named("carelink"), &snapshot).ok_or_else(|| failed("keys", "none of the keys can be used"))?;
    let (mut line, mut refused) = (0, 0);
    for token in tokens.lines() {
        let token = token.map_err(|error| failed("failed", format!("stdin cannot be read: {error}")))?;
        let token = token.trim_end_matches('\r');
        if token.is_empty() {
            continue;
        }
        line += 1;
        let verdict = judge(&verifier, token, &audience, line);
        refused += u64::from(!verdict.ok);
        context.console.record(&verdict)?;
    }
    match (line, refused) {
        (0, _) => Err(usage("there was no token on stdin; write one a line")),
        (_, 0) => Ok(()),
        (_, refused) => Err(failed("token_refused", format!("{refused} of {line} refused"))),
    }
}

/// Whom tokens must come from and be for: as typed, else as configured.
fn names(args: &Verify, context: &Context) -> anyhow::Result<(String, String)> {
    let configured = if context.configures("token") {
        let mut settings = context.settings()?;
        settings.pass_over_databases()?;
        let config = token_service::Config::read(&mut settings)?;
        settings.ignore(SECTIONS);
        settings.finish()?;
        config.token
    } else {
        token_service::TokenConfig::default()
    };
    Ok((args.issuer.clone().unwrap_or(configured.issuer), args.audience.clone().unwrap_or(configured.audience)))
}

async fn fetch(url: &str, args: &Verify) -> anyhow::Result<Vec<u8>> {
    let mut http = Http::new(Base::parse(url)?, "carelink", args.ca_file.as_deref())?;
    let answer = http.get("", None).await?;
    match answer.status {
        200 => Ok(answer.body.to_vec()),
        status => Err(failed("keys", format!("{url} answers {status}"))),
    }
}

/// A token is of either kind; that it is of the other is no verdict yet.
fn judge(verifier: &Verifier, token: &str, audience: &str, line: u64) -> Verdict {
    let refused = |refusal: Refusal| Refused { reason: refusal.reason(), detail: refusal.detail(), message: refusal.to_string() };
    let good = |kind, says| Verdict { line, ok: true, kind: Some(kind), says: Some(says), refused: None };
    match verifier.verify(token) {
        Ok(claims) => good("access", Says::from(&*claims)),
        Err(Refusal::TypeWrong) => match verifier.verify_service(token, audience) {
            Ok(claims) => good("service", Says::from(&*claims)),
            Err(refusal) => Verdict { line, ok: false, kind: None, says: None, refused: Some(refused(refusal)) },
        },
        Err(refusal) => Verdict { line, ok: false, kind: None, says: None, refused: Some(refused(refusal)) },
    }
}

fn at(second: i64) -> Option<String> {
    time(second.saturating_mul(1_000_000))
}

impl From<&Claims> for Says {
    fn from(claims: &Claims) -> Self {
        Self {
            issuer: claims.issuer.clone(),
            audience: claims.audience.clone(),
            subject: claims.subject.to_string(),
            user_id: Some(claims.user_id),
            session: Some(claims.session.to_string()),
            generation: Some(claims.generation),
            roles: claims.roles.clone(),
            issued_at: at(claims.issued_at.0),
            expires_at: at(claims.expires.0),
        }
    }
}

impl From<&ServiceClaims> for Says {
    fn from(claims: &ServiceClaims) -> Self {
        Self {
            issuer: claims.issuer.clone(),
            audience: claims.audience.clone(),
            subject: claims.service.clone(),
            user_id: None,
            session: None,
            generation: None,
            roles: claims.roles.clone(),
            issued_at: at(claims.issued_at.0),
            expires_at: at(claims.expires.0),
        }
    }
}
