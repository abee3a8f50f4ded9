//! Flame graphs: stacks laid out as boxes, outermost at the top, each as wide as its share. Pure.

use kshot_stack::document::StackResult;
use kshot_stack::stack::DEEPEST_STACK;

/// The boxes of a flame graph. Lengths are in thousandths of its width; rows count from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FlameGraph {
    pub(super) boxes: Vec<FlameBox>,
    pub(super) rows: usize,
}

/// A box of a flame graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FlameBox {
    pub(super) name: String,
    pub(super) left: u64,
    pub(super) width: u64,
    pub(super) row: usize,
    /// The number of stacks that pass through the box, before and now. Equal in a graph of one run.
    pub(super) before: u64,
    pub(super) now: u64,
}

#[derive(Default)]
struct FlameNode {
    name: String,
    before: u64,
    now: u64,
    inner: Vec<FlameNode>,
}

/// The flame graph of one run's stacks.
pub(super) fn graph(stacks: &[StackResult]) -> FlameGraph {
    difference(stacks, stacks)
}

/// The flame graph of two runs. A box is as wide as in the run that has more of it, so that lost boxes keep
/// their place.
pub(super) fn difference(before: &[StackResult], now: &[StackResult]) -> FlameGraph {
    let mut root = FlameNode::default();
    for stack in before {
        root.add(stack.frames.iter().rev().take(DEEPEST_STACK), &|node| node.before += stack.count);
    }
    for stack in now {
        root.add(stack.frames.iter().rev().take(DEEPEST_STACK), &|node| node.now += stack.count);
    }
    let mut flame = FlameGraph::default();
    let width = root.inner.iter().map(FlameNode::weight).sum::<u64>().max(1);
    lay_out(&root.inner, 0, 1000, width, 0, &mut flame);
    flame
}

impl FlameNode {
    fn add<'a>(&mut self, mut frames: impl Iterator<Item = &'a String>, mark: &impl Fn(&mut Self)) {
        let Some(name) = frames.next() else { return };
        let at = self.inner.iter().position(|node| node.name == *name).unwrap_or_else(|| {
            self.inner.push(Self { name: name.clone(), ..Self::default() });
            self.inner.len() - 1
        });
        mark(&mut self.inner[at]);
        self.inner[at].add(frames, mark);
    }

    fn weight(&self) -> u64 {
        let inner: u64 = self.inner.iter().map(Self::weight).sum();
        self.before.max(self.now).max(inner)
    }
}

/// Lays nodes beside each other into `width` from `left`, of which `total` is the whole.
fn lay_out(nodes: &[FlameNode], left: u64, width: u64, total: u64, row: usize, flame: &mut FlameGraph) {
    // The counts may be a stranger's: their product with a width need not fit.
    let share = |sum: u64| {
        let part = u128::from(width) * u128::from(sum) / u128::from(total);
        left + u64::try_from(part).unwrap_or(width)
    };
    let mut sum = 0;
    for node in nodes {
        let (from, weight) = (share(sum), node.weight());
        sum += weight;
        let to = share(sum);
        let FlameNode { name, before, now, inner } = node;
        let (before, now) = (*before, *now);
        flame.boxes.push(FlameBox { name: name.clone(), left: from, width: to - from, row, before, now });
        flame.rows = flame.rows.max(row + 1);
        lay_out(inner, from, to - from, weight.max(1), row + 1, flame);
    }
}

