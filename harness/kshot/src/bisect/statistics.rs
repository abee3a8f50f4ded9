//! How many runs an evaluation takes, and how likely a result is wrong.
//!
//! A run of a faulty kernel is *bad* (it shows the fault) or *good*; every run of a sound kernel is good. One
//! bad run is therefore proof, and good runs are not: the question is how many of them are enough. Nobody
//! knows the rate at which the fault shows, so nothing here estimates it. The bad end is run until it was bad
//! a fixed number of times, `k` (inverse sampling: J. B. S. Haldane, Biometrika 33, 1945); say that takes `n`
//! runs. A kernel passes as sound after `N` good runs, where `N` is the least number with
//!
//! ```text
//! C(n-1, k-1) / C(n+N-1, k-1)  <=  level
//! ```
//!
//! The left side is Fisher's exact test (R. A. Fisher, The Design of Experiments, 1935) with the bad end's
//! last run fixed as a bad one: if a kernel had the fault at the very rate of the bad end, the `k-1` other
//! bad runs among `n+N-1` exchangeable runs would all have to lie in the first `n-1`.
//!
//! It holds for every rate `p`, not only on average over some prior. A faulty kernel passes with probability
//! `sum over n of P(n) (1-p)^N(n)`, where `P(n) = C(n-1,k-1) p^k (1-p)^(n-k)`. Each term is the left side
//! above times the probability that the `k`-th bad run is run `n+N(n)`. `N` grows with `n`, so those are
//! different runs, their probabilities sum to at most 1, and the whole is at most `level`.
//!
//! A search may take several kernels for sound before it ends. The first such proof gets half of the accepted
//! error, the next a quarter, and so on ([`error_share`]), so all together stay within it, however many there
//! are. Assumptions: runs are independent, a sound kernel is never bad, and the fault shows at every faulty
//! kernel at least as often as at the bad end.

use serde::{Deserialize, Serialize};

/// The runs of the bad end, which is run until it was bad as often as the plan asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadEndRuns {
    /// The number of bad runs.
    #[serde(rename = "shows")]
    pub bad_runs: u32,
    /// The total number of runs; the last one was bad.
    pub runs: u32,
}

impl BadEndRuns {
    /// An upper bound of the probability that a kernel with the fault is good in `good_runs` runs.
    pub fn miss_probability(self, good_runs: u32) -> f64 {
        let (n, good_runs) = (f64::from(self.runs), f64::from(good_runs));
        (1..self.bad_runs).map(|i| (n - f64::from(i)) / (n + good_runs - f64::from(i))).product()
    }

    /// The least number of good runs, at least one, that brings [`Self::miss_probability`] to `level` or
    /// below.
    pub fn good_runs_for_proof(self, level: f64) -> u32 {
        (1..).find(|&good_runs| self.miss_probability(good_runs) <= level).unwrap_or(u32::MAX)
    }

    /// The number of good runs after which the search provisionally takes a kernel for good, until that is
    /// proven or overturned: as many as cost one run for a fault that always occurs.
    pub fn good_runs_for_evaluation(self) -> u32 {
        self.good_runs_for_proof(1.0 / f64::from(self.bad_runs))
    }
}

/// The number of bad runs that the bad end must show: the least `k` with `1 / C(2k-1, k) <= level`. With it,
/// a fault that always occurs costs as many runs at the bad end as at the kernel that is to be proven good.
pub fn bad_runs_needed(level: f64) -> u32 {
    (2..).find(|&k| BadEndRuns { bad_runs: k, runs: k }.miss_probability(k) <= level).unwrap_or(u32::MAX)
}

/// The part of the accepted `error` that proof number `attempt` (from 0) may use.
pub fn error_share(error: f64, attempt: usize) -> f64 {
    error / 2_f64.powi(i32::try_from(attempt + 1).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The probability that a kernel with failure rate `p` passes as good, summed over every number of runs
    /// at the bad end.
    fn passed(p: f64, level: f64) -> f64 {
        let bad_runs = bad_runs_needed(level);
        let mut first = p.powi(bad_runs.cast_signed());
        let mut sum = 0.0;
        for runs in bad_runs..3000 {
            let good_runs = BadEndRuns { bad_runs, runs }.good_runs_for_proof(level);
            sum += first * (1.0 - p).powi(good_runs.cast_signed());
            first *= (1.0 - p) * f64::from(runs) / f64::from(runs - bad_runs + 1);
        }
        sum
    }

    #[test]
    fn a_faulty_kernel_passes_within_the_level_at_every_rate() {
        for level in [0.1, 0.01, 0.001] {
            for p in [0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1.0] {
                let passed = passed(p, level);
                assert!(passed <= level, "rate {p}, level {level}: {passed}");
            }
        }
    }

    #[test]
    fn a_fault_that_always_shows_costs_few_runs() {
        let bad_runs = bad_runs_needed(0.005);
        let rate = BadEndRuns { bad_runs, runs: bad_runs };
        assert_eq!((bad_runs, rate.good_runs_for_proof(0.005), rate.good_runs_for_evaluation()), (6, 5, 1));
    }

    #[test]
    fn a_rarer_fault_costs_more() {
        let needed = |runs| BadEndRuns { bad_runs: 6, runs }.good_runs_for_proof(0.005);
        assert!(
            needed(6) < needed(12) && needed(12) < needed(20),
            "{} {} {}",
            needed(6),
            needed(12),
            needed(20)
        );
        assert_eq!(needed(20), 32);
    }

    #[test]
    fn one_quiet_run_more_never_makes_a_fault_likelier() {
        let rate = BadEndRuns { bad_runs: 5, runs: 17 };
        assert!((rate.miss_probability(0) - 1.0).abs() < 1e-12);
        assert!(
            (1..100).all(|good_runs| rate.miss_probability(good_runs) < rate.miss_probability(good_runs - 1))
        );
    }

    #[test]
    fn the_shares_of_all_proofs_stay_within_the_error() {
        let sum: f64 = (0..60).map(|attempt| error_share(0.01, attempt)).sum();
        assert!(sum <= 0.01 + 1e-12, "{sum}");
    }
}
