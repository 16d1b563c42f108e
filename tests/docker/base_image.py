"""An image to build ours from where no registry can be reached: this machine's Python and a few programs.

Python's dependencies come with it as wheels, fetched by the pip of this machine with this machine's settings, so that
building the application needs neither a network nor certificates. The image stays, under a tag that tells its contents.
"""

from __future__ import annotations

import hashlib
import io
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.docker.engine import PROJECT, image_exists, run

_LOCKS: Final = tuple(PROJECT / "deploy" / name for name in ("requirements.lock", "requirements-build.lock"))
WHEELS: Final = "/usr/share/wheels"
_VERSION: Final = f"python{sys.version_info.major}.{sys.version_info.minor}"
_TOOLS: Final = {"sh": "bin/sh", "sleep": "bin/sleep", "ip": "sbin/ip", "nft": "usr/sbin/nft"}
"""Programs of this machine, and where the image has them."""
_LEFT_OUT: Final = frozenset({"site-packages", "dist-packages", "test", "tests", "idlelib", "tkinter", "turtledemo"})
"""Folders of the standard library that nobody misses; `config-…`, the static library, as well."""
_FILES: Final = {
    "etc/passwd": "root:x:0:0:root:/:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}
_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_SETTINGS: Final = (
    "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    f"ENV PIP_NO_INDEX=1 PIP_FIND_LINKS={WHEELS}",
)


def ensure_base_image() -> str:
    """Return the tag of the base image, made first if there is none of its contents."""
    tag = f"visavis-base:{_fingerprint()}"
    if not image_exists(tag):
        with tempfile.TemporaryDirectory() as folder:
            wheels, archive = Path(folder, "wheels"), Path(folder, "base.tar")
            wanted = [option for lock in _LOCKS for option in ("-r", str(lock))]
            run(
                sys.executable,
                "-m",
                "pip",
                "download",
                "--quiet",
                "--only-binary=:all:",
                "--dest",
                str(wheels),
                *wanted,
            )
            with tarfile.open(archive, "w") as tar:
                _fill(tar, wheels)
            changes = [f"--change={setting}" for setting in _SETTINGS]
            run("docker", "import", *changes, str(archive), tag)
    return tag


def _fingerprint() -> str:
    parts = (Path(__file__).read_text(), sys.version, platform.machine(), *(lock.read_text() for lock in _LOCKS))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _fill(tar: tarfile.TarFile, wheels: Path) -> None:
    """Write the file system of the image."""
    tools = {_find(name): place for name, place in _TOOLS.items()}
    for tool, place in tools.items():
        tar.add(tool.resolve(), place)
    interpreter, library = Path(sys.executable).resolve(), Path(sysconfig.get_path("stdlib"))
    tar.add(interpreter, f"usr/local/bin/{_VERSION}")
    for alias in ("python3", "python"):
        tar.addfile(_member(f"usr/local/bin/{alias}", kind=tarfile.SYMTYPE, target=_VERSION))
    tar.add(library, f"usr/local/lib/{_VERSION}", filter=_wanted)
    # Debian's Python takes the pip of new virtual environments from here, others from their library
    if bundled := sysconfig.get_config_var("WHEEL_PKG_DIR"):
        tar.add(bundled, bundled.lstrip("/"))
        # and from Debian 13 on that pip does not even start without the system's certificates
        if _CERTIFICATES.exists():
            tar.add(_CERTIFICATES.resolve(), str(_CERTIFICATES).lstrip("/"))
    with _unpacked_extensions(wheels) as extensions:
        for path in _shared_libraries([*tools, interpreter, *library.glob("lib-dynload/*.so"), *extensions]):
            tar.add(path.resolve(), _library_place(path))
    tar.add(wheels, WHEELS.lstrip("/"))
    tar.addfile(_member("tmp", kind=tarfile.DIRTYPE, mode=0o1777))
    for name, content in _FILES.items():
        tar.addfile(_member(name, size=len(content)), io.BytesIO(content.encode()))


def _find(tool: str) -> Path:
    path = shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if path is None:
        raise FileNotFoundError(f"{tool} is not installed: the base image needs it")
    return Path(path)


def _member(
    name: str, *, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, target: str = "", size: int = 0
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.linkname, member.size = kind, mode, target, size
    return member


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(member.name).name
    if name in _LEFT_OUT or name.startswith("config-"):
        return None
    # whoever owns them here, everybody may read them there
    member.mode |= 0o755 if member.isdir() else 0o444
    return member


@contextmanager
def _unpacked_extensions(wheels: Path) -> Iterator[list[Path]]:
    """Give the extension modules of wheels as files: they, too, are linked with libraries."""
    with tempfile.TemporaryDirectory() as folder:
        for wheel in wheels.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder, [name for name in archive.namelist() if name.endswith(".so")])
        yield list(Path(folder).rglob("*.so"))


def _shared_libraries(programs: Iterable[Path]) -> Iterator[Path]:
    """Yield each library that `programs` are linked with, once, and the dynamic loader."""
    result = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False)
    found = re.findall(r"^\t(?:\S+ => )?(/\S+) \(0x", result.stdout, re.MULTILINE)
    return (Path(path) for path in sorted(set(found)))


def _library_place(path: Path) -> str:
    """Return where the image has a library: its own path where the loader looks by itself, else /usr/lib."""
    standard = path.parts[1] in ("lib", "lib64") or path.parts[1:3] in (("usr", "lib"), ("usr", "lib64"))
    return str(path).lstrip("/") if standard else f"usr/lib/{path.name}"
