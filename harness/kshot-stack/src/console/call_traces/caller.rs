//! What one caller has printed so far: the report that it is in, and the stack that is open.

use crate::console::messages::Printer;
use crate::stack::Needs;

/// What one caller has printed so far.
#[derive(Debug)]
pub(super) struct Caller {
    /// The word of the last report, if what follows may still belong to one.
    pub(super) report: Option<usize>,
    /// Whether it names its task only behind its stacks.
    pub(super) names_task_last: bool,
    /// Its own stack, or one of no report and no task, which waits for that.
    pub(super) nameless: Option<(Numbers, u64)>,
    /// Whether a frame stands behind its first line.
    pub(super) has_told: bool,
    /// Messages since then.
    pub(super) age: usize,
    pub(super) task: usize,
    pub(super) function: Option<usize>,
    /// The section of the report that the next stack belongs to: one that was kept of another time.
    pub(super) section: Option<usize>,
    /// [`Caller::age`] at the heading of that section.
    pub(super) section_age: usize,
    pub(super) open: Open,
    /// Whether a sentence announced the stack that is open, which then is one only if a frame follows.
    pub(super) is_prose: bool,
    /// Whether the stack that is open is one word behind an arrow that nothing announced, `=> boot`: none
    /// without another frame.
    pub(super) is_word: bool,
    /// What the next line may be besides a frame of a stack.
    pub(super) awaited: Awaited,
    /// The first part of the frame whose rest is awaited, and the number of the frame that it was taken for.
    pub(super) cut_frame: (Vec<u8>, Option<usize>),
    /// Whether it was at rest behind its last line.
    pub(super) is_idle: bool,
    /// Who prints the stack that is open.
    pub(super) printer: Printer,
    pub(super) stack: Numbers,
    /// Which of all stacks it is.
    pub(super) number: u64,
    /// A stack that a report cut, which may go on before a heading of the report's own.
    pub(super) aside: Option<(Numbers, u64)>,
    /// Whether the stack that is open, or the one laid aside, was cut so.
    pub(super) is_cut: bool,
}

/// Whether frames have somewhere to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Open {
    No,
    /// A stack was announced, and has no frame yet.
    Announced,
    /// A stack has frames.
    Frames,
    /// So many messages that may be of others stand behind its last frame.
    Interrupted(usize),
}

/// What the next line is where it reads as a frame and is none, or not a whole one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Awaited {
    #[default]
    Nothing,
    /// A place that was announced alone.
    Place,
    /// The places of a list, one a line.
    Places,
    /// The function that a report was made in: the end of its first line, which a mail program wrapped.
    Function,
    /// The function that a report was made in, as the place of the program counter.
    Counter,
    /// The rest of a frame whose line was cut in two.
    Rest,
}

/// A stack as the numbers of its words and frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Numbers {
    pub(super) task: usize,
    pub(super) event: usize,
    pub(super) function: Option<usize>,
    pub(super) frames: Vec<usize>,
}

/// A line of a stack, as the numbers of its frames.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameLine {
    /// The frame that counts for the first line of a stack only.
    pub(super) inner: Option<usize>,
    pub(super) frame: usize,
    /// What must stand before it.
    pub(super) needs: Needs,
    /// Whether it is a name alone.
    pub(super) is_bare: bool,
    pub(super) printer: Printer,
}

impl Caller {
    /// One that has printed nothing, of a task whose name has this number.
    pub(super) fn new(nameless: usize) -> Self {
        Self {
            report: None,
            names_task_last: false,
            nameless: None,
            has_told: false,
            age: 0,
            task: nameless,
            function: None,
            section: None,
            section_age: 0,
            open: Open::No,
            is_prose: false,
            is_word: false,
            awaited: Awaited::Nothing,
            cut_frame: (Vec::new(), None),
            is_idle: true,
            printer: Printer::Kernel,
            stack: Numbers::default(),
            number: 0,
            aside: None,
            is_cut: false,
        }
    }

    /// Ends the report: what follows is of none, and of a task whose name has this number.
    pub(super) fn forget(&mut self, nameless: usize) {
        (self.report, self.section, self.function) = (None, None, None);
        (self.task, self.has_told, self.age) = (nameless, false, 0);
        self.names_task_last = false;
    }

    /// Whether no stack and no report is open, and nothing is known of the next.
    pub(super) fn is_at_rest(&self, nameless: usize) -> bool {
        let knows = self.report.or(self.section).or(self.function).is_some();
        let awaits = self.open != Open::No || self.awaited != Awaited::Nothing;
        self.task == nameless && !awaits && !knows
    }

    /// Whether a line that is a frame behind what it needs is one here.
    pub(super) fn has_what(&self, needs: Needs) -> bool {
        let is_announced = || self.section.is_some() || self.report.is_some() && !self.has_told;
        match needs {
            Needs::Nothing => true,
            Needs::Announcement => self.open != Open::No || is_announced(),
            Needs::Stack => self.open != Open::No,
        }
    }

    /// Whether the next line may be a frame that names no offset.
    pub(super) fn expects(&self, nameless: usize) -> bool {
        // Arm announces a stack by its task alone.
        let is_named = self.report.is_none() && self.task != nameless;
        is_named || self.awaited != Awaited::Nothing || self.has_what(Needs::Announcement)
    }

    /// Whether a stack is open that is one as it stands.
    pub(super) fn has_stack(&self) -> bool {
        match self.open {
            Open::No => false,
            Open::Announced => !self.is_prose,
            Open::Frames | Open::Interrupted(_) => !self.is_word,
        }
    }

    /// Lays the open stack aside, which a report cuts. Returns the one that was laid aside before.
    pub(super) fn lay_aside(&mut self) -> Option<(Numbers, u64)> {
        (self.open, self.section, self.is_cut) = (Open::No, None, true);
        self.aside.replace((std::mem::take(&mut self.stack), self.number))
    }

    /// Whether the open stack's report has yet to name its task. What is of no report may be of parisc, which
    /// names the task behind the stack.
    fn awaits_task(&self, nameless: usize) -> bool {
        let is_of_report = || self.names_task_last && Some(self.stack.event) == self.report;
        let is_of_none = self.report.is_none() && self.printer == Printer::Kernel;
        self.nameless.is_none() && self.stack.task == nameless && (is_of_none || is_of_report())
    }

    /// Ends what is open, and returns its stack.
    pub(super) fn close(&mut self, nameless: usize) -> Option<(Numbers, u64)> {
        let stack = self.has_stack().then(|| (std::mem::take(&mut self.stack), self.number));
        if stack.is_some() {
            self.task = if self.report.is_some() { self.task } else { nameless };
        }
        (self.open, self.section) = (Open::No, None);
        stack
    }

    /// Ends what is open and what was laid aside, and counts each stack.
    pub(super) fn end(&mut self, nameless: usize, mut count: impl FnMut(&Numbers, u64)) {
        if let Some((stack, number)) = self.aside.take() {
            count(&stack, number);
        }
        if self.has_stack() {
            if self.awaits_task(nameless) {
                self.nameless = Some((self.stack.clone(), self.number));
            } else {
                count(&self.stack, self.number);
            }
            // Of whom the next is, only its report could tell.
            self.task = if self.report.is_some() { self.task } else { nameless };
        }
        (self.open, self.section, self.is_cut) = (Open::No, None, false);
    }
}
