//! How much of the host's time QEMU got: a guest that was late because its host had none is no fault of the guest.

use std::fs;
use std::time::Duration;

use crate::deadline::TimedOut;

/// The share of its wish that QEMU must have got, in per cent, for a guest to count as late by itself. On a host that
/// does nothing else it is 99; of two that want one processor each gets 50.
const LEAST_SHARE: u128 = 40;
/// How long QEMU must have wished to run for the share to say anything.
const LEAST_WISH: Duration = Duration::from_secs(5);

/// A guest was late, and the host is to blame.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the host had no time for the guest: {what}; waited {waited:.1?} for {late}")]
pub struct HostTooBusy {
    /// What QEMU got, in words.
    what: String,
    /// The time that the guest had.
    waited: Duration,
    /// The condition that was waited for.
    late: String,
}

impl HostTooBusy {
    /// The host's part in a wait for the machine of QEMU's process `id` that ran out; `None` if it had time enough.
    pub(super) fn of(id: u32, timed_out: &TimedOut) -> Option<Self> {
        let task = |name: &str| fs::read_dir(format!("/proc/{id}/{name}")).into_iter().flatten().flatten();
        let is_stopped = fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| is_stopped(&stat));
        let stats = task("task").filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
        let time = stats.filter_map(|stat| ProcessorTime::parse(&stat)).max_by_key(ProcessorTime::wish);
        let what = match time {
            _ if is_stopped => "somebody has stopped QEMU (SIGSTOP)".into(),
            Some(time) if time.is_too_little() => {
                let ProcessorTime { ran, waited } = time;
                format!("QEMU ran for {ran:.1?} and waited {waited:.1?} for a processor")
            }
            _ => return None,
        };
        Some(Self { what, waited: timed_out.waited, late: timed_out.what.clone() })
    }
}

/// What a thread had of the processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProcessorTime {
    /// The time that it ran.
    ran: Duration,
    /// The time that it could have run and had to wait.
    waited: Duration,
}

impl ProcessorTime {
    /// `/proc/PID/task/TID/schedstat`: `8012345678 1234567 901`, nanoseconds on a processor, nanoseconds in a queue for one,
    /// time slices (Documentation/scheduler/sched-stats.rst).
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(|word| word.parse().map(Duration::from_nanos));
        Some(Self { ran: numbers.next()?.ok()?, waited: numbers.next()?.ok()? })
    }

    fn wish(&self) -> Duration {
        self.ran + self.waited
    }

    fn is_too_little(&self) -> bool {
        self.wish() >= LEAST_WISH && self.ran.as_nanos() * 100 < self.wish().as_nanos() * LEAST_SHARE
    }
}

/// Whether a process with this `/proc/PID/stat` is stopped: `1234 (qemu-system-mip) T 1 ..` (proc_pid_stat(5)).
fn is_stopped(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['T', 't']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_whose_qemu_waited_for_a_processor_is_not_late_by_itself() {
        let time = |text: &str| ProcessorTime::parse(text).unwrap();
        assert!(time("2000000000 8000000000 9").is_too_little());
        assert!(!time("5000000000 5000000000 9").is_too_little(), "one of two that share a processor");
        assert!(!time("100000000 900000000 9").is_too_little(), "a guest that sleeps");
        assert_eq!(ProcessorTime::parse("0"), None);
    }

    #[test]
    fn a_qemu_that_was_stopped_is_the_hosts_doing() {
        assert!(is_stopped("12 (a) T) T 1 12") && !is_stopped("12 (T) S 1 12"));
        let late = TimedOut { what: "a login".into(), waited: Duration::from_secs(20), last_error: None };
        assert!(HostTooBusy::of(std::process::id(), &late).is_none(), "we run");
    }
}
