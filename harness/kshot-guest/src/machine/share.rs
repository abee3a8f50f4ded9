//! How much processor time QEMU got: a guest that is late because its host was busy is not to blame.

use std::fs;
use std::time::{Duration, Instant};

use crate::deadline::TimedOut;

/// The share of its runnable time that QEMU must have run, in per cent, before the guest is blamed for being
/// late. On an idle host it is 99; if two processes compete for one processor, each gets 50.
const LEAST_SHARE: u128 = 40;
/// The least runnable time for which the share means anything.
const LEAST_WISH: Duration = Duration::from_secs(5);

/// A guest was late, and the host is to blame.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the host was too busy for the guest: {what}; timed out after {waited:.1?} waiting for {late}")]
pub struct HostTooBusy {
    /// How long QEMU ran and waited, in words.
    what: String,
    /// The time that the guest had.
    waited: Duration,
    /// The condition that was waited for.
    late: String,
}

impl HostTooBusy {
    /// The error if the host is to blame: QEMU's process `id` got too little processor time, or was stopped,
    /// during a wait that timed out.
    pub(super) fn of(id: u32, timed_out: &TimedOut) -> Option<Self> {
        let is_stopped = fs::read_to_string(format!("/proc/{id}/stat")).is_ok_and(|stat| is_stopped(&stat));
        let what = match ProcessorTime::of(id) {
            _ if is_stopped => "QEMU is stopped (SIGSTOP)".into(),
            Some(time) if time.is_too_little() => {
                let ProcessorTime { ran, waited } = time;
                format!("QEMU ran for {ran:.1?} and waited {waited:.1?} for a processor")
            }
            _ => return None,
        };
        Some(Self { what, waited: timed_out.waited, late: timed_out.what.clone() })
    }
}

/// How long a booting guest may be idle and silent. Whatever its kernel or init waits for will not come any
/// more: a driver, a file system, a console.
const REST_MOST: Duration = Duration::from_secs(10);
/// The processor share, in per cent, below which a guest counts as idle: its timer ticks take 5.
const REST_SHARE: u128 = 25;

/// How long a guest may run before its first console output; a guest that comes up needs 2 s on a slow host.
/// After that the wait ends: the guest may have panicked before its console worked.
const MUTE_MOST: Duration = Duration::from_secs(30);

/// Why a silent guest will not come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// The guest is idle: it waits for something that does not come.
    Rests,
    /// The guest runs, but its console has printed nothing at all.
    Mute,
}

/// Notices that a booting guest has gone silent.
#[derive(Debug)]
pub(super) struct SilenceWatch {
    process: u32,
    since: Instant,
    /// QEMU's runnable time at `since`.
    wish: Duration,
    /// The time of the last console line before `since`.
    last_line_at: Option<Instant>,
}

impl SilenceWatch {
    /// A watch on the guest of QEMU's process.
    pub(super) fn new(process: u32) -> Self {
        Self { process, since: Instant::now(), wish: wish(process), last_line_at: None }
    }

    /// The kind of silence, once it has lasted too long: [`REST_MOST`] of idling since the last line, or
    /// [`MUTE_MOST`] of running without a first one.
    pub(super) fn overlong(&mut self, last_line_at: Option<Instant>) -> Option<Silence> {
        let took = self.since.elapsed();
        if self.last_line_at == last_line_at && took < REST_MOST {
            return None;
        }
        let now = ProcessorTime::of(self.process).unwrap_or_default();
        if self.last_line_at == last_line_at && is_rest(now.wish().saturating_sub(self.wish), took) {
            return Some(Silence::Rests);
        }
        (self.since, self.wish, self.last_line_at) = (Instant::now(), now.wish(), last_line_at);
        is_mute(last_line_at, now).then_some(Silence::Mute)
    }
}

/// How long QEMU has been runnable so far.
fn wish(process: u32) -> Duration {
    ProcessorTime::of(process).map(|time| time.wish()).unwrap_or_default()
}

