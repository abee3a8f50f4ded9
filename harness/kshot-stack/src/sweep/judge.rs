//! Compares the captures of a sweep.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::document::{
    BreakKind, FunctionCounts, FunctionResult, StackBreak, StackCounts, SweepFindings, UncomparedStacks,
};
use crate::arch::ArchRow;
use crate::fidelity::{physical, reaches_entry, same_function, same_place, up_to_entry};
use crate::stack::gdb_raw::{RawHit, RawHits};
use crate::stack::{Frame, ParsedCapture, Stack, State};
use crate::text::count_noun;

/// The number of functions that are listed as examples of a break.
const EXAMPLES: usize = 3;

/// Why the stacks of ftrace and of gdb cannot be matched event by event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventMismatch {
    /// The truth ended before it was told to.
    #[error("the recording of the truth stopped before the workload ended")]
    Unfinished,
    /// The ring buffer lost events.
    #[error("the ring buffer lost {}", count_noun(*.0, "entry"))]
    Lost(u64),
    /// ftrace and the truth recorded different numbers of events.
    #[error("ftrace recorded {} and the truth {seen}, so they cannot be paired", count_noun(*recorded, "stack"))]
    Number {
        /// The number of stacks in the ring buffer.
        recorded: u64,
        /// The number of stacks that the truth saw ftrace take.
        seen: u64,
    },
    /// ftrace and the truth name different functions for one event.
    #[error("event {number}: ftrace says {traced}, the truth says {seen}")]
    Function {
        /// The event's number, from 1.
        number: u64,
        /// The function that ftrace names.
        traced: String,
        /// The function that the truth names.
        seen: String,
    },
    /// Nothing was recorded.
    #[error("ftrace recorded no stack that has a truth")]
    Nothing,
}

/// Unwinds each truth and compares it with the stack of the same event: the truth numbers the events, and
/// `order` tells which stack each of them has. `is_in` says whether a frame is in the function that has this
/// name for ftrace. `armed` is how many functions could have been traced.
///
/// # Errors
/// [`EventMismatch`]: then nothing can be said.
pub fn compare_events(
    armed: u64,
    recorded: &ParsedCapture,
    order: &[usize],
    truth: &RawHits,
    unwind: impl Fn(&RawHit) -> Vec<Frame>,
    is_in: impl Fn(&Frame, &str) -> bool,
    row: &ArchRow,
) -> Result<SweepFindings, EventMismatch> {
    let events = truth.events.ok_or(EventMismatch::Unfinished)?;
    if recorded.lost > 0 {
        return Err(EventMismatch::Lost(recorded.lost));
    }
    let stacks = order.len() as u64;
    if stacks != events {
        return Err(EventMismatch::Number { recorded: stacks, seen: events });
    }
    let mut tally = FindingsCounter::default();
    for raw in &truth.raw {
        let index = usize::try_from(raw.number.saturating_sub(1)).unwrap_or(usize::MAX);
        let stack = order.get(index).and_then(|&index| recorded.stacks.get(index));
        let (stack, _) = stack.ok_or(EventMismatch::Number { recorded: stacks, seen: raw.number })?;
        let frames = unwind(raw);
        let name = stack.function.as_deref().unwrap_or(&stack.event);
        if !frames.first().is_some_and(|frame| is_in(frame, name)) {
            let seen = frames.first().map_or_else(|| "none".into(), Frame::name);
            return Err(EventMismatch::Function { number: raw.number, traced: name.into(), seen });
        }
        let (task, event) = (stack.task.clone(), name.to_owned());
        let frames = frames.into_iter().map(Arc::new).collect();
        tally.add(stack, &Stack { task, event, function: Some(name.into()), frames }, row);
    }
    if tally.functions.is_empty() {
        return Err(EventMismatch::Nothing);
    }
    Ok(tally.findings(armed, stacks))
}

/// Counters, by function.
#[derive(Default)]
struct FindingsCounter {
    /// The numbers of compared and of whole stacks, by function.
    functions: BTreeMap<String, (u64, u64)>,
    breaks: HashMap<(BreakKind, Option<String>), (BTreeSet<String>, u64)>,
    no_truth: HashMap<Option<String>, (BTreeSet<String>, u64)>,
}

