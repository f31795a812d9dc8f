//! What a unit of each hasher's work takes on this machine: first a guess, then what is measured.

use std::time::Duration;

use crate::domain::hasher::{CostClass, Prf};

/// By what share a slower measurement moves the rate up, and a faster one down: who waits for a floor must not outrun a machine that
/// has just become busy.
const UP: f64 = 0.5;
const DOWN: f64 = 0.125;
/// One measurement counts at most so many times the rate: a stalled thread is not a slow hasher.
const OUTLIER: f64 = 4.0;

/// Seconds per unit of work, per hasher.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    argon2: f64,
    pbkdf2_sha256: f64,
    pbkdf2_sha1: f64,
    bcrypt: f64,
    scrypt: f64,
    md5: f64,
}

impl Default for Rates {
    /// As measured on a server of 2026 (x86-64, AVX2); within a factor of three almost anywhere.
    fn default() -> Self {
        Self { argon2: 280e-9, pbkdf2_sha256: 250e-9, pbkdf2_sha1: 250e-9, bcrypt: 60e-6, scrypt: 200e-9, md5: 1e-6 }
    }
}

impl Rates {
    /// What one check of this class takes.
    pub(super) fn estimate(&self, class: CostClass) -> Duration {
        Duration::from_secs_f64(self.rate(class) * units(class))
    }

    /// One check of this class took so long.
    pub(super) fn measured(&mut self, class: CostClass, took: Duration) {
        let measured = took.as_secs_f64() / units(class);
        let rate = self.rate_mut(class);
        let measured = measured.min(*rate * OUTLIER);
        *rate += (measured - *rate) * if measured > *rate { UP } else { DOWN };
    }

    fn rate(&self, class: CostClass) -> f64 {
        match class {
            CostClass::Argon2(..) => self.argon2,
            CostClass::Pbkdf2(Prf::Sha256, _) => self.pbkdf2_sha256,
            CostClass::Pbkdf2(Prf::Sha1, _) => self.pbkdf2_sha1,
            CostClass::Bcrypt(..) => self.bcrypt,
            CostClass::Scrypt(..) => self.scrypt,
            CostClass::Md5 => self.md5,
        }
    }

    fn rate_mut(&mut self, class: CostClass) -> &mut f64 {
        match class {
            CostClass::Argon2(..) => &mut self.argon2,
            CostClass::Pbkdf2(Prf::Sha256, _) => &mut self.pbkdf2_sha256,
            CostClass::Pbkdf2(Prf::Sha1, _) => &mut self.pbkdf2_sha1,
            CostClass::Bcrypt(..) => &mut self.bcrypt,
            CostClass::Scrypt(..) => &mut self.scrypt,
            CostClass::Md5 => &mut self.md5,
        }
    }
}

#[allow(clippy::cast_precision_loss)] // an estimate
fn units(class: CostClass) -> f64 {
    class.work().units.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_follows_what_is_measured() {
        let (mut rates, class) = (Rates::default(), CostClass::Pbkdf2(Prf::Sha256, 1_000_000));
        for _ in 0..100 {
            rates.measured(class, Duration::from_millis(900));
        }
        let half = rates.estimate(CostClass::Pbkdf2(Prf::Sha256, 500_000));
        assert!(half > Duration::from_millis(440) && half < Duration::from_millis(460), "{half:?}");
        assert_eq!(rates.estimate(CostClass::Md5), Duration::from_micros(1));
    }

    #[test]
    fn one_stalled_hash_is_not_a_slow_hasher() {
        let (mut rates, class) = (Rates::default(), CostClass::Pbkdf2(Prf::Sha1, 1_000_000));
        let before = rates.estimate(class);
        rates.measured(class, Duration::from_secs(60));
        assert!(rates.estimate(class) < before * 3);
    }
}
