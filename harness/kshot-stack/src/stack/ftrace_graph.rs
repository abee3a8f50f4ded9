//! The lines of the function-graph tracer (`kernel/trace/trace_functions_graph.c`), in all the columns that
//! its options give them.
//!
//! ```text
//!  0)               |  tun_chr_ioctl() {
//!  0)   7.569 us    |    tun_get [tun]();
//!  0)      sh-1      | # 3979.574 us |  } /* tun_chr_ioctl ret=0x0 */
//!  0)      sh-1      |   0.200 us    |    rw_verify_area(ppos=0x1); /* <-vfs_write+0x60/0x3c8 ret=0x0 */
//!  0)      sh-1      |               |  /* sched_process_fork: comm=sh pid=1 child_comm=sh child_pid=19 */
//!     5.103342 |   0)      sh-1    |  d..1. |   0.200 us    |  f();
//!  0)   ==========> |
//!  0)  f() {
//!                |  f() {
//!  0)      sh-1      |               |  /* <user stack trace>
//!  0)      sh-1      =>    child-19
//!  (Overruns: 0)
//! ```

use memchr::{memchr, memmem, memrchr};

use super::lines::{decimal, is_symbol, split_at};

/// The size of a task's name, with the zero at its end (`TASK_COMM_LEN`).
const TASK_NAME_BYTES: usize = 16;
/// How many beginnings of a comment are tried: a task's name holds at most five.
const COMMENTS_MOST: usize = 6;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GraphLine<'a> {
    /// The CPU; `None` without `funcgraph-cpu`, and behind a task's name with a line end in it.
    pub(super) cpu: Option<u64>,
    /// What the line records.
    pub(super) what: What<'a>,
}

/// What a line of the function graph records.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What<'a> {
    /// A function was entered.
    Entered(&'a [u8]),
    /// An event of another tracer or of a program, by its text.
    Comment(&'a [u8]),
    /// A return, an interrupt's arrow, a task switch or a task's name that goes on in the next line: neither an
    /// entered function nor an event.
    Nothing,
}

/// Reads a line; `None` for one of another kind. Without a CPU in front and a bar nothing but a call tells
/// such a line from any other: it is taken where `graph` says that the tracer is this one.
pub(super) fn graph_line(line: &[u8], graph: bool) -> Option<GraphLine<'_>> {
    let text = line.trim_ascii();
    if text.len() > 20 && text.iter().all(|&byte| byte == b'-') {
        return Some(GraphLine { cpu: None, what: What::Nothing });
    }
    let (cpu, text) = match cpu(text) {
        Some((cpu, text)) => (Some(cpu), text),
        None => (None, text),
    };
    let plain = GraphLine { cpu, what: What::Nothing };
    // A comment is looked for from the left: its text may hold anything. So may a task's name, in front of it.
    let comments = memmem::find_iter(text, b"/* ").take(COMMENTS_MOST);
    let mut heads = comments.map(|at| (&text[..at], Some(&text[at + 3..])));
    let is_call = |head: &[u8]| {
        let (bar, call) = last_column(head);
        let is_empty = call.is_empty() && (bar.is_some() || head.trim_ascii().is_empty());
        is_empty || call.starts_with(b"}") || entered(call).is_some()
    };
    let (head, comment) = heads.find(|(head, _)| is_call(head)).unwrap_or((text, None));
    let (bar, call) = last_column(head);
    if cpu.is_none() && bar.is_none() && !graph {
        return None;
    }
    let what = match (call, comment) {
        (b"", Some(comment)) => What::Comment(comment.strip_suffix(b" */").unwrap_or(comment)),
        (b"", None) => return bar.map(|_| plain),
        ([b'}', ..], _) => What::Nothing,
        _ => match entered(call) {
            Some(function) => What::Entered(function),
            // ` 0)    child-19    =>    child-21`: another task.
            None if (cpu.is_some() || graph) && split_at(text, b" => ").is_some() => What::Nothing,
            None if call.starts_with(b"(Overruns: ") => What::Nothing,
            None if cpu.is_some() && bar.is_none() && graph && call.len() < TASK_NAME_BYTES => What::Nothing,
            None => return None,
        },
    };
    Some(GraphLine { what, ..plain })
}

/// The last bar, and what stands behind it, or all where there is none.
fn last_column(head: &[u8]) -> (Option<usize>, &[u8]) {
    let bar = memrchr(b'|', head);
    (bar, head[bar.map_or(0, |bar| bar + 1)..].trim_ascii())
}

