//! A run as a mail to a kernel list, or as Markdown.

use kshot_stack::document::{ProbeResult, Reason, RunDocument, Verdict};
use kshot_stack::fidelity::AlignedRow;
use kshot_stack::text::count_noun;

use super::reference::{MeasuredAgainst, reference};

/// The format of the mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailFormat {
    /// Plain text, wrapped at 72 columns, with a subject line.
    Mail,
    /// Markdown, for an issue tracker.
    Markdown,
}

/// The information of a mail that is not in the result document.
#[derive(Clone, Copy, Debug, Default)]
pub struct MailContext<'a> {
    /// The scenario's summary.
    pub summary: &'a str,
    /// The kernel parameters that the scenario adds.
    pub cmdline: &'a [String],
    /// The scripts that run in the guest.
    pub steps: &'a [String],
    /// The decoded stacks, as stored in the run folder.
    pub decoded_stacks: Option<&'a str>,
}

/// The width of a mail's paragraphs (RFC 3676 asks for 78 at most).
const WIDTH: usize = 72;

/// Writes a run as a mail.
pub fn mail(document: &RunDocument, enclosed: MailContext<'_>, style: MailFormat) -> String {
    let mut paper = MailWriter { style, text: String::new() };
    let kernel = &document.kernel;
    paper.subject(&format!("{}: {} on {}", document.scenario, subject(document), kernel.release));
    paper.paragraph(&format!("{}.", enclosed.summary.trim_end_matches('.')));
    paper.paragraph(&format!(
        "Linux {} ({}), QEMU {}, image SHA-256 {}. Verdict: {}.",
        kernel.release,
        kernel.arch,
        document.qemu,
        kernel.image_sha256,
        verdict_words(document)
    ));
    // A missing snapshot is of no interest to the recipient.
    for why in document.reasons.iter().filter(|why| !matches!(why, Reason::NoSnapshot { .. })) {
        let why = why.to_string();
        match why.split_once('\n') {
            None => paper.paragraph(&format!("{why}.")),
            Some((first, rest)) => {
                paper.paragraph(first);
                paper.preformatted(rest);
            }
        }
    }
    if !enclosed.cmdline.is_empty() {
        paper.heading("Kernel parameters");
        paper.preformatted(&enclosed.cmdline.join(" "));
    }
    if !enclosed.steps.is_empty() {
        paper.heading("Commands in the guest");
        paper.preformatted(&enclosed.steps.join("\n"));
    }
    let recorded: Vec<&ProbeResult> =
        document.probes.iter().filter(|probe| !probe.stacks.is_empty()).collect();
    if !recorded.is_empty() {
        paper.heading("The stacks, innermost frame first");
        for probe in recorded {
            paper.preformatted(stacks(document, probe).trim_end());
        }
    }
    if let Some(decoded) = enclosed.decoded_stacks.filter(|decoded| !decoded.trim().is_empty()) {
        paper.heading("Decoded stacks");
        paper.preformatted(decoded.trim_end());
    }
    for event in &document.console {
        paper.heading(&format!("The console ({})", event.kind));
        paper.preformatted(&event.excerpt.join("\n"));
    }
    paper.heading("To reproduce");
    paper.preformatted(&format!("kshot run {} --kernel {}", document.scenario, kernel.name));
    paper.text
}

/// The verdict, in words for readers who do not know kshot.
fn verdict_words(document: &RunDocument) -> &'static str {
    match document.verdict {
        Verdict::Match if document.reasons.iter().any(Reason::is_known_fault) => {
            "match (the fault is known, and still there)"
        }
        word => word.name(),
    }
}

/// The finding in a few words: `ftrace lacks 4 of 4 frames`, `the stacks changed`.
fn subject(document: &RunDocument) -> String {
    let lacks = document.probes.iter().flat_map(|probe| {
        let measured = probe.stacks.iter().filter_map(|stack| stack.fidelity);
        measured.map(move |fidelity| {
            (
                fidelity.reference_frames.saturating_sub(fidelity.matched_frames),
                fidelity.reference_frames,
                &probe.name,
            )
        })
    });
    match lacks.filter(|(lacking, ..)| *lacking > 0).max_by_key(|(lacking, ..)| *lacking) {
        Some((lacking, of, probe)) => format!("{probe} lacks {lacking} of {}", count_noun(of, "frame")),
        None if excess(document) > 0 => match excess(document) {
            1 => "1 frame is not in the truth".into(),
            more => format!("{more} frames are not in the truth"),
        },
        None if document.verdict == Verdict::Match => "the stacks are whole".into(),
        None if document.verdict == Verdict::Drift => "the stacks changed".into(),
        None => format!("cannot tell ({})", document.verdict.name()),
    }
}

/// How many frames the stacks have that their references have not.
fn excess(document: &RunDocument) -> u64 {
    let stacks = document.probes.iter().flat_map(|probe| &probe.stacks).filter_map(|stack| stack.fidelity);
    stacks.map(|fidelity| fidelity.excess()).sum()
}

