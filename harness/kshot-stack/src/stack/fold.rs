//! Equal stacks counted as they come: a capture of gigabytes holds some thousand different lines and stacks,
//! and memory is taken for these alone.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use super::lines::printable;
use super::{Frame, Stack};

/// What stands in a capture as text, each text read once and known by a number from then on.
#[derive(Debug)]
pub(crate) struct Texts<T> {
    numbers: HashMap<Box<[u8]>, usize, RandomState>,
    things: Vec<T>,
}

/// A stack as the numbers of its task, event and frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Numbers {
    pub(crate) task: usize,
    pub(crate) event: usize,
    pub(crate) frames: Vec<usize>,
}

/// Equal stacks once, each as the numbers of its texts.
#[derive(Debug)]
pub(crate) struct Fold<S> {
    seen: IndexMap<S, Seen, RandomState>,
    /// The number of each and its index in `seen`, where somebody asks for the order.
    order: Option<Vec<(u64, usize)>>,
}

#[derive(Debug)]
struct Seen {
    count: u64,
    first: u64,
}

impl<T> Default for Texts<T> {
    fn default() -> Self {
        Self { numbers: HashMap::default(), things: Vec::new() }
    }
}

impl<T> Texts<T> {
    /// The number of what `text` says; `None` where `read` cannot tell.
    pub(crate) fn number(&mut self, text: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<usize> {
        match self.numbers.get(text) {
            Some(&number) => Some(number),
            None => Some(self.insert(text, read(text)?)),
        }
    }

    /// What has this number.
    pub(crate) fn get(&self, number: usize) -> &T {
        &self.things[number]
    }

    /// Makes `text` stand for a thing from now on. Returns its number.
    pub(super) fn insert(&mut self, text: &[u8], thing: T) -> usize {
        let number = self.things.len();
        self.things.push(thing);
        self.numbers.insert(text.into(), number);
        number
    }
}

impl Texts<String> {
    /// The number of a name.
    pub(crate) fn word(&mut self, text: &[u8]) -> usize {
        match self.numbers.get(text) {
            Some(&number) => number,
            None => self.insert(text, printable(text)),
        }
    }
}

impl<S> Default for Fold<S> {
    fn default() -> Self {
        Self { seen: IndexMap::default(), order: None }
    }
}

impl<S: Clone + Eq + Hash> Fold<S> {
    /// One that can tell the order of all that was added.
    pub(crate) fn in_order() -> Self {
        Self { order: Some(Vec::new()), ..Self::default() }
    }

    /// Counts the `number`th thing of a capture. They need not come in the order of their numbers.
    pub(crate) fn add(&mut self, thing: &S, number: u64) {
        self.add_times(thing, number, 1);
    }

    /// Counts a thing that stands for `times` of its kind.
    pub(crate) fn add_times(&mut self, thing: &S, number: u64, times: u64) {
        let index = match self.seen.get_full_mut(thing) {
            Some((index, _, seen)) => {
                seen.count = seen.count.saturating_add(times);
                seen.first = seen.first.min(number);
                index
            }
            None => self.seen.insert_full(thing.clone(), Seen { count: times, first: number }).0,
        };
        if let Some(order) = &mut self.order {
            order.push((number, index));
        }
    }

    /// The different stacks with their count, in the order of their first appearance; and of each stack of
    /// the capture its index there, if the order was asked for.
    pub(crate) fn finish(self, read: impl Fn(S) -> Stack) -> (Vec<(Stack, u64)>, Vec<usize>) {
        let mut seen: Vec<_> = self.seen.into_iter().enumerate().collect();
        seen.sort_by_key(|(_, (_, seen))| seen.first);
        // Different texts may say the same.
        let mut stacks: IndexMap<Stack, u64, RandomState> = IndexMap::default();
        let mut indexes = vec![0; seen.len()];
        for (index, (thing, seen)) in seen {
            let entry = stacks.entry(read(thing));
            indexes[index] = entry.index();
            let total = entry.or_default();
            *total = total.saturating_add(seen.count);
        }
        let mut order = self.order.unwrap_or_default();
        order.sort_unstable();
        (stacks.into_iter().collect(), order.into_iter().map(|(_, index)| indexes[index]).collect())
    }
}

impl Fold<Numbers> {
    /// The different stacks with their count, in the order of their first appearance.
    pub(crate) fn into_stacks(self, words: &Texts<String>, frames: &Texts<Arc<Frame>>) -> Vec<(Stack, u64)> {
        let read = |stack: Numbers| Stack {
            task: words.get(stack.task).clone(),
            event: words.get(stack.event).clone(),
            function: None,
            frames: stack.frames.iter().map(|&frame| frames.get(frame).clone()).collect(),
        };
        self.finish(read).0
    }
}

/// Equal things once, with their number, in the order of their first appearance.
pub fn count<T: Eq + Hash>(things: impl IntoIterator<Item = (T, u64)>) -> Vec<(T, u64)> {
    let mut counted: IndexMap<T, u64, RandomState> = IndexMap::default();
    for (thing, number) in things {
        let total = counted.entry(thing).or_default();
        *total = total.saturating_add(number);
    }
    counted.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stack(task: &str) -> Stack {
        Stack { task: task.into(), event: "e".into(), function: None, frames: Vec::new() }
    }

    #[test]
    fn equal_things_are_counted_in_the_order_of_their_first_appearance() {
        let things = ["b", "a", "b", "c", "a", "b"].map(|thing| (thing, 1));
        assert_eq!(count(things), [("b", 3), ("a", 2), ("c", 1)]);
    }

    #[test]
    fn stacks_that_end_out_of_order_keep_the_order_of_their_beginnings() {
        let mut fold = Fold::in_order();
        for (task, number) in [("b", 1), ("a", 0), ("c", 3), ("a", 2), ("b", 4)] {
            fold.add(&task, number);
        }
        let (stacks, order) = fold.finish(stack);
        assert_eq!(stacks, [("a", 2), ("b", 2), ("c", 1)].map(|(task, count)| (stack(task), count)));
        assert_eq!(order, [0, 1, 0, 2, 1]);
    }

    #[test]
    fn texts_that_say_the_same_are_one_stack() {
        let mut fold = Fold::in_order();
        for (text, number) in [("a\u{fffd}", 0), ("b", 1), ("a?", 2)] {
            fold.add(&text, number);
        }
        let (stacks, order) = fold.finish(|text| stack(&text[..1]));
        assert_eq!(stacks, [(stack("a"), 2), (stack("b"), 1)]);
        assert_eq!(order, [0, 1, 0]);
    }
}
