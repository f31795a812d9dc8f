//! A fleet in one thread, on a network and a database that a seed breaks, always in the same way: two token-services, two gateways, five
//! people, an operator and a change of roles. Real are token-service whole, its SQL, the channels and their retries, and the verifiers; played
//! are the network, the time, the edge's HTTP and the database's durability (`docs/adr/0020`).
//!
//! `CARELINK_SEED=n cargo nextest run -p carelink-simulation replays` shows one world again; `CARELINK_TEST_LONG=1` runs thousands.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout)] // a test

mod faults;
mod gate;
mod net;
mod people;
mod token;
mod world;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    faults::Faults,
    people::Dice,
    world::{Figures, GATES, LATENCY_MS, Plant, Story, TICK, TOKENS, World},
};

/// How long a world may last.
const LIMIT: Duration = Duration::from_secs(60);
/// Worlds in the short form, and in the long one.
const SHORT: u64 = 60;
const LONG: u64 = 3_000;
/// In how many worlds a planted mistake must have been found.
const TO_FIND: u64 = 200;

/// One world, from its seed.
fn live(seed: u64, plant: Plant) -> Story {
    let world = World::new(seed, plant);
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .tick_duration(TICK)
        .simulation_duration(LIMIT)
        .min_message_latency(TICK)
        .max_message_latency(TICK)
        .tcp_capacity(4_096)
        .build();
    for name in TOKENS {
        let world = world.clone();
        sim.host(name, move || token::run(world.clone(), name));
    }
    for name in GATES {
        let world = world.clone();
        sim.host(name, move || gate::run(world.clone(), name));
    }
    sim.client("ward", people::run(world.clone()));
    for name in ["operator", "auth"] {
        sim.client(name, people::office(world.clone(), name));
    }
    // Each way takes its own time, and always the same: chance drawn per message would depend on who of one moment speaks first.
    let dice = Dice::new(world.random("ways"));
    for gate in GATES {
        TOKENS.into_iter().chain(["ward"]).for_each(|other| sim.set_link_latency(gate, other, dice.millis(1, LATENCY_MS)));
    }
    let mut faults = Faults::draw(&Dice::new(world.random("faults")));
    loop {
        world.set_time(sim.elapsed());
        faults.strike(&mut sim, &world);
        match sim.step() {
            Ok(false) => {}
            Ok(true) => break,
            Err(error) => {
                world.wrong("world", error);
                break;
            }
        }
    }
    world.story()
}

/// Some worlds, on all cores; those in which something was wrong, by seed, and how much happened in all.
fn live_all(seeds: impl Iterator<Item = u64> + Send, plant: Plant, until_found: bool) -> (BTreeMap<u64, Story>, Figures) {
    let seeds = Mutex::new(seeds);
    let (found, total, stop) = (Mutex::new(BTreeMap::new()), Mutex::new(Figures::default()), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while stop.load(Ordering::Relaxed) == 0 {
                    let Some(seed) = seeds.lock().unwrap().next() else { return };
                    let story = live(seed, plant);
                    total.lock().unwrap().add(&story.figures);
                    if !story.wrong.is_empty() {
                        found.lock().unwrap().insert(seed, story);
                        stop.store(u64::from(until_found), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    (found.into_inner().unwrap(), total.into_inner().unwrap())
}

fn tell(seed: u64, story: &Story) -> String {
    let from = story.lines.len().saturating_sub(400);
    format!("CARELINK_SEED={seed}\n{}\n{}", story.lines[from..].join("\n"), story.wrong.join("\n"))
}

#[test]
fn v3_no_seed_finds_a_token_that_outlives_its_session_a_lost_sign_in_or_two_successors() {
    let worlds = match std::env::var("CARELINK_TEST_LONG") {
        Ok(long) => long.parse().ok().filter(|worlds| *worlds > 1).unwrap_or(LONG),
        Err(_) => SHORT,
    };
    let (found, figures) = live_all(0..worlds, Plant::None, false);
    println!("{worlds} worlds: {figures:?}");
    if let Some((seed, story)) = found.first_key_value() {
        let seeds: Vec<u64> = found.keys().copied().collect();
        panic!("{}\n{} of {worlds} worlds went wrong: {seeds:?}", tell(*seed, story), found.len());
    }
    assert!(figures.refreshes > worlds * 10 && figures.checks > worlds * 50 && figures.ends > worlds, "too little happened");
    assert!(figures.rotations > worlds / 2, "too few keys were rotated");
}

#[test]
fn a_seed_replays_its_world_exactly() {
    let seeds = match std::env::var("CARELINK_SEED") {
        Ok(seed) => vec![seed.parse().expect("CARELINK_SEED is a number")],
        Err(_) => (1..8).collect(),
    };
    for seed in seeds {
        let (one, other) = (live(seed, Plant::None), live(seed, Plant::None));
        if std::env::var_os("CARELINK_SEED").is_some() {
            println!("{}", tell(seed, &one));
        }
        for (line, (a, b)) in one.lines.iter().zip(&other.lines).enumerate() {
            assert_eq!(a, b, "seed {seed}, line {line}");
        }
        assert_eq!(one.lines.len(), other.lines.len(), "seed {seed}");
    }
}

/// What finds what: a mistake, and what is then said.
const PLANTED: [(Plant, &str); 6] = [
    (Plant::MisnamesRevocations, "accepted"),
    (Plant::GrantsWhileBlind, "Grant accepted"), // of a session that ended, or that lost a role
    (Plant::RefreshesTwice, "came out of"),
    (Plant::NoGrace, "signed out though nobody ended"),
    (Plant::NoDeadline, "took"),
    (Plant::SignsUnpublished, "key_unknown"),
];

#[test]
fn planted_mistakes_are_found() {
    let mut missed = Vec::new();
    for (plant, sign) in PLANTED {
        let (found, _) = live_all(0..TO_FIND, plant, true);
        let said: Vec<&String> = found.values().flat_map(|story| &story.wrong).collect();
        println!("{plant:?}: {:?} {:?}", found.keys().next(), said.first());
        if !said.iter().any(|wrong| wrong.contains(sign)) {
            missed.push(format!("{plant:?}: {said:?}"));
        }
    }
    assert!(missed.is_empty(), "not found: {missed:#?}");
}
