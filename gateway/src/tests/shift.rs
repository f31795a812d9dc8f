//! The change of shift at seven, on the first morning: everybody comes at once, from one address, with a hash as the predecessor made it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use carelink_platform::{
    errors::{Failure, Reason},
    random::Random,
};
use carelink_proto::auth::VerifyPasswordResponse;
use futures::future::join_all;
use serde_json::json;
use tokio::{sync::Semaphore, time::sleep};
use tonic::{Response, Status};

use super::Ward;

/// What a check of PBKDF2 at a million rounds takes on a slow core.
const CHECK: Duration = Duration::from_millis(400);
const THREADS: u32 = 2;
/// How long the queue may be, as auth-service has it by default.
const QUEUE: Duration = Duration::from_secs(5);
const RIGHT: &str = "night vitals 21 ward";

/// auth-service's hashing threads, played.
#[derive(Clone, Debug)]
pub(super) struct Hashing {
    threads: Arc<Semaphore>,
    ahead: Arc<AtomicU32>,
    longest: Arc<AtomicU32>,
}

impl Hashing {
    fn new() -> Self {
        let threads = Arc::new(Semaphore::new(usize::try_from(THREADS).unwrap()));
        Self { threads, ahead: Arc::default(), longest: Arc::default() }
    }

    /// Whoever types the right password is let in, after their turn has come.
    pub(super) async fn verify(&self, password: &str) -> Result<Response<VerifyPasswordResponse>, Status> {
        let ahead = self.ahead.fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(ahead, Ordering::Relaxed);
        if CHECK * ahead / THREADS > QUEUE {
            self.ahead.fetch_sub(1, Ordering::Relaxed);
            return Err(Failure::new(Reason::QueueFull).retry_after(Duration::from_secs(1)).into());
        }
        let thread = self.threads.acquire().await.unwrap();
        sleep(CHECK).await;
        drop(thread);
        self.ahead.fetch_sub(1, Ordering::Relaxed);
        if password == RIGHT {
            return Ok(Response::new(VerifyPasswordResponse { assertion: "assertion".into(), ..VerifyPasswordResponse::default() }));
        }
        Err(Failure::new(Reason::CredentialsInvalid).into())
    }
}

#[tokio::test(start_paused = true)]
async fn c4_two_thousand_people_behind_one_address_sign_in_within_ten_minutes_by_the_default_budgets() {
    let ward = Ward::new();
    let hashing = Hashing::new();
    ward.played.script().hashing = Some(hashing.clone());
    let random = Random::seeded(7);
    let arrivals = (0..2_000_u32).map(|person| {
        let [a, b, typo, c] = random.bytes::<4>();
        let at = Duration::from_millis(u64::from(u32::from_be_bytes([0, a, b, c])) * 600_000 / (1 << 24));
        (person, at, typo < 13) // one in twenty mistypes
    });
    let arrivals: Vec<_> = arrivals.collect();
    let signing_in = arrivals.into_iter().map(|(person, at, mistypes)| {
        let ward = &ward;
        async move {
            sleep(at).await;
            let mut statuses = Vec::new();
            for password in [Some("night vitals 12 ward").filter(|_| mistypes), Some(RIGHT)].into_iter().flatten() {
                let body = json!({"username": format!("nurse{person}"), "password": password}).to_string();
                statuses.push(ward.post("/account/token/", body).await.status);
            }
            (mistypes, statuses)
        }
    });
    let all = join_all(signing_in).await;
    assert!(all.iter().all(|(mistypes, statuses)| if *mistypes { statuses == &[401, 200] } else { statuses == &[200] }), "{all:?}");
    assert_eq!(ward.played.script().sessions.len(), 2_000);
    assert!(hashing.longest.load(Ordering::Relaxed) > 5, "it was a crowd");
}

#[tokio::test(start_paused = true)]
async fn c4_all_of_them_at_once_get_in_by_and_by_if_they_come_again_when_they_are_told_to() {
    let ward = Ward::new();
    ward.played.script().hashing = Some(Hashing::new());
    let signing_in = (0..300).map(|person| {
        let ward = &ward;
        async move {
            let body = json!({"username": format!("nurse{person}"), "password": RIGHT}).to_string();
            loop {
                let answer = ward.post("/account/token/", body.clone()).await;
                match answer.status {
                    200 => return,
                    429 => sleep(Duration::from_secs(answer.header("retry-after").parse().unwrap())).await,
                    _ => panic!("{answer:?}"),
                }
            }
        }
    });
    let began = tokio::time::Instant::now();
    join_all(signing_in).await;
    let least = CHECK * 300 / THREADS;
    assert!(began.elapsed() < least * 3 / 2, "the threads were hardly ever idle: {:?} of {least:?}", began.elapsed());
}
