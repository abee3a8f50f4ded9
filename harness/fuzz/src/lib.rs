//! Damaged input for every parser and every document that others may have written: seeds are the fixtures, a
//! seeded mutator damages them, and a target that panics or takes too long is a find. It runs on stable Rust.

pub mod mutate; // the mutator
pub mod targets; // what is fed, and the seeds of each

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{fs, io};

use rustix::time::{ClockId, clock_gettime};

use mutate::Mutator;
use targets::Target;

/// How much of a processor's time one input may take. The largest takes some tens of milliseconds without
/// optimisation.
pub const LATE: Duration = Duration::from_secs(5);
/// The longest input that is made, in bytes.
pub const LONGEST: usize = 64 << 10;

/// What came of feeding.
#[derive(Debug, Default)]
pub struct Fed {
    /// How many inputs.
    pub inputs: u64,
    /// The inputs that were not borne.
    pub finds: Vec<Find>,
}

/// An input that a target did not bear.
#[derive(Debug)]
pub struct Find {
    /// The target's name.
    pub target: &'static str,
    /// What happened.
    pub what: String,
    /// The file that holds the input.
    pub file: PathBuf,
}

/// Feeds all targets in turn for `time`, and writes what was not borne into `folder`. The same seed makes the
/// same inputs in the same order.
///
/// # Errors
/// Those of writing a find.
pub fn feed(targets: &[Target], time: Duration, seed: u64, folder: &Path) -> io::Result<Fed> {
    let (begun, mut mutator, mut fed) = (Instant::now(), Mutator::new(seed), Fed::default());
    while begun.elapsed() < time {
        for target in targets {
            let input = mutator.input(&target.seeds, LONGEST);
            fed.inputs += 1;
            if let Some(what) = bear(target, &input) {
                let file = folder.join(format!("{}-{seed}-{}", target.name, fed.inputs));
                fs::write(&file, &input)?;
                fed.finds.push(Find { target: target.name, what, file });
            }
        }
    }
    Ok(fed)
}

/// What is wrong with how a target took an input, if anything.
fn bear(target: &Target, input: &[u8]) -> Option<String> {
    let begun = processor_time();
    // Nothing is looked at afterwards that the panic could have left half done.
    let ended = catch_unwind(AssertUnwindSafe(|| (target.feed)(input)));
    let took = processor_time().saturating_sub(begun);
    match ended {
        Err(_) => Some("it panicked".into()),
        Ok(()) if took > LATE => Some(format!("it took {took:.1?}")),
        Ok(()) => None,
    }
}

/// What this thread has had of the processors: a host with other work to do makes no input a find.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_that_panics_is_found_and_its_input_kept() {
        fn broken(input: &[u8]) {
            assert!(!input.contains(&b'a'), "on purpose");
        }
        let folder = tempfile::tempdir().unwrap();
        let target = Target { name: "broken", seeds: vec![b"abc".to_vec()], feed: broken };
        let fed = feed(&[target], Duration::from_millis(50), 1, folder.path()).unwrap();
        let find = &fed.finds[0];
        assert!(fs::read(&find.file).unwrap().contains(&b'a'));
        assert_eq!((find.target, find.what.as_str()), ("broken", "it panicked"));
    }

    #[test]
    fn every_seed_is_borne() {
        for target in targets::all() {
            assert!(!target.seeds.is_empty(), "{}", target.name);
            for seed in &target.seeds {
                assert_eq!(bear(&target, seed), None, "{}", target.name);
            }
        }
    }
}
