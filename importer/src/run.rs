//! The import itself: users first, then the source's key, then its tokens (L1, L3). A dry run registers nothing.
//!
//! Every call is idempotent and may be repeated; what the services have already, they call unchanged.

use std::{fmt, time::Duration};

use carelink_platform::{
    clock::{Clock, Timestamp},
    grpc::Channel,
    secrets::{ExposeSecret, SecretString},
};
use carelink_proto::{
    auth::{ImportUsersRequest, LegacyUser, LegacyUserResult, auth_service_client::AuthServiceClient},
    token::{
        ImportSessionsRequest, LegacyHolder, LegacyToken, LegacyTokenOutcome, RegisterSourceRequest,
        token_service_client::TokenServiceClient,
    },
};
use tonic::{Code, Request, Response, Status};

use crate::{
    error::ImportError,
    holders::{Holder, Holders},
    report::{Note, Report, UserTally},
    source::{Batch, Rows, Source, SourceToken, Totals, signatures::Signatures},
};

/// How long one batch may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// Users that are told to token-service at once, at most.
const HOLDERS: usize = 1_000;
/// How long to wait before a call is repeated that could not be served just now; then it is given up.
const PATIENCE: [Duration; 5] =
    [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// How to import.
#[derive(Debug)]
pub struct Options {
    /// The source's name here; its users and tokens are told apart by it.
    pub source: String,
    /// The predecessor's SECRET_KEY; without it tokens are left out.
    pub secret_key: Option<SecretString>,
    /// How the predecessor signed: HS256, HS384 or HS512.
    pub algorithm: String,
    /// Decide and report, but write nothing.
    pub dry_run: bool,
    /// Superusers become administrators (L2).
    pub superusers_as_admins: bool,
    /// Names that collide become `name@source`.
    pub qualify: bool,
}

/// The services that take what a source has.
#[derive(Clone, Debug)]
pub struct Services {
    /// Takes users.
    pub auth: AuthServiceClient<Channel>,
    /// Takes the key and the tokens.
    pub token: TokenServiceClient<Channel>,
}

/// What is being imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Rows of the table of users.
    Users,
    /// Outstanding tokens.
    Tokens,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Users => "users",
            Self::Tokens => "tokens",
        })
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being imported.
    pub step: Step,
    /// Rows dealt with.
    pub done: u64,
    /// Rows there are.
    pub total: u64,
}

/// Imports a source and reports what became of every row. `progress` is called after each batch.
///
/// # Errors
/// Where the source cannot be read to its end, or a service does not answer. What was done stays done.
pub async fn run(
    mut source: Source,
    options: Options,
    services: Services,
    clock: &Clock,
    progress: impl FnMut(Progress),
) -> Result<Report, ImportError> {
    if !is_source_name(&options.source) {
        return Err(ImportError::SourceName(options.source));
    }
    let totals = source.totals();
    let mut report = Report::new(options.source.clone(), options.dry_run, source.layout().clone());
    if report.layout.active.is_none() {
        report.notes.push(Note::EverybodyActive);
    }
    if source.is_torn() {
        report.notes.push(Note::NoSnapshot);
    }
    let rows = match (&report.layout.tokens, &options.secret_key) {
        (Some(_), Some(_)) => Rows::UsersAndTokens,
        (None, Some(_)) => {
            report.notes.push(Note::NoTokenTables);
            Rows::Users
        }
        (_, None) => Rows::Users,
    };
    if totals.tokens > 0 && rows == Rows::Users {
        report.tokens.left_out = totals.tokens;
        report.notes.push(Note::NoKey);
    }
    if let (Rows::UsersAndTokens, Some(key)) = (rows, &options.secret_key) {
        let Signatures { ours, others, algorithm } = source.signatures(key.expose_secret().as_bytes(), &options.algorithm).await?;
        match (ours, others) {
            (_, 0) => {}
            (0, others) => return Err(ImportError::WrongKey { others, algorithm }),
            (_, others) => report.notes.push(Note::OtherKeys { others }),
        }
    }
    let unrecorded = if rows == Rows::UsersAndTokens { source.unrecorded_rotations().await? } else { 0 };
    if unrecorded > 0 {
        report.notes.push(Note::UnrecordedRotations { blacklisted: unrecorded });
    }
    let mut import =
        Import { options, services, now: clock.now(), totals, progress, report, holders: Holders::default(), users: 0, tokens: 0 };
    let mut batches = source.stream(rows)?;
    let mut registered = false;
    while let Some(batch) = batches.next().await? {
        match batch {
            Batch::Users { read, refused } => {
                import.users += count(read.len() + refused.len());
                refused.into_iter().for_each(|row| import.report.refuse(row));
                import.import_users(read).await?;
                import.tell(Step::Users);
            }
            Batch::Tokens { read, refused } => {
                if !std::mem::replace(&mut registered, true) {
                    import.register_source().await?;
                }
                import.tokens += count(read.len() + refused.len());
                refused.into_iter().for_each(|reason| import.report.refuse_token(reason));
                import.import_tokens(read).await?;
                import.tell(Step::Tokens);
            }
        }
    }
    if !registered {
        import.register_source().await?;
    }
    Ok(import.report)
}