impl FlameBox {
    /// The CSS class for the change of the box's count.
    pub(super) fn change(&self) -> &'static str {
        match (self.before, self.now) {
            (0, _) => "gained",
            (_, 0) => "lost",
            (before, now) if before == now => "same",
            (before, now) if before < now => "more",
            _ => "fewer",
        }
    }

    /// The box's text: `tun_chr_ioctl: 5 stacks`, `tun_chr_ioctl: lost, 5 stacks before`.
    pub(super) fn words(&self) -> String {
        let stacks = |number| kshot_stack::text::count_noun(number, "stack");
        let Self { name, before, now, .. } = self;
        match (*before, *now) {
            (0, now) => format!("{name}: new, {}", stacks(now)),
            (before, 0) => format!("{name}: lost, {} before", stacks(before)),
            (before, now) if before == now => format!("{name}: {}", stacks(now)),
            (before, now) => format!("{name}: {} before, {now} now", stacks(before)),
        }
    }

    /// The number of the box's colour, 0 to 7, derived from its name.
    pub(super) fn hue(&self) -> u32 {
        self.name.bytes().fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into())) % 8
    }

    /// The part of the name that fits, at 8 thousandths a character.
    pub(super) fn label(&self) -> String {
        let room = usize::try_from(self.width / 8).unwrap_or(0);
        match self.name.chars().count() {
            length if length <= room => self.name.clone(),
            _ if room < 4 => String::new(),
            _ => self.name.chars().take(room - 1).chain(['…']).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::samples;
    use kshot_stack::stack::State;

    fn stack(count: u64, frames: &str) -> StackResult {
        let frames: Vec<&str> = frames.split_whitespace().collect();
        StackResult { count, ..samples::stack(&frames, State::Complete) }
    }

    fn shape(flame: &FlameGraph) -> Vec<(&str, u64, u64, usize)> {
        flame.boxes.iter().map(|one| (one.name.as_str(), one.left, one.width, one.row)).collect()
    }

    #[test]
    fn common_callers_are_one_box_as_wide_as_their_callees() {
        let flame = graph(&[stack(3, "a ioctl entry"), stack(1, "b ioctl entry")]);
        assert_eq!(
            shape(&flame),
            [("entry", 0, 1000, 0), ("ioctl", 0, 1000, 1), ("a", 0, 750, 2), ("b", 750, 250, 2)]
        );
        assert_eq!(flame.rows, 3);
    }

    #[test]
    fn what_was_lost_keeps_its_place_and_is_told_in_words() {
        let flame = difference(&[stack(5, "f ioctl entry")], &[stack(5, "trampoline")]);
        let words: Vec<String> = flame.boxes.iter().map(FlameBox::words).collect();
        assert_eq!(
            words,
            [
                "entry: lost, 5 stacks before",
                "ioctl: lost, 5 stacks before",
                "f: lost, 5 stacks before",
                "trampoline: new, 5 stacks"
            ]
        );
        assert_eq!(flame.boxes[0].width, 500);
    }

    #[test]
    fn a_name_that_does_not_fit_is_cut_and_a_narrow_box_has_none() {
        let flame = graph(&[stack(1, "register_netdevice"), stack(99, "x")]);
        assert_eq!(flame.boxes[0].label(), "");
        let flame = graph(&[stack(9, "register_netdevice"), stack(91, "x")]);
        assert_eq!(flame.boxes[0].label(), "register_n…");
    }

    proptest! {
        #[test]
        fn boxes_of_a_row_never_overlap(
            before in proptest::collection::vec((1..9_u64, "[a-c]( [a-c]){0,5}"), 0..8),
            now in proptest::collection::vec((1..9_u64, "[a-c]( [a-c]){0,5}"), 0..8),
        ) {
            let stacks = |all: &[(u64, String)]| all.iter().map(|(n, f)| stack(*n, f)).collect::<Vec<_>>();
            let flame = difference(&stacks(&before), &stacks(&now));
            for row in 0..flame.rows {
                let mut boxes: Vec<_> = flame.boxes.iter().filter(|one| one.row == row).collect();
                boxes.sort_by_key(|one| (one.left, one.width));
                for pair in boxes.windows(2) {
                    prop_assert!(pair[0].left + pair[0].width <= pair[1].left, "{pair:?}");
                }
            }
            prop_assert!(flame.boxes.iter().all(|one| one.left + one.width <= 1000));
        }
    }
}