/// The stacks of a probe, each beside its reference if there is one.
fn stacks(document: &RunDocument, probe: &ProbeResult) -> String {
    let mut text = String::new();
    for stack in &probe.stacks {
        let fidelity = stack.fidelity.map(|fidelity| format!(", {fidelity}")).unwrap_or_default();
        text.push_str(&format!(
            "{}: {} x {} in {}: {}{fidelity}\n",
            probe.name,
            stack.count,
            stack.event,
            stack.task,
            stack.end_description()
        ));
        match reference(document, probe, stack) {
            Some(MeasuredAgainst { probe: other, rows, .. }) => {
                let width = rows.iter().filter_map(|row| row.left).map(str::len).max().unwrap_or(0).max(9);
                text.push_str(&format!("    {:width$}   {}\n", probe.name, other.name));
                for AlignedRow { left, right } in rows {
                    let line =
                        format!("    {:width$}   {}", left.unwrap_or("(missing)"), right.unwrap_or(""));
                    text.push_str(line.trim_end());
                    text.push('\n');
                }
            }
            None => stack.frames.iter().for_each(|frame| text.push_str(&format!("    {frame}\n"))),
        }
        text.push('\n');
    }
    text
}

/// Builds the text of a mail.
struct MailWriter {
    style: MailFormat,
    text: String,
}

impl MailWriter {
    fn subject(&mut self, words: &str) {
        self.text.push_str(&match self.style {
            MailFormat::Mail => format!("Subject: {words}\n\n"),
            MailFormat::Markdown => format!("# {}\n\n", escape_markdown(words)),
        });
    }

    fn heading(&mut self, words: &str) {
        self.text.push_str(&match self.style {
            MailFormat::Mail => format!("{words}:\n\n"),
            MailFormat::Markdown => format!("## {}\n\n", escape_markdown(words)),
        });
    }

    fn paragraph(&mut self, words: &str) {
        self.text.push_str(&match self.style {
            MailFormat::Mail => wrapped(&printable_line(words)),
            MailFormat::Markdown => format!("{}\n", escape_markdown(&printable_line(words))),
        });
        self.text.push('\n');
    }

    fn preformatted(&mut self, block: &str) {
        match self.style {
            MailFormat::Mail => block.lines().for_each(|line| {
                self.text.push_str(format!("  {}", printable_line(line)).trim_end());
                self.text.push('\n');
            }),
            MailFormat::Markdown => {
                let fence = "`".repeat(longest_run(block).max(2) + 1);
                let block: Vec<String> = block.lines().map(printable_line).collect();
                self.text.push_str(&format!("{fence}text\n{}\n{fence}\n", block.join("\n")));
            }
        }
        self.text.push('\n');
    }
}

/// Escapes control characters, which a guest's text may contain.
fn printable_line(line: &str) -> String {
    kshot_stack::text::printable(line.as_bytes())
}

fn wrapped(words: &str) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in words.split_whitespace() {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text + "\n"
}

/// The longest run of backticks in the block; the fence must be longer.
fn longest_run(block: &str) -> usize {
    block.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Escapes Markdown, except inside of code spans.
fn escape_markdown(words: &str) -> String {
    let mut code = false;
    let one = |c: char| {
        if c == '`' {
            code = !code;
        }
        match c {
            '<' if !code => "&lt;".into(),
            '*' | '_' | '[' | ']' | '#' | '|' | '\\' if !code => format!("\\{c}"),
            c => c.to_string(),
        }
    };
    words.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::test_night::night_report;
    use super::*;

    fn text(style: MailFormat, scenario: &str) -> String {
        let report = night_report();
        let document = report.document(report.night.pair(scenario, "mips64-6.1").unwrap()).unwrap();
        let steps = ["eoe_filter -n lo -t tap0 -E".to_owned()];
        let cmdline = ["ftrace=function", "ftrace_filter=register_netdevice"].map(ToOwned::to_owned);
        let decoded = Some("ftrace: 5 x eoe_filter, register_netdevice\n    ftrace_graph_call+0x0/0x8\n");
        let summary = "func_stack_trace loses every caller of register_netdevice on MIPS";
        mail(
            document,
            MailContext { summary, cmdline: &cmdline, steps: &steps, decoded_stacks: decoded },
            style,
        )
    }

    #[test]
    fn a_mail_says_what_where_and_how_to_see_it_again() {
        insta::assert_snapshot!(text(MailFormat::Mail, "tunsetiff/leaf"));
    }

    #[test]
    fn markdown_is_the_same_letter() {
        insta::assert_snapshot!(text(MailFormat::Markdown, "tunsetiff/leaf"));
    }

    #[test]
    fn no_line_of_a_mail_is_longer_than_the_width_but_a_word_may_be() {
        let text = wrapped(&"word ".repeat(100));
        assert!(text.lines().all(|line| line.len() <= WIDTH));
        assert_eq!(text.split_whitespace().count(), 100);
    }

    #[test]
    fn a_guest_cannot_leave_its_fence() {
        let mut paper = MailWriter { style: MailFormat::Markdown, text: String::new() };
        paper.preformatted("a\n````\n<script>");
        assert_eq!(paper.text, "`````text\na\n````\n<script>\n`````\n\n");
        assert_eq!(escape_markdown("<b>*x* `a_b`"), "&lt;b>\\*x\\* `a_b`");
    }
}