struct Import<P> {
    options: Options,
    services: Services,
    now: Timestamp,
    totals: Totals,
    progress: P,
    report: Report,
    holders: Holders,
    users: u64,
    tokens: u64,
}

impl<P: FnMut(Progress)> Import<P> {
    fn tell(&mut self, step: Step) {
        let (done, total) = match step {
            Step::Users => (self.users, self.totals.users),
            Step::Tokens => (self.tokens, self.totals.tokens),
        };
        (self.progress)(Progress { step, done, total });
    }

    async fn import_users(&mut self, users: Vec<LegacyUser>) -> Result<(), ImportError> {
        if users.is_empty() {
            return Ok(());
        }
        let request = ImportUsersRequest {
            source: self.options.source.clone(),
            users,
            dry_run: self.options.dry_run,
            superusers_as_admins: self.options.superusers_as_admins,
            qualify: self.options.qualify,
        };
        let client = &self.services.auth;
        let answer = patiently(|| {
            let (mut client, request) = (client.clone(), timed(request.clone()));
            async move { client.import_users(request).await }
        });
        let answer = answer.await.map_err(|status| self.failed(Step::Users, status))?;
        self.agree(Step::Users, request.users.len(), answer.outcomes.len())?;
        self.report.subjects_pending = answer.subjects_pending;
        for (user, outcome) in request.users.iter().zip(&answer.outcomes) {
            let known = self.report.count(user, outcome, self.options.superusers_as_admins);
            if let (true, Ok(legacy_id)) = (known, u32::try_from(user.legacy_id)) {
                let subject = <[u8; 16]>::try_from(outcome.id.as_slice()).unwrap_or_default();
                self.holders.add(Holder { subject, legacy_id, active: user.active, new: outcome.result() == LegacyUserResult::Imported });
            }
        }
        Ok(())
    }

    async fn register_source(&mut self) -> Result<(), ImportError> {
        let Some(key) = self.options.secret_key.as_ref().filter(|_| !self.options.dry_run) else { return Ok(()) };
        let client = &self.services.token;
        let answer = patiently(|| {
            let request = RegisterSourceRequest {
                source: self.options.source.clone(),
                secret_key: key.expose_secret().to_owned(),
                algorithm: self.options.algorithm.clone(),
            };
            let mut client = client.clone();
            async move { client.register_source(timed(request)).await }
        });
        answer.await.map_err(|status| self.failed(Step::Tokens, status))?;
        for holders in self.holders.chunks(HOLDERS) {
            self.import_holders(holders).await.map_err(|status| self.failed(Step::Tokens, status))?;
        }
        Ok(())
    }