fn is_rest(wished: Duration, took: Duration) -> bool {
    wished.as_nanos() * 100 < took.as_nanos() * REST_SHARE
}

fn is_mute(last_line_at: Option<Instant>, processor: ProcessorTime) -> bool {
    last_line_at.is_none() && processor.ran >= MUTE_MOST
}

/// The processor time of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct ProcessorTime {
    /// The time that it ran.
    ran: Duration,
    /// The time that it was runnable and had to wait.
    waited: Duration,
}

impl ProcessorTime {
    /// The time of the process's thread that was runnable longest: in QEMU, the vCPU thread.
    fn of(process: u32) -> Option<Self> {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
        stats.filter_map(|stat| Self::parse(&stat)).max_by_key(Self::wish)
    }

    /// `/proc/PID/task/TID/schedstat`: `8012345678 1234567 901`, nanoseconds on a processor, nanoseconds in a
    /// queue for one, time slices (Documentation/scheduler/sched-stats.rst).
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

/// Whether a process with this `/proc/PID/stat` is stopped: `1234 (qemu-system-mip) T 1 ..`
/// (proc_pid_stat(5)).
fn is_stopped(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['T', 't']))
}

/// Whether a process has ended or is about to: it has given up its memory, and with it its command line
/// (proc_pid_cmdline(5)).
pub(super) fn is_ending(process: u32) -> bool {
    fs::read(format!("/proc/{process}/cmdline")).map_or(true, |words| words.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_a_command_line_is_ending() {
        assert!(!is_ending(std::process::id()));
        assert!(is_ending(u32::MAX), "there is none");
    }

    #[test]
    fn a_guest_whose_qemu_waited_for_a_processor_is_not_late_by_itself() {
        let time = |text: &str| ProcessorTime::parse(text).unwrap();
        assert!(time("2000000000 8000000000 9").is_too_little());
        assert!(!time("5000000000 5000000000 9").is_too_little(), "one of two that share a processor");
        assert!(!time("100000000 900000000 9").is_too_little(), "a guest that sleeps");
        assert_eq!(ProcessorTime::parse("0"), None);
    }

    #[test]
    fn a_guest_that_works_or_waits_for_a_processor_does_not_rest() {
        let second = Duration::from_secs(1);
        assert!(is_rest(second / 20, second), "its timer ticks");
        assert!(!is_rest(second / 2, second), "it works, or waits for a processor");
        let mut watch = SilenceWatch::new(std::process::id());
        let line = Instant::now();
        assert_eq!(watch.overlong(Some(line)), None, "it has just said something");
        assert_eq!(watch.overlong(Some(line)), None, "it has only begun to rest");
        watch.since -= 2 * REST_MOST;
        watch.wish = wish(std::process::id());
        assert_eq!(watch.overlong(Some(line)), Some(Silence::Rests));
        watch.since -= 2 * REST_MOST;
        assert_eq!(watch.overlong(Some(Instant::now())), None, "it has said something");
    }

    #[test]
    fn a_guest_that_works_and_is_never_heard_is_mute() {
        let ran = |ran| ProcessorTime { ran, waited: 4 * MUTE_MOST };
        assert!(is_mute(None, ran(MUTE_MOST)));
        assert!(!is_mute(None, ran(MUTE_MOST / 2)), "its QEMU waited for a processor");
        assert!(!is_mute(Some(Instant::now()), ran(MUTE_MOST)), "it was heard");
    }

    #[test]
    fn a_qemu_that_was_stopped_is_the_hosts_doing() {
        assert!(is_stopped("12 (a) T) T 1 12") && !is_stopped("12 (T) S 1 12"));
        let late = TimedOut { what: "a login".into(), waited: Duration::from_secs(20), last_error: None };
        assert!(HostTooBusy::of(std::process::id(), &late).is_none(), "we run");
    }
}
