"""A wheel from the package index that pip is configured for, as a file of a promised sum.

Rules: mirrors are asked first; then `python -m pip download` runs in a process of its own, without dependencies and
without building anything, under the user's own pip configuration and environment: no index is named here. pip is told
the promised sum, so that of several wheels of one version it takes the promised one. Nothing is installed or imported.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import logging
import queue
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from stagedml.errors import UsageError
from stagedml.remotes.checksum import Checksum
from stagedml.remotes.download import Search, hosts_among
from stagedml.remotes.mirrors import Mirror, Wanted
from stagedml.remotes.progress import Progress
from stagedml.remotes.transfer import DEFAULT_PATIENCE, Patience, unreachable_reason

_LOGGER = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION: Final = re.compile(r"[0-9][A-Za-z0-9.!+_-]*")

# What pip says with -vv, in every version since 20: the only news of where it is trying to connect to.
_CONNECTING: Final = re.compile(r"Starting new HTTPS? connection \(\d+\): (?P<host>\[[^\]]*\]|[^:\s]+):(?P<port>\d+)")
_WRONG_SUM: Final = re.compile(r"\bGot\s+(?P<digits>[0-9a-f]{64})\b")
_PROGRESS: Final = re.compile(r"Progress (?P<done>\d+) of (?P<total>\d+)")
_TELLING: Final = ("ERROR: ", "Could not fetch URL ")
_FIRST_PIP_WITH_RAW_PROGRESS: Final = (24, 1)

# One wait for pip's connection, one for ours; what is left of the time is for pip to start in.
_SHARE_OF_A_WAIT: Final = 0.4
_RETRIES: Final = 2  # pip pauses 0.25 s, 0.5 s, ...: an index that refuses connections is given up within a second


class RequirementNotUsable(UsageError):
    """A package's name or version is not one exact name or version."""

    def __init__(self, what: str, text: str) -> None:
        super().__init__(what, text)
        self.what, self.text = what, text

    def __str__(self) -> str:
        return f"{self.text!r} is not one exact {self.what} of a package; as in name='toolz', version='1.0.0'"


def fetch_wheel(
    name: str,
    version: str,
    destination: Path,
    *,
    sha256: str,
    mirrors: Sequence[Mirror] = (),
    offline: bool = False,
    progress: Progress | None = None,
    patience: Patience = DEFAULT_PATIENCE,
) -> Path:
    """Fetch the wheel NAME==VERSION, mirrors first, into `destination`.

    A folder mirror may hold it under any wheel file name of that package and version, or under its sum; a URL mirror
    under the usual name of a pure Python wheel, or under its sum. A wheel is a zip archive: see `unpack`.

    Args:
        name: of the package, in any spelling.
        version: the exact version.
        destination: the file to write, in an existing folder; an existing file that is not the promised one is
        replaced.
        sha256: of the wheel.
        mirrors, offline, progress, patience: as in `download`.

    Returns:
        The destination.

    Raises:
        RequirementNotUsable: the name or the version is not an exact one.
        ChecksumNotUsable: the sum is not a sha256.
        WrongChecksum: the index has other bytes under that name and version.
        FetchFailed: no source could be read; within five seconds if there is no network.
    """
    if not _NAME.fullmatch(name):
        raise RequirementNotUsable("name", name)
    if not _VERSION.fullmatch(version):
        raise RequirementNotUsable("version", version)
    checksum = Checksum.given(sha256=sha256)
    usual_name = f"{re.sub(r'[-_.]+', '_', name).lower()}-{version}-py3-none-any.whl"
    wanted = Wanted((usual_name, checksum.digits), _wheels_of(name, version))
    hosts = hosts_among(mirrors) + 1
    search = Search(destination, checksum, f"{name}=={version}", offline, progress, patience.shared_among(hosts))
    if search.is_settled() or search.in_mirrors(mirrors, wanted) or _through_pip(search):
        return destination
    raise search.failed(f"the wheel {search.label}", wanted)


def _wheels_of(name: str, version: str) -> re.Pattern[str]:
    """The file names that wheels of a package and version have, in all spellings that package tools have written."""
    spelt_name = r"[-_.]+".join(map(re.escape, re.split(r"[-_.]+", name)))
    spelt_version = r"[-_.+]".join(map(re.escape, re.split(r"[-_.+]", version)))
    return re.compile(rf"{spelt_name}-{spelt_version}-(?:\d[^-]*-)?[^-]+-[^-]+-[^-]+\.whl", re.IGNORECASE)