    /// Tells token-service who the users are: by these it knows a token that is in no table, where it may (`legacy.accept = signed`).
    async fn import_holders(&self, holders: &[Holder]) -> Result<(), Status> {
        let holder = |holder: &Holder| LegacyHolder { legacy_id: holder.legacy_id.into(), subject: holder.subject.to_vec() };
        let request = ImportSessionsRequest {
            source: self.options.source.clone(),
            holders: holders.iter().map(holder).collect(),
            ..ImportSessionsRequest::default()
        };
        let client = &self.services.token;
        let told = patiently(|| {
            let (mut client, request) = (client.clone(), timed(request.clone()));
            async move { client.import_sessions(request).await }
        });
        told.await.map(|_| ())
    }

    async fn import_tokens(&mut self, tokens: Vec<SourceToken>) -> Result<(), ImportError> {
        let mut sent = Vec::with_capacity(tokens.len());
        for token in tokens {
            let holder = token.holder.and_then(|id| self.holders.find(id)).copied();
            if self.options.dry_run && holder.is_none_or(|holder| holder.new) {
                self.report.count_token(foresee(&token, holder, self.now)); // the user is not there yet to be asked about
            } else {
                sent.push((token, holder));
            }
        }
        if sent.is_empty() {
            return Ok(());
        }
        let request = ImportSessionsRequest {
            source: self.options.source.clone(),
            tokens: sent.iter().map(|(token, holder)| legacy_token(token, *holder)).collect(),
            dry_run: self.options.dry_run,
            holders: Vec::new(),
        };
        let client = &self.services.token;
        let answer = patiently(|| {
            let (mut client, request) = (client.clone(), timed(request.clone()));
            async move { client.import_sessions(request).await }
        });
        match answer.await {
            Ok(answer) => {
                self.agree(Step::Tokens, request.tokens.len(), answer.outcomes.len())?;
                answer.outcomes().for_each(|outcome| self.report.count_token(outcome));
            }
            // The users were imported before, without a key; a dry run does not register one.
            Err(status) if self.options.dry_run && matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => {
                sent.iter().for_each(|(token, holder)| self.report.count_token(foresee(token, *holder, self.now)));
            }
            Err(status) => return Err(self.failed(Step::Tokens, status)),
        }
        Ok(())
    }

    fn agree(&self, step: Step, sent: usize, answered: usize) -> Result<(), ImportError> {
        if sent == answered { Ok(()) } else { Err(ImportError::Miscounted { step, done: self.done(step), sent, answered }) }
    }

    fn failed(&self, step: Step, status: Status) -> ImportError {
        ImportError::Call { step, done: self.done(step), status: Box::new(status) }
    }

    /// Rows whose outcome is known.
    fn done(&self, step: Step) -> u64 {
        match step {
            Step::Users => self.report.users.values().map(UserTally::total).sum(),
            Step::Tokens => self.report.tokens.total(),
        }
    }
}

/// What token-service would make of a token whose user it does not know yet.
fn foresee(token: &SourceToken, holder: Option<Holder>, now: Timestamp) -> LegacyTokenOutcome {
    match holder {
        _ if token.expires <= now => LegacyTokenOutcome::Expired,
        None => LegacyTokenOutcome::UnknownUser,
        Some(_) if token.blacklisted => LegacyTokenOutcome::Blacklisted,
        Some(holder) if !holder.active => LegacyTokenOutcome::InactiveUser,
        Some(_) => LegacyTokenOutcome::Live,
    }
}

fn legacy_token(token: &SourceToken, holder: Option<Holder>) -> LegacyToken {
    LegacyToken {
        jti: token.jti.clone(),
        subject: holder.map(|holder| holder.subject.to_vec()).unwrap_or_default(),
        created_us: token.created.as_micros(),
        expires_us: token.expires.as_micros(),
        blacklisted: token.blacklisted,
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// Repeats a call that could not be served just now.
async fn patiently<T, F: Future<Output = Result<Response<T>, Status>>>(mut call: impl FnMut() -> F) -> Result<T, Status> {
    for pause in PATIENCE {
        match call().await {
            Err(status) if is_passing(status.code()) => tokio::time::sleep(pause).await,
            answer => return answer.map(Response::into_inner),
        }
    }
    call().await.map(Response::into_inner)
}

fn is_passing(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::ResourceExhausted | Code::Aborted)
}

fn is_source_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
