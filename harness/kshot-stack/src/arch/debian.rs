//! What the architectures share whose kernels and programs are Debian's: drivers for virtio are modules, and
//! the busybox and dropbear of the guest come out of packages.

use super::{KernelOption, Nic};

/// The architecture whose index of packages is read for packages of `Architecture: all`, which every index
/// lists.
pub const INDEX_OF_ALL: &str = "amd64";

/// The network card. Without the empty `romfile` QEMU wants an iPXE ROM, which is a Debian package of its
/// own.
pub(super) const NIC: Nic = Nic::Device("virtio-net-pci,romfile=");
/// The random number generator.
pub(super) const RNG: &str = "virtio-rng-pci";
/// The suite of the guest's busybox and dropbear.
pub(super) const USERLAND_SUITE: Option<&str> = Some("bookworm");
/// How the name of the kernel's file in a Debian package begins, where that is not an ELF file.
pub(super) const IMAGE_PREFIX: &str = "vmlinuz";
/// 16 ns an instruction, as the emulated CPUs take about as long.
pub(super) const ICOUNT_SHIFT: u8 = 4;
/// The option for the network card.
pub(super) const NIC_OPTION: KernelOption = KernelOption {
    name: "VIRTIO_NET",
    with: &["NETDEVICES", "VIRTIO"],
    because: "it drives the board's network card",
    is_for_nic: true,
};
/// The option for boards whose cards are on a PCI bus.
pub(super) const PCI_OPTION: KernelOption = KernelOption {
    name: "VIRTIO_PCI",
    with: &["PCI", "VIRTIO_MENU"],
    because: "its cards are on a PCI bus",
    is_for_nic: true,
};

/// The option for the board's console.
pub(super) const fn console(name: &'static str, with: &'static [&'static str]) -> KernelOption {
    KernelOption::of_board(name, with, "it drives the board's console")
}
