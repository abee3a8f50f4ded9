//! Compares two runs of one scenario, stack by stack.

use serde::Serialize;

use super::table::new_table;
use kshot_stack::document::{FetchedResult, ProbeResult, Reason, RunDocument, StackResult};
use kshot_stack::fidelity::{AlignedRow, side_by_side};

/// The comparison of two runs of one scenario.
#[derive(Clone, Debug, Serialize)]
pub struct RunComparison {
    /// The version of the document's form.
    schema: u32,
    /// Whether both runs recorded the same stacks with the same fidelity; `null` if a run has no stacks.
    pub same: Option<bool>,
    /// The comparison of each probe.
    probes: Vec<ProbeComparison>,
    /// The result document of the run on the left.
    left: RunDocument,
    /// The result document of the run on the right.
    right: RunDocument,
}

/// The comparison of one probe's stacks.
#[derive(Clone, Debug, Serialize)]
struct ProbeComparison {
    name: String,
    pairs: Vec<StackPair>,
    /// The values that kprobe events fetched, left and right.
    arguments: (Vec<FetchedResult>, Vec<FetchedResult>),
}

/// Two stacks of the same task and event; a stack without a counterpart has an empty side.
#[derive(Clone, Debug, Serialize)]
struct StackPair {
    same: bool,
    left: Option<StackResult>,
    right: Option<StackResult>,
}

impl RunComparison {
    /// Compares two runs of one scenario.
    pub fn compare(left: RunDocument, right: RunDocument) -> Self {
        let none = Vec::new();
        let names = left.probes.iter().chain(&right.probes).map(|probe| probe.name.as_str());
        let names = kshot_stack::stack::count(names.map(|name| (name, 1)));
        let probe = |document: &'_ RunDocument, name: &str| -> Option<ProbeResult> {
            document.probes.iter().find(|probe| probe.name == name).cloned()
        };
        let probes: Vec<_> = names
            .into_iter()
            .map(|(name, _)| {
                let (one, other) = (probe(&left, name), probe(&right, name));
                let stacks = |side: &Option<ProbeResult>| {
                    side.as_ref().map_or(none.clone(), |probe| probe.stacks.clone())
                };
                let arguments = |side: Option<ProbeResult>| side.map_or(vec![], |probe| probe.arguments);
                ProbeComparison {
                    name: name.into(),
                    pairs: pairs(stacks(&one), stacks(&other)),
                    arguments: (arguments(one), arguments(other)),
                }
            })
            .collect();
        let both_recorded = !left.probes.is_empty() && !right.probes.is_empty();
        let same = both_recorded.then(|| {
            probes.iter().all(|probe| {
                probe.pairs.iter().all(|pair| pair.same) && probe.arguments.0 == probe.arguments.1
            })
        });
        Self { schema: 1, same, probes, left, right }
    }

    /// The stacks that are not the same on both sides: the probe's name, left, right.
    pub(super) fn differing_stacks(
        &self,
    ) -> impl Iterator<Item = (&str, Option<&StackResult>, Option<&StackResult>)> {
        self.probes.iter().flat_map(|probe| {
            let pairs = probe.pairs.iter().filter(|pair| !pair.same);
            pairs.map(|pair| (probe.name.as_str(), pair.left.as_ref(), pair.right.as_ref()))
        })
    }

    /// The comparison as one line of JSON.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("the document has string keys only")
    }

    /// The comparison for a terminal: a table for each pair of stacks, with gaps for missing frames.
    pub fn text(&self) -> String {
        let [left, right] = [&self.left, &self.right].map(|document| &document.kernel);
        let mut text = format!(
            "{}: {} ({}) beside {} ({})\n",
            self.left.scenario, left.name, left.release, right.name, right.release
        );
        for probe in &self.probes {
            let title =
                |kernel: &str, stack: &Option<StackResult>| format!("{kernel}\n{}", heading(stack.as_ref()));
            for pair in &probe.pairs {
                if let Some(StackResult { task, event, .. }) = pair.left.as_ref().or(pair.right.as_ref()) {
                    text.push_str(&format!("{}: {event} in {task}\n", probe.name));
                }
                let mut rows = new_table();
                rows.set_header([title(&left.name, &pair.left), title(&right.name, &pair.right)]);
                let frames = |side: &Option<StackResult>| {
                    side.as_ref().map_or(Vec::new(), |stack| stack.frames.clone())
                };
                let (one, other) = (frames(&pair.left), frames(&pair.right));
                for AlignedRow { left, right } in side_by_side(&one, &other, &left.arch) {
                    rows.add_row([left.unwrap_or(""), right.unwrap_or("")]);
                }
                text.push_str(&format!("{rows}\n"));
            }
            if probe.pairs.is_empty() {
                text.push_str(&format!("{}: no stack on either side\n", probe.name));
            }
            for (kernel, arguments) in [(left, &probe.arguments.0), (right, &probe.arguments.1)] {
                for FetchedResult { count, event, text: fetched } in arguments {
                    text.push_str(&format!("{}: {count} x {event}: {fetched}\n", kernel.name));
                }
            }
        }
        for document in [&self.left, &self.right] {
            for event in &document.console {
                text.push_str(&format!(
                    "{}: console: {}: {}\n",
                    document.kernel.name, event.kind, event.line
                ));
            }
            if document.probes.is_empty() {
                text.push_str(&format!(
                    "{}: {}\n",
                    document.kernel.name,
                    Reason::join(&document.reasons, "\n  ")
                ));
            }
        }
        text.push_str(match self.same {
            Some(true) => "the same on both\n",
            Some(false) => "they differ\n",
            None => "cannot tell: a run came to no stacks\n",
        });
        text
    }
}

