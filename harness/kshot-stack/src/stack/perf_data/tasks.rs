//! The names of tasks, from `PERF_RECORD_COMM` and `PERF_RECORD_FORK`, as perf assigns them
//! (tools/perf/util/machine.c, `machine__process_fork_event`; thread.c, `thread__fork`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::printable;

/// The names of tasks by thread id. A task that exited keeps its name, because samples of it may still
/// follow.
#[derive(Debug, Default)]
pub(super) struct Tasks(HashMap<i32, Rc<str>, RandomState>);

impl Tasks {
    /// Sets the name of a task.
    pub(super) fn name(&mut self, thread: i32, name: &[u8]) {
        self.0.insert(thread, printable(name).into());
    }

    /// Gives a new task the name of its parent.
    pub(super) fn fork(&mut self, parent: i32, child: i32) {
        match self.0.get(&parent).cloned() {
            Some(name) => self.0.insert(child, name),
            // An earlier task with the same id may have left a name.
            None => self.0.remove(&child),
        };
    }

    /// The current name of a task: `:42` if it is unknown.
    pub(super) fn get(&self, thread: i32) -> Cow<'static, str> {
        match self.0.get(&thread) {
            Some(name) => Cow::Owned(name.to_string()),
            None if thread == 0 => Cow::Borrowed("swapper"),
            None => Cow::Owned(format!(":{thread}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_has_its_parents_name_until_it_gets_its_own() {
        let mut tasks = Tasks::default();
        assert_eq!((tasks.get(0), tasks.get(7)), ("swapper".into(), ":7".into()));
        tasks.name(7, b"sh");
        tasks.fork(7, 8);
        assert_eq!(tasks.get(8), "sh");
        tasks.name(8, b"eoe\x1b_filter");
        assert_eq!((tasks.get(7), tasks.get(8)), ("sh".into(), "eoe\\u{1b}_filter".into()));
    }

    #[test]
    fn an_id_that_is_used_again_loses_its_name() {
        let mut tasks = Tasks::default();
        tasks.name(8, b"old");
        tasks.fork(99, 8);
        assert_eq!(tasks.get(8), ":8");
    }
}
