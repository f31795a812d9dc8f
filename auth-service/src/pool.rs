//! The hashing threads: a fixed few, each with its memory, behind a queue that is measured in seconds (C3).
//!
//! Nothing else in the process hashes a password. What does not fit into the queue is turned away, so that a password spray costs neither
//! memory nor anybody else's refresh. Memory is taken at the first hash; what a stored hash needs above the configured cost is given back
//! after it, and no more than [`MEMORY_KIB`] is in use at once. The threads stand back behind everything else that the machine does: with
//! both cores busy hashing, what another process does in milliseconds took nine times as long beside threads as urgent as itself, and
//! three times as long beside these.

mod rates;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use carelink_platform::random::Random;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use self::rates::Rates;
use crate::domain::hasher::{Argon2Cost, CostClass, Encoded, Memory, encode_argon2id};

/// What all threads together may use, unless the configured cost needs more.
const MEMORY_KIB: u64 = 256 * 1024;
/// How far hashing threads stand back, of 19; on Linux each thread has a level of its own.
const NICE: i32 = 5;
/// How far a session that does nothing but this service's work stands back.
const SESSION_NICE: &str = "10";
/// The shortest time after which trying again is worth it, where the queue is not shorter.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// How the pool is made.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    /// How many threads hash.
    pub threads: usize,
    /// What new hashes cost.
    pub cost: Argon2Cost,
    /// How long somebody may have to wait for their turn.
    pub queue: Duration,
    /// For salts and jitter.
    pub random: Random,
}

/// Why nothing was hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The queue is longer than anybody should wait.
    #[error("too many sign-ins at once")]
    Full {
        /// When it is worth trying again, scattered by chance.
        retry_after: Duration,
    },
    /// The pool is stopping, or a hash failed.
    #[error("the hashing threads do not answer")]
    Failed,
}

/// What came of trying passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Which of the tries fits.
    pub fits: Option<usize>,
    /// How many were made.
    pub tries: u32,
    /// When hashing began: the wait before it tells nobody anything.
    pub began: Instant,
}

/// The hashing threads. Dropping it ends them after what they are at.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    queue: Duration,
    random: Random,
}

#[derive(Debug)]
struct Shared {
    cost: Argon2Cost,
    threads: u32,
    memory_kib: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    /// What waiting and running jobs will take the whole pool, by estimate.
    pending: Duration,
    running_kib: u64,
    rates: Rates,
    stopping: bool,
}

#[derive(Debug)]
struct Job {
    class: CostClass,
    /// How long it keeps the whole pool busy: its time by its share.
    estimate: Duration,
    task: Task,
}

enum Task {
    Check { stored: Encoded, tries: Vec<Zeroizing<Vec<u8>>>, reply: oneshot::Sender<Checked> },
    Hash { password: Zeroizing<Vec<u8>>, salt: [u8; 16], reply: oneshot::Sender<Option<String>> },
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Check { .. } => "Check",
            Self::Hash { .. } => "Hash",
        })
    }
}

