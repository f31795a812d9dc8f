//! A gateway without HTTP: the real channel to token-service, the real verifier, the deadlines of the edge. People reach it by a line
//! and are answered by a line.

use std::{net::IpAddr, time::Duration};

use carelink_platform::{
    context::{RequestContext, TraceContext},
    errors::{Failure, Reason},
    grpc::Channel,
};
use carelink_proto::token::{CreateSessionRequest, RefreshRequest, SignOutRequest, TokenPair, token_service_client::TokenServiceClient};
use carelink_verifier::{Config, Purpose, Refusal, Verifier};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    time::{Instant, timeout},
};
use tonic::{Response, Status};
use turmoil::net::{TcpListener, TcpStream};

use crate::{
    net,
    world::{MAX_STALENESS, Plant, TOKENS, World},
};

const PORT: u16 = 8000;
/// What the edge gives a refresh, and what a verifier may wait for.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
const INTROSPECT: Duration = Duration::from_secs(1);
/// What the runtime's grain adds to either.
const SLACK: Duration = Duration::from_millis(150);

/// What people ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    SignIn,
    Refresh,
    SignOut,
    /// A request at the edge.
    Edge,
    /// A request that gives or changes something.
    Grant,
}

impl Ask {
    const ALL: [Self; 5] = [Self::SignIn, Self::Refresh, Self::SignOut, Self::Edge, Self::Grant];

    fn name(self) -> String {
        format!("{self:?}")
    }
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Pair {
        access: String,
        refresh: String,
    },
    Done,
    /// Final: another try would be told the same.
    Refused(String),
    /// Nobody knows; try again.
    Unavailable,
}

#[derive(Clone)]
struct Gate {
    world: World,
    name: &'static str,
    verifier: Verifier,
    token: TokenServiceClient<Channel>,
}

