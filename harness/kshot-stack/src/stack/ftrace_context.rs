//! The columns in front of an event in ftrace's text: task, pid, CPU, flags and time (`trace_print_context`
//! and `trace_print_lat_context` of `kernel/trace/trace_output.c`). `trace-cmd report` has the same, and
//! mails lose blanks in front of them.

use super::lines::{decimal, split_at};

/// How wide the kernel prints the name of a task.
pub(super) const TASK_WIDTH: usize = 16;
/// How wide it does so in latency format.
const LATENCY_TASK_WIDTH: usize = 8;

/// How far from the first column the dash behind the task is looked for.
const LAST_DASH: usize = 48;

/// Who an event is of, and where.
pub(crate) struct Context<'a> {
    /// The task's name; the kernel cuts it to 8 bytes in latency format.
    pub(crate) task: &'a [u8],
    /// How many bytes the task's column lacks here: they stand in lines before if its name has line ends.
    pub(super) lacking: usize,
    /// Its pid.
    pub(super) pid: u64,
    /// The CPU.
    pub(super) cpu: u64,
    /// What follows the time.
    pub(super) rest: &'a [u8],
}

/// Task, pid, CPU and what follows the time.
pub(crate) fn context(line: &[u8]) -> Option<Context<'_>> {
    if line.get(TASK_WIDTH) == Some(&b'-')
        && let Some(context) = NORMAL.context_at(line, TASK_WIDTH)
    {
        return Some(context);
    }
    if line.get(LATENCY_TASK_WIDTH) == Some(&b'-')
        && let Some(context) = LATENCY.context_at(line, LATENCY_TASK_WIDTH)
    {
        return Some(context);
    }
    // Behind a shorter task, whose name began in a line before, the pid is padded.
    if line.get(TASK_WIDTH) == Some(&b' ')
        && line[TASK_WIDTH - 1] != b' '
        && let Some(context) = verbose_at(line, TASK_WIDTH)
    {
        return Some(context);
    }
    // The time ends so, and few other lines hold that.
    split_at(line, b": ")?;
    let may_be_verbose = split_at(line, b"): ").is_some();
    // A task name with a line end in it pushes its second half to the first column; in mails lines are
    // indented, or have lost what they were.
    let front = line.iter().enumerate().take(LAST_DASH);
    front.into_iter().find_map(|(at, byte)| match byte {
        b'-' => NORMAL.context_at(line, at).or_else(|| LATENCY.context_at(line, at)),
        b' ' if may_be_verbose => verbose_at(line, at),
        _ => None,
    })
}

/// Reads the columns between the pid and the text: the CPU, and the text.
type Columns = fn(&[u8]) -> Option<(u64, &[u8])>;

/// How a format has the task, up to a dash, and the columns behind its pid.
struct Format {
    task_width: usize,
    columns: Columns,
}

const NORMAL: Format = Format { task_width: TASK_WIDTH, columns: normal_columns };
const LATENCY: Format = Format { task_width: LATENCY_TASK_WIDTH, columns: latency_columns };

impl Format {
    fn context_at<'a>(&self, line: &'a [u8], dash: usize) -> Option<Context<'a>> {
        let (pid, text) = decimal(&line[dash + 1..])?;
        let (cpu, rest) = (self.columns)(text)?;
        let task = line[..dash].trim_ascii_start();
        Some(Context { task, lacking: self.task_width.saturating_sub(dash), pid, cpu, rest })
    }
}

/// ` (-------) [000] .....     0.227540: `, with or without the thread group and the flags.
fn normal_columns(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut text = text.strip_prefix(b" ")?.trim_ascii_start();
    if text.starts_with(b"(") {
        text = split_at(text, b")")?.1.trim_ascii_start();
    }
    let (cpu, text) = decimal(text.strip_prefix(b"[")?)?;
    let text = text.strip_prefix(b"] ")?.trim_ascii_start();
    if let Some(rest) = after_time(text) {
        return Some((cpu, rest));
    }
    let (flags, text) = split_at(text, b" ")?;
    (flags.len() <= 8).then(|| after_time(text.trim_ascii_start()))?.map(|rest| (cpu, rest))
}

/// What follows `0.227540: `, or `227540: ` of a clock that counts.
fn after_time(text: &[u8]) -> Option<&[u8]> {
    let (_, text) = decimal(text)?;
    let text = text.strip_prefix(b".").map_or(Some(text), |text| decimal(text).map(|(_, text)| text))?;
    text.strip_prefix(b": ")
}

/// `              sh      91   0 0 00000000 [00000001] 12.345ms (+0.123ms): `, of latency format with
/// `verbose`.
fn verbose_at(line: &[u8], width: usize) -> Option<Context<'_>> {
    let (task, text) = line.split_at(width);
    let (pid, text) = decimal(text.trim_ascii_start())?;
    let (cpu, text) = decimal(text.strip_prefix(b" ")?.trim_ascii_start())?;
    let (_, text) = decimal(text.strip_prefix(b" ")?)?;
    let (_, text) = split_at(text.strip_prefix(b" ")?, b" [")?;
    let (_, text) = split_at(text, b"] ")?;
    let (_, rest) = split_at(text, b"): ")?;
    Some(Context { task: task.trim_ascii_start(), lacking: TASK_WIDTH.saturating_sub(width), pid, cpu, rest })
}

/// `   0..... 2887us!: `, `   0..... 2887: ` of a clock that counts, or `   0..... 2193.893326: ` of
/// trace-cmd.
fn latency_columns(text: &[u8]) -> Option<(u64, &[u8])> {
    const FLAGS: &[u8] = b".#-dDXbNnLlBpZzHhSs";
    let (cpu, text) = decimal(text.strip_prefix(b" ")?.trim_ascii_start())?;
    let (flags, text) = split_at(text, b" ")?;
    let is_flag = |byte: &u8| byte.is_ascii_hexdigit() || FLAGS.contains(byte);
    if !(3..=8).contains(&flags.len()) || !flags.iter().all(is_flag) {
        return None;
    }
    let text = text.trim_ascii_start();
    if let Some(rest) = after_time(text) {
        return Some((cpu, rest));
    }
    let (_, text) = decimal(text)?;
    let (mark, text) = split_at(text.strip_prefix(b"us").unwrap_or(text), b": ")?;
    (mark.len() <= 1).then_some((cpu, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_of_columns_gives_the_same() {
        for line in [
            "             a b-91      [002] d..2.     5.100001: f <-g",
            "             a b-91      [002] d..2.  227540: f <-g",
            "             a b-91      (     91) [002] d..2.     5.100001: f <-g",
            "             a b-91      [002]     5.100001: f <-g",
            "     a b-91        2d..2. 2887us!: f <-g",
            "     a b-91        2d..2. 2887: f <-g",
            "     a b-91        2d..2. 2193.893326: f <-g",
            "a b-91    2d..2. 2887us : f <-g",
            "a b-91 [002] d..2. 5.100001: f <-g",
            "                    a b-91      [002]     5.100001: f <-g",
            "             a b      91   2 0 00000001 [00000001] 12.345ms (+0.123ms): f <-g",
            "             a b      91   2 0 00000001 [0000000000000001] 12 (+1): f <-g",
            "a b      91   2 0 00000001 [00000001] 12.345ms (+0.123ms): f <-g",
        ] {
            let Context { task, pid, cpu, rest, .. } =
                context(line.as_bytes()).unwrap_or_else(|| panic!("{line}"));
            assert_eq!((task, pid, cpu, rest), (&b"a b"[..], 91, 2, &b"f <-g"[..]), "{line}");
        }
    }
}