/// Stacks of the same task and event beside each other, in the order of their first appearance.
fn pairs(left: Vec<StackResult>, right: Vec<StackResult>) -> Vec<StackPair> {
    let mut rest: Vec<Option<StackResult>> = right.into_iter().map(Some).collect();
    let mut pairs: Vec<StackPair> = left
        .into_iter()
        .map(|stack| {
            let beside = |other: &&mut Option<StackResult>| {
                other.as_ref().is_some_and(|other| other.task == stack.task && other.event == stack.event)
            };
            let right = rest.iter_mut().find(beside).and_then(Option::take);
            StackPair { same: right.as_ref() == Some(&stack), left: Some(stack), right }
        })
        .collect();
    pairs.extend(rest.into_iter().flatten().map(|stack| StackPair {
        same: false,
        left: None,
        right: Some(stack),
    }));
    pairs
}

/// `5 x truncated at ftrace_graph_call`, and below it `0 of 4 (perf)`.
fn heading(stack: Option<&StackResult>) -> String {
    let Some(stack) = stack else { return "none".into() };
    let fidelity = stack.fidelity.map(|fidelity| format!("\n{fidelity}")).unwrap_or_default();
    format!("{} x {}{fidelity}", stack.count, stack.end_description())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_runs::{broken, document, stack, whole};
    use kshot_stack::document::StackResult;
    use kshot_stack::stack::State;

    #[test]
    fn what_one_kernel_lacks_is_a_gap_beside_the_other() {
        let boot = stack("swapper", &["ftrace_graph_call"], State::Truncated, 0);
        let left = document("mips64-6.1", Some(vec![boot, broken()]));
        let sides = RunComparison::compare(left, document("mips64-6.1-fixed", Some(vec![whole()])));
        assert_eq!(sides.same, Some(false));
        insta::assert_snapshot!(sides.text(), @"
        tunsetiff/func_stack_trace: mips64-6.1 (6.1.192) beside mips64-6.1-fixed (6.1.192)
        ftrace: register_netdevice in swapper
        ┌───────────────────────────────────────────────────────┐
        │ mips64-6.1                           mips64-6.1-fixed │
        │ 5 x truncated at ftrace_graph_call   none             │
        │ 0 of 4 (perf)                                         │
        ╞═══════════════════════════════════════════════════════╡
        │ ftrace_graph_call                                     │
        └───────────────────────────────────────────────────────┘
        ftrace: register_netdevice in eoe_filter
        ┌─────────────────────────────────────────────────────────────────────┐
        │ mips64-6.1                           mips64-6.1-fixed               │
        │ 5 x truncated at ftrace_graph_call   5 x complete at syscall_common │
        │ 0 of 4 (perf)                        4 of 4 (perf)                  │
        ╞═════════════════════════════════════════════════════════════════════╡
        │ ftrace_graph_call                    ftrace_graph_call              │
        │                                      register_netdevice             │
        │                                      tun_chr_ioctl                  │
        │                                      syscall_common                 │
        └─────────────────────────────────────────────────────────────────────┘
        they differ
        ");
    }

    #[test]
    fn equal_stacks_are_the_same_and_a_run_without_any_cannot_tell() {
        let run = |stacks: Vec<StackResult>| document("a", Some(stacks));
        assert_eq!(RunComparison::compare(run(vec![whole()]), run(vec![whole()])).same, Some(true));
        let fewer = StackResult { count: 4, ..whole() };
        assert_eq!(RunComparison::compare(run(vec![whole()]), run(vec![fewer])).same, Some(false));
        assert_eq!(RunComparison::compare(run(vec![]), run(vec![])).same, Some(true));
        let sides = RunComparison::compare(run(vec![whole()]), document("b", None));
        assert_eq!(sides.same, None);
        assert!(sides.text().contains("b: it did not boot\n"), "{}", sides.text());
        let json: serde_json::Value = serde_json::from_str(&sides.to_json_line()).unwrap();
        assert_eq!(
            (&json["same"], &json["right"]["kernel"]["name"]),
            (&serde_json::Value::Null, &"b".into())
        );
    }
}
