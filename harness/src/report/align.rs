//! Two stacks beside each other, so that what one of them lacks shows as a gap.

/// A row of two aligned stacks; at least one side is there.
pub(super) type Row<'a> = (Option<&'a str>, Option<&'a str>);

/// Aligns two stacks by their longest common subsequence of names, in order.
pub(super) fn align<'a>(left: &'a [String], right: &'a [String]) -> Vec<Row<'a>> {
    let ops = similar::capture_diff_slices(similar::Algorithm::Lcs, left, right);
    let mut rows = Vec::new();
    for op in ops {
        let (left, right) = (&left[op.old_range()], &right[op.new_range()]);
        if op.tag() == similar::DiffTag::Equal {
            rows.extend(left.iter().zip(right).map(|(a, b)| (Some(a.as_str()), Some(b.as_str()))));
        } else {
            rows.extend(left.iter().map(|a| (Some(a.as_str()), None)));
            rows.extend(right.iter().map(|b| (None, Some(b.as_str()))));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    #[test]
    fn what_one_side_lacks_shows_as_a_gap_on_that_side() {
        let (left, right) = (names("ftrace_graph_call"), names("register_netdevice ioctl"));
        let rows = align(&left, &right);
        assert_eq!(
            rows,
            [(Some("ftrace_graph_call"), None), (None, Some("register_netdevice")), (None, Some("ioctl"))]
        );
    }

    #[test]
    fn common_frames_stand_in_one_row() {
        let (left, right) = (names("a c d"), names("a b c d"));
        let rows = align(&left, &right);
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[1], (None, Some("b")));
        assert_eq!(rows[3], (Some("d"), Some("d")));
    }
}