impl FindingsCounter {
    fn add(&mut self, stack: &Stack, truth: &Stack, row: &ArchRow) {
        let name = truth.event.clone();
        if !is_whole(truth, row) {
            let (functions, stacks) = self.no_truth.entry(truth.state(row).1).or_default();
            functions.insert(name);
            *stacks += 1;
            return;
        }
        let (compared, whole) = self.functions.entry(name.clone()).or_default();
        *compared += 1;
        match first_difference(stack, truth, row) {
            None => *whole += 1,
            Some(place) => {
                let (functions, stacks) = self.breaks.entry(place).or_default();
                functions.insert(name);
                *stacks += 1;
            }
        }
    }

    fn findings(self, armed: u64, recorded: u64) -> SweepFindings {
        let mut functions = FunctionCounts { armed, ..FunctionCounts::default() };
        let mut stacks = StackCounts { recorded, ..StackCounts::default() };
        for &(compared, whole) in self.functions.values() {
            functions.compared += 1;
            stacks.compared += compared;
            stacks.whole += whole;
            *match whole {
                0 => &mut functions.never,
                _ if whole == compared => &mut functions.whole,
                _ => &mut functions.partly,
            } += 1;
        }
        let mut breaks: Vec<StackBreak> = self
            .breaks
            .into_iter()
            .map(|((kind, at), (functions, stacks))| StackBreak {
                kind,
                at,
                functions: functions.len() as u64,
                stacks,
                examples: functions.into_iter().take(EXAMPLES).collect(),
            })
            .collect();
        breaks.sort_by(|one, other| {
            (other.functions, other.stacks, one.kind, &one.at).cmp(&(
                one.functions,
                one.stacks,
                other.kind,
                &other.at,
            ))
        });
        let mut no_truth: Vec<UncomparedStacks> = self
            .no_truth
            .into_iter()
            .map(|(ends_at, (functions, stacks))| UncomparedStacks {
                ends_at,
                functions: functions.len() as u64,
                stacks,
            })
            .collect();
        no_truth.sort_by(|one, other| (other.functions, &one.ends_at).cmp(&(one.functions, &other.ends_at)));
        let each = self.functions.into_iter().map(|(name, (compared, whole))| FunctionResult {
            name,
            compared,
            whole,
        });
        SweepFindings { functions, stacks, breaks, no_truth, by_function: each.collect() }
    }
}

/// Whether a truth is complete: it reaches an entry or user space.
fn is_whole(truth: &Stack, row: &ArchRow) -> bool {
    reaches_entry(truth, row) || truth.frames.last().is_some_and(|frame| frame.user)
}

/// The first difference between a stack and the truth; `None` if both hold the same frames. The tracers' own
/// labels do not count.
fn first_difference(stack: &Stack, truth: &Stack, row: &ArchRow) -> Option<(BreakKind, Option<String>)> {
    let (told, truth): (Vec<&Frame>, _) = (physical(stack, row).collect(), up_to_entry(truth, row));
    let same = |depth: usize| match (told.get(depth), truth.get(depth)) {
        (Some(told), Some(truth)) if depth == 0 => same_function(truth, told, row),
        // The tracer's trampoline, further out: no symbol table lists it.
        (Some(told), Some(truth)) if told.is_marker() => truth.symbol.is_none(),
        (Some(told), Some(truth)) => same_place(truth, told, row),
        _ => false,
    };
    let depth = (0..told.len().max(truth.len())).find(|&depth| !same(depth))?;
    let Some(wrong) = told.get(depth) else {
        let (state, last) = stack.state(row);
        return Some((BreakKind::Cut, last.filter(|_| state != State::Empty)));
    };
    let later = truth.get(depth + 1..).unwrap_or_default();
    if later.iter().any(|truth| same_place(truth, wrong, row)) {
        return Some((BreakKind::Gap, depth.checked_sub(1).map(|last| truth[last].name())));
    }
    Some((BreakKind::Wrong, Some(wrong.name())))
}

#[cfg(test)]
mod tests;