impl Pool {
    /// Starts the threads.
    pub fn start(options: PoolOptions) -> io::Result<Self> {
        let PoolOptions { threads, cost, queue, random } = options;
        let threads = u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
        let shared = Arc::new(Shared {
            cost,
            threads,
            memory_kib: MEMORY_KIB.max(u64::from(threads) * u64::from(cost.memory_kib)),
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let pool = Self { shared: Arc::clone(&shared), queue, random };
        for number in 0..threads {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("auth-hash-{number}")).spawn(move || shared.work())?;
        }
        Ok(pool)
    }

    /// Tries passwords, in order, until one fits.
    pub async fn check(&self, stored: Encoded, tries: Vec<Zeroizing<Vec<u8>>>) -> Result<Checked, PoolError> {
        let (reply, answer) = oneshot::channel();
        let times = u32::try_from(tries.len()).unwrap_or(u32::MAX);
        self.submit(stored.cost_class(), times, Task::Check { stored, tries, reply })?;
        answer.await.map_err(|_| PoolError::Failed)
    }

    /// Hashes a password as ours are.
    pub async fn hash(&self, password: Zeroizing<Vec<u8>>) -> Result<String, PoolError> {
        let (reply, answer) = oneshot::channel();
        let salt = self.random.bytes();
        self.submit(self.own_class(), 1, Task::Hash { password, salt, reply })?;
        answer.await.ok().flatten().ok_or(PoolError::Failed)
    }

    /// What one check of this class takes here, as measured.
    pub fn estimate(&self, class: CostClass) -> Duration {
        self.shared.lock().rates.estimate(class)
    }

    /// The dearest of these and of new hashes, and what it takes.
    pub fn dearest(&self, classes: &[CostClass]) -> (CostClass, Duration) {
        let own = self.own_class();
        let state = self.shared.lock();
        let all = classes.iter().chain([&own]).map(|class| (*class, state.rates.estimate(*class)));
        all.max_by_key(|(_, estimate)| *estimate).unwrap_or((own, Duration::ZERO))
    }

    /// The class of new hashes.
    pub fn own_class(&self) -> CostClass {
        CostClass::Argon2(crate::domain::hasher::Argon2Variant::Id, self.shared.cost)
    }

    /// Whether a job would be taken now: what is done for one that would not is done in vain.
    pub fn admits(&self) -> Result<(), PoolError> {
        self.room(&self.shared.lock())
    }

    fn room(&self, state: &State) -> Result<(), PoolError> {
        if state.stopping {
            return Err(PoolError::Failed);
        }
        let wait = state.pending;
        if wait > self.queue {
            metrics::counter!("carelink_hash_refused_total").increment(1);
            return Err(PoolError::Full { retry_after: self.jittered(RETRY_AFTER.min(self.queue).max(wait - self.queue)) });
        }
        Ok(())
    }

    fn submit(&self, class: CostClass, times: u32, task: Task) -> Result<(), PoolError> {
        let mut state = self.shared.lock();
        self.room(&state)?;
        let estimate = state.rates.estimate(class).saturating_mul(times).mul_f64(self.shared.share(class));
        state.pending += estimate;
        state.waiting.push_back(Job { class, estimate, task });
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// One to two times as long, so that those who were turned away together do not come back together.
    fn jittered(&self, least: Duration) -> Duration {
        least + least.mul_f64(f64::from(u16::from_be_bytes(self.random.bytes())) / f64::from(u16::MAX))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        state.waiting.clear();
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of the pool that a job keeps from others: a thread, or its part of the memory where that is more.
    fn share(&self, class: CostClass) -> f64 {
        #[allow(clippy::cast_precision_loss)] // an estimate
        let memory = class.work().memory_kib as f64 / self.memory_kib as f64;
        memory.max(1.0 / f64::from(self.threads)).min(1.0)
    }

    /// What each thread does until the pool is dropped.
    fn work(&self) {
        stand_back();
        let mut memory = Memory::keeping(self.cost.memory_kib);
        while let Some(Job { class, estimate, task }) = self.next() {
            let began = Instant::now();
            // A panic in a hasher is this one try's end, not the thread's; dropping the reply tells whoever waits.
            let times = catch_unwind(AssertUnwindSafe(|| task.run(self.cost, &mut memory))).unwrap_or_default();
            let took = began.elapsed();
            let mut state = self.lock();
            state.pending = state.pending.saturating_sub(estimate);
            state.running_kib = state.running_kib.saturating_sub(class.work().memory_kib);
            if times > 0 {
                state.rates.measured(class, took / times);
                metrics::histogram!("carelink_hash_seconds", "hasher" => class.hasher()).record((took / times).as_secs_f64());
            }
            drop(state);
            self.changed.notify_all(); // memory may have become free for a dear one
        }
    }

    /// The next job, first come first served: a dear one that waits for memory is not overtaken.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return None;
            }
            let needs = state.waiting.front().map(|job| job.class.work().memory_kib);
            if let Some(needs) = needs.filter(|needs| state.running_kib == 0 || state.running_kib + needs <= self.memory_kib) {
                state.running_kib += needs;
                return state.waiting.pop_front();
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Lets other sessions go first, where this process leads its own: Linux may share the cores between sessions before it looks at
/// whose threads are how urgent (`kernel.sched_autogroup_enabled`). For a process that does nothing but auth-service's work.
pub fn stand_back_as_session() {
    let leads = rustix::process::getsid(None).is_ok_and(|session| session == rustix::process::getpid());
    if leads {
        let _ = std::fs::write("/proc/self/autogroup", SESSION_NICE); // there may be no such thing here
    }
}

/// Lets everybody else on this machine go first: who signs in waits for tenths of a second anyhow, who refreshes for milliseconds.
fn stand_back() {
    let further_back = rustix::process::getpriority_process(None).is_ok_and(|level| level >= NICE);
    if let Err(error) = if further_back { Ok(()) } else { rustix::process::setpriority_process(None, NICE) } {
        tracing::warn!(%error, "hashing threads run as urgently as everything else");
    }
}

impl Task {
    /// Does it, unless nobody waits any more. Returns how many times it hashed.
    fn run(self, cost: Argon2Cost, memory: &mut Memory) -> u32 {
        match self {
            Self::Check { stored, tries, reply } => {
                if reply.is_closed() {
                    return 0;
                }
                let began = Instant::now();
                let fits = tries.iter().position(|password| stored.fits(password, memory));
                let made = u32::try_from(fits.map_or(tries.len(), |at| at + 1)).unwrap_or(u32::MAX);
                let _ = reply.send(Checked { fits, tries: made, began }); // whoever asked may have gone
                made
            }
            Self::Hash { password, salt, reply } => {
                if reply.is_closed() {
                    return 0;
                }
                let _ = reply.send(encode_argon2id(&password, &salt, cost, memory)); // whoever asked may have gone
                1
            }
        }
    }
}
