//! The hashing threads, as sign-ins use them.

use super::*;
use crate::domain::hasher::{Argon2Variant, Stored, parse};

const CHEAP: Argon2Cost = Argon2Cost { memory_kib: 64, iterations: 1, parallelism: 1 };

fn pool(threads: usize, queue: Duration) -> Pool {
    Pool::start(PoolOptions { threads, cost: CHEAP, queue, random: Random::seeded(1) }).unwrap()
}

fn tries(texts: &[&str]) -> Vec<Zeroizing<Vec<u8>>> {
    texts.iter().map(|text| Zeroizing::new(text.as_bytes().to_vec())).collect()
}

fn usable(text: &str) -> Encoded {
    let Stored::Usable(encoded) = parse(text).unwrap() else { panic!("{text}") };
    encoded
}

#[tokio::test]
async fn a_new_hash_fits_its_password_at_the_try_that_is_right() {
    let pool = pool(2, Duration::from_secs(5));
    let text = pool.hash(Zeroizing::new(b"ward".to_vec())).await.unwrap();
    let checked = pool.check(usable(&text), tries(&[" ward ", "ward", "never"])).await.unwrap();
    assert_eq!((checked.fits, checked.tries), (Some(1), 2));
    assert_ne!(text, pool.hash(Zeroizing::new(b"ward".to_vec())).await.unwrap(), "a salt of its own");
    let missed = pool.check(usable(&text), tries(&["a", "b"])).await.unwrap();
    assert_eq!((missed.fits, missed.tries), (None, 2));
}

#[tokio::test]
async fn c3_past_the_queue_it_turns_away_with_a_jittered_time_and_serves_again_later() {
    let pool = Arc::new(pool(1, Duration::from_millis(200)));
    let dear = CostClass::Bcrypt(crate::domain::hasher::Prehash::None, 9).dummy();
    let (mut all, mut refused) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        let (pool, dear) = (Arc::clone(&pool), dear.clone());
        all.push(tokio::spawn(async move { pool.check(dear, tries(&["x"])).await }));
    }
    let mut served = 0;
    for one in all {
        match one.await.unwrap() {
            Ok(_) => served += 1,
            Err(PoolError::Full { retry_after }) => refused.push(retry_after),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(pool.admits(), Ok(()));
    assert!(served >= 3 && !refused.is_empty(), "{served} served, {} refused", refused.len());
    assert!(refused.iter().all(|after| (pool.queue..=Duration::from_secs(10)).contains(after)), "{refused:?}");
    assert!(refused.iter().any(|after| *after != refused[0]), "all the same: they would come back together");
    assert_eq!(pool.check(dear, tries(&["x"])).await.unwrap().fits, None);
}

#[tokio::test]
async fn c3_a_dear_hash_waits_for_memory_and_overtakes_nobody() {
    let pool = pool(4, Duration::from_secs(60));
    let dear = CostClass::Argon2(Argon2Variant::Id, Argon2Cost { memory_kib: 150 * 1024, iterations: 1, parallelism: 1 }).dummy();
    let both = || pool.check(dear.clone(), tries(&["x"]));
    let watch = async {
        loop {
            let used = pool.shared.lock().running_kib;
            assert!(used <= MEMORY_KIB, "{used}");
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        (a, b, c) = async { tokio::join!(both(), both(), both()) } => assert!(a.is_ok() && b.is_ok() && c.is_ok()),
        () = watch => {}
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn c3_hashing_threads_stand_back_and_no_others_do() {
    let pool = pool(2, Duration::from_secs(5));
    pool.hash(Zeroizing::new(b"ward".to_vec())).await.unwrap();
    let own = rustix::process::getpriority_process(None).unwrap();
    let levels = || {
        let threads = std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path().join("stat"));
        let stats = threads.filter_map(|stat| std::fs::read_to_string(stat).ok()); // one may have ended meanwhile
        stats
            .map(|stat| {
                let (name, rest) = stat.rsplit_once(") ").unwrap();
                (name.contains("(auth-hash-"), rest.split(' ').nth(16).unwrap().parse::<i32>().unwrap())
            })
            .collect::<Vec<_>>()
    };
    while !levels().contains(&(true, NICE)) {
        tokio::task::yield_now().await;
    }
    assert!(levels().iter().all(|(hashes, level)| *hashes || *level == own));
}

#[tokio::test]
async fn what_nobody_waits_for_any_more_is_not_hashed() {
    if std::env::var_os("NEXTEST").is_none() {
        return; // tests that share a process would count each other's
    }
    let handle = carelink_platform::telemetry::metrics_handle();
    let pool = pool(1, Duration::from_secs(60));
    let dear = CostClass::Bcrypt(crate::domain::hasher::Prehash::None, 10).dummy();
    let first = pool.check(dear.clone(), tries(&["x"]));
    let mut gone: Vec<_> = (0..20).map(|_| Box::pin(pool.check(dear.clone(), tries(&["x"])))).collect();
    for one in &mut gone {
        assert!(futures::poll!(one.as_mut()).is_pending());
    }
    drop(gone);
    first.await.unwrap();
    while !pool.shared.lock().pending.is_zero() {
        tokio::task::yield_now().await;
    }
    let counted = handle.render();
    let hashed = counted.lines().find_map(|line| line.strip_prefix("carelink_hash_seconds_count{hasher=\"bcrypt\"} "));
    let hashed: u32 = hashed.unwrap().parse().unwrap();
    assert!(hashed < 10, "{hashed}: but for those that had begun");
}