/// One start of a gateway, until it is crashed.
pub(crate) async fn run(world: World, name: &'static str) -> turmoil::Result {
    let random = world.random(name);
    let channel = net::to_token_service(&TOKENS, &random);
    let config = Config {
        max_staleness: MAX_STALENESS,
        introspect_timeout: INTROSPECT,
        seed: Some(u64::from_be_bytes(random.bytes())),
        ..Config::named(name)
    };
    let gate = Gate { verifier: Verifier::start(config, channel.clone()), token: TokenServiceClient::new(channel), world, name };
    gate.world.note(name, "is up");
    let listener = TcpListener::bind((IpAddr::from([0, 0, 0, 0]), PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let gate = gate.clone();
        tokio::spawn(async move {
            let _ = gate.answer(stream).await; // whoever asked is gone
        });
    }
}

impl Gate {
    async fn answer(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let Some((ask, token)) = line.trim_end().split_once(' ') else { return Ok(()) };
        let Some(ask) = Ask::ALL.into_iter().find(|known| known.name() == ask) else { return Ok(()) };
        let began = Instant::now();
        let told = self.serve(ask, token).await;
        let limit = if matches!(ask, Ask::Edge | Ask::Grant) { INTROSPECT } else { DEADLINE } + SLACK;
        self.world.took(self.name, ask, began.elapsed(), limit);
        let line = match told {
            Told::Pair { access, refresh } => format!("pair {access} {refresh}\n"),
            Told::Done => "done\n".to_owned(),
            Told::Refused(reason) => format!("refused {reason}\n"),
            Told::Unavailable => "unavailable\n".to_owned(),
        };
        stream.write_all(line.as_bytes()).await
    }

    async fn serve(&self, ask: Ask, token: &str) -> Told {
        let mut client = self.token.clone();
        let token = token.to_owned();
        match ask {
            Ask::SignIn => {
                self.within(async { pair(client.create_session(CreateSessionRequest { assertion: token, ..Default::default() }).await) })
                    .await
            }
            Ask::Refresh => {
                let told =
                    self.within(async { pair(client.refresh(RefreshRequest { refresh_token: token, ..Default::default() }).await) }).await;
                self.planted(told).await
            }
            Ask::SignOut => {
                let request = SignOutRequest { refresh_token: token, ..Default::default() };
                self.within(async { client.sign_out(request).await.map_or_else(|status| refused(&status), |_| Told::Done) }).await
            }
            Ask::Edge => self.check(&token, Purpose::Edge).await,
            Ask::Grant => self.check(&token, Purpose::Grant).await,
        }
    }

    /// As the edge of a real gateway: everything below shares this deadline (T4).
    async fn within(&self, work: impl Future<Output = Told>) -> Told {
        let deadline = (self.world.plant() != Plant::NoDeadline).then(|| Instant::now() + DEADLINE);
        let context = RequestContext { trace: TraceContext::root(&self.world.random("trace"), false), deadline };
        context.scope(work).await
    }

    async fn check(&self, token: &str, purpose: Purpose) -> Told {
        let asked = if self.world.plant() == Plant::GrantsWhileBlind { Purpose::Edge } else { purpose };
        let began = self.world.now();
        match self.verifier.check(token, asked).await {
            Ok(claims) => {
                self.world.accepted(self.name, &claims, began, purpose);
                Told::Done
            }
            Err(Refusal::Unavailable) => Told::Unavailable,
            Err(refusal) => {
                self.world.refused(self.name, token, refusal);
                Told::Refused(refusal.reason().to_owned())
            }
        }
    }

    /// A mistake that a gateway could have: it goes one step further than it was asked to.
    async fn planted(&self, told: Told) -> Told {
        match (self.world.plant(), told) {
            (Plant::RefreshesTwice, Told::Pair { refresh, .. }) if self.name == "gate-2" => {
                let again = RefreshRequest { refresh_token: refresh, ..Default::default() };
                timeout(DEADLINE, async { pair(self.token.clone().refresh(again).await) }).await.unwrap_or(Told::Unavailable)
            }
            (_, told) => told,
        }
    }
}

trait Issued {
    fn pair(self) -> Option<TokenPair>;
}

impl Issued for carelink_proto::token::CreateSessionResponse {
    fn pair(self) -> Option<TokenPair> {
        self.tokens
    }
}

impl Issued for carelink_proto::token::RefreshResponse {
    fn pair(self) -> Option<TokenPair> {
        self.tokens
    }
}

fn pair(answer: Result<Response<impl Issued>, Status>) -> Told {
    match answer {
        Ok(response) => {
            let pair = response.into_inner().pair().unwrap();
            Told::Pair { access: pair.access_token, refresh: pair.refresh_token }
        }
        Err(status) => refused(&status),
    }
}

/// As the edge answers: what says something about the token is final, everything else is 503 or 504.
fn refused(status: &Status) -> Told {
    match Failure::from_status(status).reason() {
        reason @ (Reason::SessionRevoked
        | Reason::SessionExpired
        | Reason::SessionReused
        | Reason::SessionStateLost
        | Reason::UserInactive
        | Reason::TokenInvalid
        | Reason::TokenExpired
        | Reason::AssertionUsed
        | Reason::AssertionInvalid
        | Reason::CredentialsInvalid) => Told::Refused(reason.as_str().to_owned()),
        _ => Told::Unavailable,
    }
}

/// Asks a gateway, and waits as long as a browser would.
pub(crate) async fn ask(gate: &str, ask: Ask, token: &str) -> Told {
    let asked = async {
        let mut stream = BufReader::new(TcpStream::connect((gate, PORT)).await?);
        stream.write_all(format!("{} {token}\n", ask.name()).as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        Ok::<_, std::io::Error>(line)
    };
    let Ok(Ok(line)) = timeout(DEADLINE + Duration::from_secs(1), asked).await else { return Told::Unavailable };
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["pair", access, refresh] => Told::Pair { access: (*access).to_owned(), refresh: (*refresh).to_owned() },
        ["done"] => Told::Done,
        ["refused", reason] => Told::Refused((*reason).to_owned()),
        _ => Told::Unavailable,
    }
}