def _through_pip(search: Search) -> bool:
    """Let pip download the wheel; whether the destination now holds it."""
    if search.offline:
        search.fail("pip", "not tried: offline")
        return False
    if importlib.util.find_spec("pip") is None:
        search.fail("pip", f"this Python has none: run `{sys.executable} -m ensurepip`, or use an environment with pip")
        return False
    if search.progress is not None:
        search.progress(search.label, 0, None, "bytes", "through pip")
    with tempfile.TemporaryDirectory(prefix="pip-", dir=search.destination.parent) as scratch:
        requirements, downloads = Path(scratch, "requirements.txt"), Path(scratch, "wheels")
        requirements.write_text(f"{search.label} --hash=sha256:{search.checksum.digits}\n", encoding="utf-8")
        run = _run_pip(_pip_command(requirements, downloads), search)
        wheels = sorted(downloads.glob("*.whl"))
        if run.status == 0 and len(wheels) == 1:
            return search.accept(wheels[0], "pip", "removed")
    search.fail("pip", run.reason(), run.found)
    return False


def _pip_command(requirements: Path, downloads: Path) -> list[str]:
    progress_bar = "raw" if _pip_version() >= _FIRST_PIP_WITH_RAW_PROGRESS else "off"
    command = [sys.executable, "-m", "pip", "download", "-vv", "--no-input", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", f"--retries={_RETRIES}", f"--progress-bar={progress_bar}"]
    return [*command, "--dest", str(downloads), "--requirement", str(requirements)]


@dataclass
class _PipRun:
    """What became of a run of pip: its exit status, and what it said that tells why."""

    status: int | None = None
    found: Checksum | None = None
    unreachable: str | None = None
    telling: list[str] = field(default_factory=list)

    def reason(self) -> str:
        """Why there is no wheel, in a few lines at most."""
        if self.unreachable is not None:
            return self.unreachable
        if self.found is not None:
            return f"found {self.found} instead (removed)"
        return "; ".join(dict.fromkeys(self.telling)) or f"ended with status {self.status}, without a wheel"


def _run_pip(command: list[str], search: Search) -> _PipRun:
    """Run pip to its end, or until it waits in vain for a host that this process cannot reach either.

    pip's own time-out must be long, since it also ends a slow download. So whether there is a network is found out
    here, of the host that pip said it connects to, once pip waited for an answer in vain.
    """
    run = _PipRun()
    grace_s = search.patience.connect_s * _SHARE_OF_A_WAIT
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    with process:
        try:
            waiting_for: tuple[str, int] | None = None
            for line in _lines_of(process, grace_s):
                if line is not None:
                    waiting_for = _note_line(run, line, search)
                elif waiting_for is not None:
                    run.unreachable = unreachable_reason(*waiting_for, grace_s)
                    waiting_for = None
                if run.unreachable is not None:
                    process.kill()
        except BaseException:
            process.kill()  # on an interrupt, too: a pip that nobody waits for must not go on
            raise
    run.status = process.returncode
    return run


def _lines_of(process: subprocess.Popen[str], silence_s: float) -> Iterator[str | None]:
    """The lines that a process writes, to the end of its output; None for each spell of silence."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    stream = process.stdout
    assert stream is not None

    def read() -> None:
        try:
            for line in stream:
                lines.put(line)
        finally:
            lines.put(None)

    reader = threading.Thread(target=read, name="pip-output", daemon=True)
    reader.start()
    while True:
        try:
            line = lines.get(timeout=silence_s)
        except queue.Empty:
            yield None
            continue
        if line is None:
            return
        yield line


def _note_line(run: _PipRun, line: str, search: Search) -> tuple[str, int] | None:
    """Take from a line of pip's what matters; the host and port that it now waits for, if it says so."""
    text = line.strip()
    _LOGGER.debug("pip: %s", text)
    if wrong := _WRONG_SUM.search(text):
        run.found = Checksum.given(sha256=wrong["digits"])
    if (at := _PROGRESS.fullmatch(text)) and search.progress is not None:
        search.progress(search.label, int(at["done"]), int(at["total"]), "bytes", "through pip")
    if text.startswith(_TELLING):
        run.telling.append(text)
    connecting = _CONNECTING.search(text)
    return (connecting["host"].strip("[]"), int(connecting["port"])) if connecting else None


def _pip_version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in re.findall(r"\d+", importlib.metadata.version("pip"))[:2])
    except importlib.metadata.PackageNotFoundError:
        return (0,)
