//! Two stacks frame beside frame.

/// Pairs the frames of two stacks of `lefts` and `rights` frames that are the same, in order, as many as
/// there can be: the longest common subsequence. For each frame on the left the one on the right.
pub(super) fn align(
    mut lefts: usize,
    mut rights: usize,
    same: impl Fn(usize, usize) -> bool,
) -> Vec<Option<usize>> {
    let mut pairs = vec![None; lefts];
    // Frames that are the same at both ends need no search, and most are.
    while lefts > 0 && rights > 0 && same(lefts - 1, rights - 1) {
        (lefts, rights) = (lefts - 1, rights - 1);
        pairs[lefts] = Some(rights);
    }
    let mut first = 0;
    while first < lefts.min(rights) && same(first, first) {
        pairs[first] = Some(first);
        first += 1;
    }
    // `best` of two frames is how many pairs there can be from them on.
    let width = rights - first + 1;
    let cell = |left: usize, right: usize| (left - first) * width + right - first;
    let mut best = vec![0_u32; (lefts - first + 1) * width];
    for left in (first..lefts).rev() {
        for right in (first..rights).rev() {
            best[cell(left, right)] = if same(left, right) {
                best[cell(left + 1, right + 1)] + 1
            } else {
                best[cell(left + 1, right)].max(best[cell(left, right + 1)])
            };
        }
    }
    let (mut left, mut right) = (first, first);
    while left < lefts && right < rights {
        if same(left, right) {
            pairs[left] = Some(right);
            (left, right) = (left + 1, right + 1);
        } else if best[cell(left + 1, right)] >= best[cell(left, right + 1)] {
            left += 1;
        } else {
            right += 1;
        }
    }
    pairs
}
