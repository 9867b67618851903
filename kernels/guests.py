# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The machines that are emulated: kernels of Debian, which stand for those of OpenWrt."""

import dataclasses

@dataclasses.dataclass(frozen=True)
class Guest:
    """A kernel, and the machine it runs on."""

    name: str
    target: str          # as cross/build calls it
    package: str         # an architecture of scripts/feed
    architecture: str    # as Debian calls it
    suite: str
    kernel: str          # package of Debian
    qemu: tuple
    console: str
    stands_for: str
    hook: str
    rss_bound: int       # kB


_MALTA = ("qemu-system-mipsel", "-M", "malta", "-cpu", "34Kf", "-m", "256")
_VIRT = ("qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-m", "256")
_PC = ("qemu-system-x86_64", "-M", "q35", "-cpu", "max", "-m", "256")

GUESTS = (
    Guest("mipsel-6.1", "mipsel", "mipsel_24kc", "mipsel", "bookworm", "linux-image-4kc-malta",
          _MALTA, "ttyS0", "mipsel routers: no BTF, clsact", "clsact", 6000),
    Guest("aarch64-6.1", "aarch64", "aarch64_cortex-a53", "arm64", "bookworm",
          "linux-image-arm64", _VIRT, "ttyAMA0", "aarch64 routers, clsact", "clsact", 8000),
    Guest("aarch64-6.12", "aarch64", "aarch64_cortex-a53", "arm64", "bookworm-backports",
          "linux-image-arm64", _VIRT, "ttyAMA0", "OpenWrt 25.12, TCX", "tcx", 8000),
    Guest("aarch64-5.10", "aarch64", "aarch64_cortex-a53", "arm64", "bullseye",
          "linux-image-arm64", _VIRT, "ttyAMA0", "OpenWrt 22.03, clsact", "clsact", 8000),
    Guest("x86_64-5.10", "x86_64", "x86_64", "amd64", "bullseye", "linux-image-amd64", _PC,
          "ttyS0", "OpenWrt 22.03, clsact", "clsact", 8000),
)
