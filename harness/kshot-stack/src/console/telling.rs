//! Whether a message may begin something: most messages of a boot do not, and to tell that is to be quick.

use std::sync::LazyLock;

use super::TABLE;
use super::literals::Words;
use super::tasks::may_be_listed_task;

/// What is in every message that begins something, besides the words of reports; `#` and `[` at the beginning
/// aside.
const TELLING: [&str; 23] = [
    "+0x",
    "[ ",
    "race",
    "=> ",
    "task:",
    "Process ",
    "Page allocated via order ",
    " Comm: ",
    ", comm: ",
    ", comm = ",
    "COMMAND: ",
    "sysrq: ",
    "SysRq : ",
    "printk messages dropped",
    "<stack trace>",
    "---[ end ",
    "Preemption disabled at",
    "Breaking-Event",
    "entered at [<",
    " [inline]",
    "> { ",
    "frame #",
    " stack dump of tid ",
];

static TELLING_WORDS: LazyLock<Words> =
    LazyLock::new(|| Words::new(TABLE.words.iter().map(String::as_str).chain(TELLING)));

/// Whether a message may begin something.
pub(super) fn is_telling(text: &[u8]) -> bool {
    matches!(text.trim_ascii_start().first(), Some(b'#' | b'['))
        || may_be_listed_task(text)
        || text.starts_with(b"0x")
        || TELLING_WORDS.is_in(text)
}
