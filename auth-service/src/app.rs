//! Wiring: opens the database, derives the keys, starts the hashing threads, puts the RPCs behind their stack. Decides nothing.

use std::{path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use carelink_database::{Location, StoreError, backlog::BacklogConfig};
use carelink_platform::{
    clock::Clock,
    config,
    grpc::{Channel, Hooks, Stack},
    lifecycle::Shutdown,
    operations::Told,
    random::Random,
    seal::SealingPublicKey,
    secrets::{ExposeSecret, MasterKey, SecretString},
};
use carelink_proto::{
    audit::audit_service_client::AuditServiceClient, auth::auth_service_server::AuthServiceServer,
    token::token_service_client::TokenServiceClient,
};
use metrics::describe_counter;
use tokio::time::sleep;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use uuid::Uuid;

use crate::{
    CALLERS, Config, Error,
    domain::{
        assertion::{AssertionKey, AssertionSigner, SignerError},
        guessing::Origins,
        hasher::CostClass,
        names::UserName,
        one_time,
    },
    mail::{Mail, MailConfig},
    pool::{Pool, PoolOptions},
    rpc,
    store::{self, OneTimePassword, Store},
    subjects::Subjects,
    throttled::Throttled,
};

/// What the master key is asked for (K3).
const ASSERTION_PURPOSE: &str = "auth/assertion/v1";
const NAMES_PURPOSE: &str = "auth/names/v1";
/// How often it is looked which hashers are stored: another replica may have imported some.
const LOOK: Duration = Duration::from_secs(10);
/// A batch of an import, with room to spare.
const MAX_REQUEST_BYTES: usize = 16 << 20;
/// The first administrator's name (C6).
const FIRST_ADMINISTRATOR: &str = "carelink-admin";
/// How long the first administrator's password may be used (C6).
const ONE_TIME_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// What the service is built from.
#[derive(Debug)]
pub struct Options {
    /// The section `password`.
    pub config: Config,
    /// The section `mail`.
    pub mail: MailConfig,
    /// What happens when the trail falls behind (A6).
    pub backlog: BacklogConfig,
    /// Where the database is.
    pub database: Location,
    /// The clock behind the database's.
    pub clock: Clock,
    /// Ids, salts, jitter.
    pub random: Random,
    /// What this service's keys are derived from.
    pub master: MasterKey,
    /// What personal parts of events are sealed to.
    pub sealing: SealingPublicKey,
    /// Where snapshots of users go.
    pub token: TokenServiceClient<Channel>,
    /// Where events go.
    pub audit: AuditServiceClient<Channel>,
    /// How the token of a user for whom the gateway acts is verified. Refused calls are recorded here, whatever it says of them.
    pub hooks: Hooks,
    /// A file that holds the first administrator's one-time password; deleted when that is used.
    pub first_administrator_file: Option<PathBuf>,
}

/// The first administrator, who has only a one-time password yet (C6).
#[derive(Debug)]
pub struct FirstAdministrator {
    /// The name.
    pub username: String,
    /// Opens nothing but the setting of a password, for 24 hours.
    pub one_time_password: SecretString,
}

/// The service. Cheap to clone.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) config: Arc<Config>,
    pub(crate) store: Store,
    pub(crate) pool: Arc<Pool>,
    pub(crate) signer: Arc<AssertionSigner>,
    pub(crate) subjects: Subjects,
    pub(crate) throttled: Arc<Throttled>,
    pub(crate) guesses_refused: Arc<Throttled>,
    pub(crate) origins: Arc<Origins>,
    pub(crate) mail: Arc<Mail>,
    pub(crate) first_administrator_file: Arc<Option<PathBuf>>,
    /// What goes on after the answer.
    pub(crate) afterwards: TaskTracker,
    classes: Arc<ArcSwap<Vec<CostClass>>>,
    names: Arc<hmac::Key>,
    audit: AuditServiceClient<Channel>,
    hooks: Hooks,
}

/// The key that signs assertions, for token-service to pin before this service is built.
///
/// # Errors
/// Where no key can be made of the master key.
pub fn assertion_key(master: &MasterKey) -> Result<AssertionKey, SignerError> {
    signer(master)?.key()
}

fn signer(master: &MasterKey) -> Result<AssertionSigner, SignerError> {
    AssertionSigner::from_seed(&master.derive(ASSERTION_PURPOSE))
}

