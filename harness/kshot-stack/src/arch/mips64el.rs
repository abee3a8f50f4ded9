//! MIPS64, little-endian: Debian's mips64el.

use super::{ArchRow, debian, mips64};

/// The row: that of the other byte order, but for the programs.
pub(super) const ROW: ArchRow = ArchRow {
    name: "mips64el",
    qemu: "qemu-system-mips64el",
    kvm: None,
    big_endian: false,
    config: &["MIPS", "64BIT", "CPU_LITTLE_ENDIAN"],
    triplet: "mips64el-linux-gnuabi64",
    debian: Some("mips64el"),
    userland_suite: debian::USERLAND_SUITE,
    cross_packages: &["gcc-mips64el-linux-gnuabi64", "libc6-dev-mips64el-cross"],
    ..mips64::ROW
};
