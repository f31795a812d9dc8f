//! What breaks, and when: drawn from the seed before anything begins, so that nothing that happens changes it.

use std::time::Duration;

use carelink_database::simulation::State;
use turmoil::Sim;

use crate::{
    people::Dice,
    world::{GATES, LATENCY_MS, TOKENS, World},
};

/// When the last fault is over: the rest of the unrest is for what they leave behind.
const LAST: Duration = Duration::from_secs(15);

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing passes; what was under way is lost. A connection that lost something stays half-open for good.
    Cut(&'static str, &'static str),
    /// Nothing passes in one direction.
    Deaf(&'static str, &'static str),
    /// A gateway reaches nobody.
    Island(&'static str),
    Joined(&'static str),
    /// Everything waits, and arrives later.
    Hold(&'static str, &'static str),
    /// Everything takes long.
    Slow(&'static str, &'static str, Duration),
    Mended(&'static str, &'static str),
    Released(&'static str, &'static str),
    /// A process is killed; another one is started.
    Crash(&'static str),
    Start(&'static str),
    /// The one database.
    Database(State),
}

/// All that happens to one world, in order.
pub(crate) struct Faults {
    left: Vec<(Duration, Fault)>,
}

impl Faults {
    pub(crate) fn draw(dice: &Dice) -> Self {
        let mut left = Vec::new();
        for _ in 0..dice.below(7) {
            let at = dice.millis(1_500, 9_000);
            let until = (at + dice.millis(100, 9_000)).min(LAST);
            let (gate, token) = (dice.one_of(&GATES), dice.one_of(&TOKENS));
            let (begins, ends) = match dice.below(14) {
                0 | 1 => (Fault::Cut(gate, token), Fault::Mended(gate, token)),
                2 => (Fault::Cut("ward", gate), Fault::Mended("ward", gate)),
                3 => (Fault::Deaf(gate, token), Fault::Mended(gate, token)),
                4 => (Fault::Deaf(token, gate), Fault::Mended(gate, token)),
                5 | 6 => (Fault::Hold(gate, token), Fault::Released(gate, token)),
                7 => (Fault::Slow(gate, token, dice.millis(100, 1_500)), Fault::Slow(gate, token, dice.millis(1, LATENCY_MS))),
                8 | 9 => (Fault::Crash(token), Fault::Start(token)),
                10 => (Fault::Crash(gate), Fault::Start(gate)),
                11 | 12 => (Fault::Island(gate), Fault::Joined(gate)),
                _ => (Fault::Database(dice.one_of(&[State::Away, State::ReadOnly, State::Stalled])), Fault::Database(State::Works)),
            };
            left.push((at, begins));
            left.push((until, ends));
        }
        left.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Self { left }
    }

    /// Lets happen what is due, and mends everything in the end.
    pub(crate) fn strike(&mut self, sim: &mut Sim<'_>, world: &World) {
        while let Some((_, fault)) = self.left.pop_if(|(at, _)| *at <= world.now()) {
            world.note("fault", format!("{fault:?}"));
            match fault {
                Fault::Cut(a, b) => sim.partition(a, b),
                Fault::Deaf(a, b) => sim.partition_oneway(a, b),
                Fault::Island(gate) => TOKENS.into_iter().for_each(|token| sim.partition(gate, token)),
                Fault::Joined(gate) => TOKENS.into_iter().for_each(|token| sim.repair(gate, token)),
                Fault::Hold(a, b) => sim.hold(a, b),
                Fault::Slow(a, b, latency) => sim.set_link_latency(a, b, latency),
                Fault::Mended(a, b) => sim.repair(a, b),
                Fault::Released(a, b) => sim.release(a, b),
                Fault::Crash(host) => sim.crash(host),
                Fault::Start(host) if sim.is_host_running(host) => {}
                Fault::Start(host) => sim.bounce(host),
                Fault::Database(state) => world.switch().set(state),
            }
        }
    }
}