impl App {
    /// Opens everything; but for the hashing threads nothing runs yet.
    ///
    /// # Errors
    /// Where the configuration, the database or a key cannot be used.
    pub async fn build(options: Options) -> Result<Self, Error> {
        let Options { config, mail, backlog, database, clock, random, master, sealing, token, audit, hooks, first_administrator_file } =
            options;
        config.validate()?;
        if config.cheap() {
            tracing::warn!("password.argon2 is cheaper than 7 MiB in five passes: stolen hashes would fall quickly");
        }
        let store = Store::open(database, clock, random.clone(), sealing, backlog).await?;
        store.trail.record_build(&config::fingerprint(&config)).await?;
        describe_counter!(
            "carelink_guesses_refused_total",
            "Sign-ins that were not tried because the way they came by is closed, by the way"
        );
        describe_counter!("carelink_guessing_closed_total", "Ways to accounts that wrong passwords have closed, by the way");
        let signer = signer(&master)?;
        store::note_key(&store, signer.key()?.kid).await?;
        let pool = PoolOptions { threads: config.hashing_threads(), cost: config.argon2, queue: config.queue, random };
        let app = Self {
            config: Arc::new(config),
            pool: Arc::new(Pool::start(pool).map_err(Error::Threads)?),
            signer: Arc::new(signer),
            subjects: Subjects { store: store.clone(), token },
            throttled: Arc::default(),
            guesses_refused: Arc::default(),
            origins: Arc::new(Origins::new(master.clone())),
            mail: Arc::new(Mail::new(mail, master.clone(), store.random.clone())?),
            first_administrator_file: Arc::new(first_administrator_file),
            afterwards: TaskTracker::new(),
            classes: Arc::default(),
            names: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &master.derive::<32>(NAMES_PURPOSE))),
            store,
            audit,
            hooks,
        };
        app.look_at_hashers().await?;
        Ok(app)
    }

    /// The RPCs behind their layers, for calls within the process and for a socket.
    pub fn stack(&self) -> Stack {
        let routes = Routes::new(AuthServiceServer::new(rpc::Rpc(self.clone())).max_decoding_message_size(MAX_REQUEST_BYTES));
        let hooks = Hooks { on_refused: Some(self.store.trail.on_refused()), ..self.hooks.clone() };
        Stack::new(routes, CALLERS, hooks, self.store.random.clone())
    }

    /// For what operators do in this process.
    pub fn told(&self) -> Told {
        self.store.trail.told()
    }

    /// Runs until the stop is requested; then finishes what goes on after answers and delivers what others still have to hear.
    pub async fn run(self, shutdown: Shutdown) {
        self.ask_for_administrator().await;
        let delivery = Shutdown::new();
        let letters = self.mail.is_on().then(|| self.mail.relay(&self.store));
        let delivering = [self.store.trail.relay(self.audit.clone()), self.subjects.relay()].into_iter().chain(letters);
        let delivering: Vec<_> = delivering.map(|relay| tokio::spawn(relay.run(delivery.clone()))).collect();
        tokio::join!(self.store.trail.run(&shutdown), self.keep_looking(&shutdown), self.sweep(&shutdown));
        self.afterwards.close();
        self.afterwards.wait().await;
        delivery.request();
        for relay in delivering {
            let _ = relay.await; // ends by itself
        }
        self.store.db.checkpoint().await;
    }

    /// Makes the first administrator where none has ever existed, or gives the one who never used it a new password (C6). For `up`,
    /// which has a terminal or a directory to leave the password in. However many replicas do it at once, there is one, whose password
    /// is the last that was handed out.
    ///
    /// In a fleet nobody does: whoever holds an operator's certificate is the first administrator's maker, by `carelink user add NAME
    /// --role admin` and the password that it asks for. Until then a start says so in the log.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn first_administrator(&self) -> Result<Option<FirstAdministrator>, Error> {
        let password = one_time::password(&self.store.random.bytes());
        let expires_at = self.store.trail.now() + ONE_TIME_LIFETIME;
        let one_time = OneTimePassword { digest: one_time::digest(password.expose_secret()), expires_at };
        let made = store::first_administrator(&self.store, UserName::new(FIRST_ADMINISTRATOR)?, one_time).await?;
        let Some(made) = made else { return Ok(None) };
        self.subjects.deliver(made.pending).await;
        Ok(Some(FirstAdministrator { username: made.user.username, one_time_password: password }))
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// Where it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.store.db.ping().await
    }

    /// Says in the log how to make an administrator, in a fleet that has never had one.
    async fn ask_for_administrator(&self) {
        if self.store.db.is_shared() && store::administrator_missing(&self.store).await.unwrap_or_default() {
            tracing::warn!("no administrator has ever existed here; with an operator's certificate: carelink user add NAME --role admin");
        }
    }

    /// The dearest hasher that a password here may be tried against, and what it takes (C3).
    pub(crate) fn dearest(&self) -> (CostClass, Duration) {
        self.pool.dearest(&self.classes.load())
    }

    /// How an unknown name appears in the trail and among guesses: the same name always the same, and no name to be read from it (A2).
    pub(crate) fn unknown(&self, name: &str) -> Uuid {
        let digest = hmac::sign(&self.names, name.as_bytes());
        Uuid::from_bytes(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }

    /// A stored hash of this class was met: whoever is unknown is tried against one as dear from now on, not only when it is next looked.
    pub(crate) fn met(&self, class: CostClass) {
        if self.classes.load().contains(&class) || (class == CostClass::Md5 && !self.config.allow_md5) {
            return;
        }
        self.classes.rcu(|known| known.iter().copied().chain([class]).collect::<Vec<_>>());
    }

    /// Sees which hashers are stored.
    pub(crate) async fn look_at_hashers(&self) -> Result<(), Error> {
        let mut classes = store::cost_classes(&self.store).await?;
        classes.retain(|class| self.config.allow_md5 || *class != CostClass::Md5);
        self.classes.store(Arc::new(classes));
        Ok(())
    }

    async fn keep_looking(&self, shutdown: &Shutdown) {
        loop {
            tokio::select! { () = sleep(LOOK) => {}, () = shutdown.requested() => return }
            if let Err(error) = self.look_at_hashers().await {
                tracing::warn!(%error, "could not see which hashers are stored");
            }
            if let Err(error) = store::look_at_names(&self.store).await {
                tracing::warn!(%error, "could not see what names look like");
            }
        }
    }
}
