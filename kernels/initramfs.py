# SPDX-License-Identifier: Apache-2.0 OR MIT
"""The first file system of a guest, as the archive that kernels unpack (cpio, "newc")."""

import gzip
import io
import pathlib
import stat
import tarfile

CONSOLE = (5, 1)  # major and minor number of /dev/console
FOLDERS = ("bin", "dev", "etc", "proc", "sys", "tmp", "root", "run", "lib", "usr", "usr/bin",
           "usr/sbin")


class Initramfs:
    """Files by their path, without the leading slash."""

    def __init__(self):
        self._entries = {}
        for folder in FOLDERS:
            self._folder(folder)
        self._entries["dev/console"] = (stat.S_IFCHR | 0o600, b"", CONSOLE)

    def file(self, path, content, mode=0o755):
        """Adds a file with its folders; replaces what was there."""
        parent = str(pathlib.PurePosixPath(path).parent)
        if parent != ".":
            self._folder(parent)
        self._entries[path] = (stat.S_IFREG | mode, content, (0, 0))

    def folder(self, source, path):
        """Adds the files of a folder of this machine."""
        for file in sorted(source.rglob("*")):
            if file.is_file():
                self.file(f"{path}/{file.relative_to(source)}".lstrip("/"), file.read_bytes())

    def package(self, ipk):
        """Adds what a package of opkg installs (a gzip'd tar with data.tar.gz in it)."""
        with tarfile.open(ipk) as outer:
            data = outer.extractfile("./data.tar.gz").read()
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                if member.isfile():
                    path = member.name.removeprefix("./")
                    self.file(path, archive.extractfile(member).read(), member.mode)

    def _folder(self, path):
        parts = pathlib.PurePosixPath(path).parts
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[:count])
            self._entries.setdefault(name, (stat.S_IFDIR | 0o755, b"", (0, 0)))

    def archive(self):
        """The bytes, of folders before what is in them. gzip'd fast: the guest has to undo it."""
        out = bytearray()
        for number, (path, entry) in enumerate(sorted(self._entries.items()), 1):
            out += _member(number, path, *entry)
        return gzip.compress(out + _member(0, "TRAILER!!!", 0, b"", (0, 0)), 1, mtime=0)


def _member(number, path, mode, content, device):
    name = path.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, device of the file system, own device, name, sum
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return _padded(head) + _padded(content)


def _padded(data):
    return data + bytes(-len(data) % 4)
