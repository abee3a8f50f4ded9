//! Aligns two stacks, so that missing frames show as gaps.

use kshot_stack::arch::Arch;
use kshot_stack::fidelity;

/// A row of two aligned stacks; at least one side is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AlignedRow<'a> {
    pub(super) left: Option<&'a str>,
    pub(super) right: Option<&'a str>,
}

/// Aligns two stacks of an architecture by their longest common subsequence of functions. Names that fidelity treats as
/// one function, such as the labels of a system-call entry, are aligned with each other.
pub(super) fn align<'a>(left: &'a [String], right: &'a [String], arch: &str) -> Vec<AlignedRow<'a>> {
    let arch = Arch::all().find(|known| known.row().name == arch);
    let function = |name: &'a String| arch.map_or(name.as_str(), |arch| fidelity::function(name, arch.row()));
    let functions = |side: &'a [String]| side.iter().map(function).collect::<Vec<_>>();
    let ops = similar::capture_diff_slices(similar::Algorithm::Lcs, &functions(left), &functions(right));
    let mut rows = Vec::new();
    for op in ops {
        let (left, right) = (&left[op.old_range()], &right[op.new_range()]);
        if op.tag() == similar::DiffTag::Equal {
            rows.extend(left.iter().zip(right).map(|(a, b)| row(Some(a), Some(b))));
        } else {
            rows.extend(left.iter().map(|a| row(Some(a), None)));
            rows.extend(right.iter().map(|b| row(None, Some(b))));
        }
    }
    rows
}

fn row<'a>(left: Option<&'a String>, right: Option<&'a String>) -> AlignedRow<'a> {
    AlignedRow { left: left.map(String::as_str), right: right.map(String::as_str) }
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
        let rows = align(&left, &right, "mips64");
        assert_eq!(
            rows,
            [
                AlignedRow { left: Some("ftrace_graph_call"), right: None },
                AlignedRow { left: None, right: Some("register_netdevice") },
                AlignedRow { left: None, right: Some("ioctl") }
            ]
        );
    }

    #[test]
    fn two_names_of_one_function_stand_in_one_row() {
        let (left, right) =
            (names("tun_chr_ioctl sys_ioctl syscall_common"), names("__se_sys_ioctl handle_sys"));
        let rows = align(&left, &right, "mips64");
        assert_eq!(
            rows,
            [
                AlignedRow { left: Some("tun_chr_ioctl"), right: None },
                AlignedRow { left: Some("sys_ioctl"), right: Some("__se_sys_ioctl") },
                AlignedRow { left: Some("syscall_common"), right: Some("handle_sys") }
            ]
        );
        assert_eq!(align(&left, &right, "unheard-of").len(), 5);
    }

    #[test]
    fn common_frames_stand_in_one_row() {
        let (left, right) = (names("a c d"), names("a b c d"));
        let rows = align(&left, &right, "mips64");
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[1], AlignedRow { left: None, right: Some("b") });
        assert_eq!(rows[3], AlignedRow { left: Some("d"), right: Some("d") });
    }
}
