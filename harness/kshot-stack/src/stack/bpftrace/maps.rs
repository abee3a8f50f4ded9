//! Where the key of a map begins and ends, as bpftrace and ply print it.
//!
//! ```text
//! @ns[sshd,
//!     tun_chr_ioctl+0x31
//! ]: 3
//! @ns:
//! {
//! \tio_schedule+12
//! }: 3
//! ```

use crate::stack::lines::split_at;

/// The name of a map whose key has a line end in it, and what stands behind the bracket: `@ns[sshd, `.
pub(super) fn begun_map(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, behind) = split_at(line, b"[").filter(|_| line.starts_with(b"@"))?;
    let begins = behind.is_empty() || behind.trim_ascii_end().ends_with(b",");
    (is_name(name) && begins).then_some((name, behind))
}

/// The name of a map of ply's, whose keys follow it: `@ns:`.
pub(super) fn named_map(line: &[u8]) -> Option<&[u8]> {
    line.strip_suffix(b":").filter(|name| name.starts_with(b"@") && is_name(name))
}

fn is_name(name: &[u8]) -> bool {
    name[1..].iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// What stands in front of the end of a key, and the value behind it: `, sshd]: 3`, `}: 3`.
pub(super) fn end_of_key(text: &[u8]) -> Option<(&[u8], &[u8])> {
    split_at(text, b"]:").or_else(|| text.strip_prefix(b"}:").map(|value| (&b""[..], value)))
}
