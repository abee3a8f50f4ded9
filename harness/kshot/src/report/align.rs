//! Aligns two stacks, so that missing frames show as gaps.

use kshot_stack::arch::Arch;
use kshot_stack::fidelity;

/// A row of two aligned stacks; at least one side is present.
pub(super) type AlignedRow<'a> = (Option<&'a str>, Option<&'a str>);

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
        let rows = align(&left, &right, "mips64");
        assert_eq!(
            rows,
            [(Some("ftrace_graph_call"), None), (None, Some("register_netdevice")), (None, Some("ioctl"))]
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
                (Some("tun_chr_ioctl"), None),
                (Some("sys_ioctl"), Some("__se_sys_ioctl")),
                (Some("syscall_common"), Some("handle_sys"))
            ]
        );
        assert_eq!(align(&left, &right, "unheard-of").len(), 5);
    }

    #[test]
    fn common_frames_stand_in_one_row() {
        let (left, right) = (names("a c d"), names("a b c d"));
        let rows = align(&left, &right, "mips64");
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[1], (None, Some("b")));
        assert_eq!(rows[3], (Some("d"), Some("d")));
    }
}
