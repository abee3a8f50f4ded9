//! The task that a message names.

use crate::stack::debugger_task;
use crate::stack::lines::split_at;

/// What xmon's line with the name of a task begins with (`excprint` of arch/powerpc/xmon/xmon.c).
const XMON_TASK: &str = "pid   = ";

/// Whether an indented message names the task of a backtrace.
pub(super) fn names_debugged_task(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    text.starts_with(b"PID: ") || text.starts_with(XMON_TASK.as_bytes())
}

/// The task in `CPU: 0 PID: 93 Comm: eoe_filter Kdump: loaded Not tainted` (`dump_stack_print_info`; before
/// 3.11 `Pid: 93, comm: eoe_filter`), in `Process eoe_filter (pid: 93, stack limit = 0xc0)` among registers,
/// in `Process: eoe_filter [93] (task: 91e2c400 ..` of avr32, in `Starting stack dump of tid 93, pid 93
/// (eoe_filter) on cpu 0` of tile, in `task:init state:S` (`sched_show_task`), in `comm "eoe_filter", pid 93`
/// of kmemleak, in `Page allocated via order 0, .. tgid 93 (eoe_filter), ts 1 ns` of page_owner, and in what
/// crash(8) and xmon (`pid   = 93, comm = eoe_filter`) print before a backtrace.
pub(super) fn task(text: &str) -> Option<&str> {
    // What is pasted may be indented.
    let (line, text) = (text, text.trim_start());
    if text.starts_with(XMON_TASK) {
        return text.split_once(", comm = ").map(|(_, task)| task.trim_end());
    }
    if text.starts_with("PID: ") {
        return debugger_task(text);
    }
    let of_leak = text.strip_prefix("kmemleak:").unwrap_or(text).trim_start();
    if let Some(task) = of_leak.strip_prefix("comm \"") {
        return task.split_once("\", pid ").map(|(task, _)| task);
    }
    if let Some(task) = text.strip_prefix("task:") {
        return split_at(task.as_bytes(), b" state:").map(|(name, _)| task[..name.len()].trim_end());
    }
    if let Some(task) = text.strip_prefix("Process ") {
        return task.rsplit_once(" (pid: ").map(|(task, _)| task);
    }
    if let Some(task) = text.strip_prefix("Process: ") {
        return task.split_once("] (task: ")?.0.rsplit_once(" [").map(|(task, _)| task);
    }
    if let Some(task) = text.strip_prefix("Starting stack dump of tid ") {
        return task.split_once(" (")?.1.rsplit_once(") on cpu ").map(|(task, _)| task);
    }
    // `eoe_filter(93): Oops 0`, of alpha.
    let before_number = text.trim_end_matches(|last: char| last.is_ascii_digit());
    if let Some(task) = before_number.strip_suffix("): Oops ") {
        return task.rsplit_once('(').map(|(task, _)| task);
    }
    if text.starts_with("Page allocated via order ") {
        return Some(text.split_once(", tgid ")?.1.split_once(" (")?.1.split_once("), ts ")?.0);
    }
    if text.starts_with("0x") {
        return task_of_kdb(text);
    }
    let of_old = || Some(text.strip_prefix("Pid: ")?.split_once(", comm: ")?.1);
    let of_dump = || {
        let (_, task) = split_at(text.strip_prefix("CPU: ")?.as_bytes(), b" Comm: ")?;
        Some(&text[text.len() - task.len()..])
    };
    let Some(task) = of_dump().or_else(of_old) else { return listed_task(line) };
    let ends = [&b" Not tainted"[..], b" Tainted: ", b" Kdump: loaded "];
    let end = ends.iter().filter_map(|mark| Some(split_at(task.as_bytes(), mark)?.0.len())).min();
    Some(task[..end.unwrap_or(task.len())].trim())
}