/// The CPU of `0)   7.569 us    |` or of `5.103342 |   0)   7.569 us    |`, and what follows it.
fn cpu(text: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = decimal(text)?;
    if let Some(rest) = rest.strip_prefix(b")") {
        return Some((number, rest));
    }
    let (_, rest) = rest.strip_prefix(b".").and_then(decimal)?;
    let (number, rest) = decimal(rest.strip_prefix(b" |")?.trim_ascii_start())?;
    rest.strip_prefix(b")").map(|rest| (number, rest))
}

/// The function of `f() {`, `f();`, `f [tun](a=1);`.
fn entered(call: &[u8]) -> Option<&[u8]> {
    let call = call.strip_suffix(b") {").or_else(|| call.strip_suffix(b");"))?;
    let call = &call[..memchr(b'(', call)?];
    let name = split_at(call, b" [").map_or(call, |(name, _)| name);
    is_symbol(name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_of_columns_gives_the_same_call() {
        for line in [
            " 0)               |  f() {",
            " 0)   7.569 us    |    f();",
            " 0) + 31.004 us   |    f(file=0x1, pos=0x2) { /* <-g+0x74/0x100 */",
            " 0)      sh-1      |   0.200 us    |    f(); /* <-g+0x60/0x3c8 ret=0x0 */",
            " 0)      sh-1      |   0.200 us    |    f(); /* = 0x0 */",
            "    5.103342 |   0)      sh-1    |  d..1. |   0.200 us    |  f();",
            "    5.103342 |   0)               |  f [tun]() {",
            " 0)   a|b-1    |               |  f() {",
            " 0)    f() {",
            "               |  f() {",
        ] {
            let read = graph_line(line.as_bytes(), false).unwrap();
            assert_eq!(read.what, What::Entered(b"f"), "{line}");
            assert_eq!(read.cpu, line.contains("0)").then_some(0), "{line}");
        }
        assert_eq!(graph_line(b"  f() {", true).unwrap().what, What::Entered(b"f"));
        assert_eq!(graph_line(b"  f() {", false), None);
    }

    #[test]
    fn what_enters_no_function_is_known_too() {
        for line in [
            " 1)   ==========> |",
            " 1)      sh-1      |   <========== |",
            " 1) # 3979.574 us |  } /* f ret=0x2 */",
            " 1)               |  }",
            " 1)      sh-1      =>    child-19   ",
            " ------------------------------------------",
        ] {
            assert_eq!(
                graph_line(line.as_bytes(), false).map(|line| line.what),
                Some(What::Nothing),
                "{line}"
            );
        }
        assert_eq!(graph_line(b" (Overruns: 0)", true).unwrap().what, What::Nothing);
        assert_eq!(graph_line(b" 1)               |  hello", true), None);
        let comment = graph_line(b" 1)               |  /* a: b | c */ d */", false).unwrap();
        assert_eq!(comment, GraphLine { cpu: Some(1), what: What::Comment(b"a: b | c */ d") });
    }

    #[test]
    fn a_task_may_call_itself_as_a_comment_begins_or_have_a_line_end_in_its_name() {
        for (line, what) in [
            (" 0)   a/* b-113    | ! 696.452 us  |  f();", What::Entered(b"f")),
            (" 0)   a/* b-113    |               |  f() { /* <-g */", What::Entered(b"f")),
            (" 0)   a/* b-113    |               |  } /* f */", What::Nothing),
            (
                " 0)   a/* b-113    |               |  /* fork: comm=a/* b pid=1 */",
                What::Comment(b"fork: comm=a/* b pid=1"),
            ),
            (" 0)   a/* b-113    =>    cat-114    ", What::Nothing),
            // Without a duration, and without anything in front.
            (" 0) /* hello <-world */", What::Comment(b"hello <-world")),
            ("/* hello <-world */", What::Comment(b"hello <-world")),
            (" 0) } /* f */", What::Nothing),
            ("} /* f */", What::Nothing),
            (" 0)    a", What::Nothing),
            ("b-113     | + 23.444 us   |  f();", What::Entered(b"f")),
            ("b-113     =>    cat-114    ", What::Nothing),
        ] {
            assert_eq!(graph_line(line.as_bytes(), true).map(|line| line.what), Some(what), "{line}");
        }
        assert_eq!(graph_line(b" 0)    a", false), None);
        assert_eq!(graph_line(b" 0)    this is longer than a name", true), None);
    }
}