/// The task in `0xffff888100a3a000       93       92  1    0   R  0xffff888100a3ab80 *sh`, before a stack of kdb:
/// its address, pid, parent, whether it runs, the CPU, its state, another address.
fn task_of_kdb(text: &str) -> Option<&str> {
    let mut words = text.split_ascii_whitespace();
    let is_address = |word: &str| word.len() > 8 && word.starts_with("0x");
    let fits = is_address(words.next()?)
        && words.by_ref().take(4).filter(|word| is_number(word)).count() == 4
        && words.next()?.len() == 1;
    let thread = words.next().filter(|word| fits && is_address(word))?;
    let (_, task) = text.rsplit_once(thread)?;
    Some(task.trim().trim_start_matches('*'))
}

/// Where the name of a task ends in a list of kernels before 5.11, and before 2.6.34.
const LISTED_NAMES: [usize; 2] = [15, 13];

/// The task in `init            S    0     1      0 0x00000000` (`sched_show_task` before 5.11): its name,
/// its state, the program counter or the word `running`, free stack, pid, parent and flags. Before 2.6.31
/// there are no flags, and before 2.6.24 the pids of relatives and whether it has memory of its own stand in
/// their place: `pdflush       D c001eb8c     0   231      9           232   230 (L-TLB)`.
fn listed_task(text: &str) -> Option<&str> {
    LISTED_NAMES.into_iter().find_map(|name| {
        let (task, rest) = (text.get(..name)?, text.get(name..)?);
        is_listed(rest).then(|| task.trim_end())
    })
}

/// Whether it is what stands behind the name.
fn is_listed(text: &str) -> bool {
    let Some(state) = text.strip_prefix(' ') else { return false };
    let state = state.strip_prefix(|state: char| state.is_ascii_uppercase() || matches!(state, 't' | '?'));
    let behind = state.unwrap_or_default();
    has_flags(behind) || lists_no_flags(behind)
}

/// Whether the state is one of a list with flags.
fn has_flags(behind: &str) -> bool {
    // Much free stack stands right behind the state.
    let behind = behind.strip_prefix(|next: char| next == ' ' || next.is_ascii_digit());
    let mut words = behind.unwrap_or_default().split_ascii_whitespace().rev();
    let Some(flags) = words.next().and_then(|flags| flags.strip_prefix("0x")) else { return false };
    let has_numbers = words.take(3).filter(|word| is_number(word)).count() == 3;
    has_numbers && flags.len() >= 8 && flags.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether the state is one of a list without flags.
fn lists_no_flags(behind: &str) -> bool {
    let words = behind.trim_end();
    let without_memory = words.strip_suffix("(L-TLB)").or_else(|| words.strip_suffix("(NOTLB)"));
    let mut words = without_memory.unwrap_or(words).split_ascii_whitespace().peekable();
    let is_counter =
        |word: &str| matches!(word.len(), 8 | 16) && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let runs = words.peek() == Some(&"running");
    if !words.next().is_some_and(|word| runs || is_counter(word)) {
        return false;
    }
    words.next_if(|word| runs && *word == "task");
    // Free stack, pid, parent, and the first child, the younger and the older sibling.
    let most = if without_memory.is_some() { 6 } else { 3 };
    let numbers: Vec<bool> = words.map(is_number).collect();
    (3..=most).contains(&numbers.len()) && numbers.iter().all(|is_number| *is_number)
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a message may be of such a list.
pub(super) fn may_be_listed_task(text: &[u8]) -> bool {
    let is_state = |text: &[u8]| matches!(text, [b' ', b'A'..=b'Z' | b't' | b'?', b' ' | b'0'..=b'9', ..]);
    LISTED_NAMES.into_iter().filter_map(|name| text.get(name..)).any(is_state)
}

/// The task in `INFO: task eoe_filter:93 blocked for more than 120 seconds`.
pub(super) fn hung_task(text: &str) -> Option<&str> {
    let (task, _) = text.strip_prefix("INFO: task ")?.split_once(" blocked ")?;
    task.rsplit_once(':').map(|(task, _)| task)
}
