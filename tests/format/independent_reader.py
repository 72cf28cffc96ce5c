"""Reads a whole store by `docs/reference/store-format.md` alone and recomputes every hash in it.

A second implementation of the format, kept apart on purpose: it imports nothing of stagedml or Pylightnix, and where it
and the store disagree, the page decides. Run it on a storage:

    python tests/format/independent_reader.py ~/_pylightnix/store-v0
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from blake3 import blake3

HASH = re.compile(r"[0-9a-f]{32}")
DERIVATION_FOLDER = re.compile(r"([0-9a-f]{32})-([A-Za-z0-9_-]+)")
DREF = re.compile(r"dref:[0-9a-f]{32}-[A-Za-z0-9_-]+")
RREF = re.compile(r"rref:[0-9a-f]{32}-[0-9a-f]{32}-[A-Za-z0-9_-]+")
ADOPTABLE = re.compile(r"[0-9a-f]{32}-[0-9]+")
FIRST = {"instance", "seed", "started", "stopped", "host", "user", "arguments", "environment", "deterministic"}
LATER = {"key", "reads", "adopted", "published", "reasons", "since", "resources", "attempts"}  # fields of a build
UNHASHED = {"context.json", "__buildstart__.txt", "__buildstop__.txt", "__log__"}


class Entry(NamedTuple):
    """One line of a tree; `size` and `content` are 0 and "" where the kind has none."""

    kind: str
    path: str
    size: int
    content: str  # BLAKE3 of a file, target of a link


@dataclass
class Report:
    """What lies in a storage, and all that is wrong with it."""

    derivations: dict[str, Any] = field(default_factory=dict)  # reference -> config
    realizations: dict[str, str | None] = field(default_factory=dict)  # reference -> content digest, None: Pylightnix's
    findings: list[str] = field(default_factory=list)


def canonical(value: object) -> str:
    return json.dumps(value, indent=4, sort_keys=True)


def length(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little")


def tree(realization: Path) -> list[Entry]:
    """Entries of the tree hash, in order; raises ValueError for what a realization cannot hold."""
    return sorted(_walk(realization, ""), key=lambda entry: entry.path.encode())


def _walk(realization: Path, folder: str) -> Iterator[Entry]:
    for name in os.listdir(realization / folder):
        if not folder and name in UNHASHED:
            continue
        path = f"{folder}/{name}" if folder else name
        status = (realization / path).lstat()
        if stat.S_ISDIR(status.st_mode):
            yield Entry("d", path, 0, "")
            yield from _walk(realization, path)
        elif stat.S_ISLNK(status.st_mode):
            target = os.readlink(realization / path)
            leads_to = Path(os.path.realpath(realization / path))
            if target.startswith("/") or not leads_to.is_relative_to(realization.resolve()):
                raise ValueError(f"{path} is a link that leaves the realization: {target}")
            yield Entry("l", path, 0, target)
        elif stat.S_ISREG(status.st_mode):
            contents = (realization / path).read_bytes()
            yield Entry("x" if status.st_mode & 0o100 else "f", path, len(contents), blake3(contents).hexdigest())
        else:
            raise ValueError(f"{path} is neither file nor folder nor link")


def entry_bytes(entry: Entry) -> bytes:
    path, head = entry.path.encode(), entry.kind.encode()
    head += length(path) + path
    if entry.kind == "l":
        return head + length(entry.content.encode()) + entry.content.encode()
    return head if entry.kind == "d" else head + entry.size.to_bytes(8, "little") + bytes.fromhex(entry.content)


def content_digest(entries: list[Entry]) -> str:
    return blake3(b"stagedml tree 1\n" + b"".join(map(entry_bytes, entries))).hexdigest()


def realization_digest(content: str, context: bytes) -> str:
    return blake3(b"stagedml realization 1\n" + bytes.fromhex(content) + blake3(context).digest()).hexdigest()


def instance_seed(seed: int, instance: int) -> int:
    digest = blake3(f"stagedml seed 1\n{seed}\n{instance}\n".encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF


def adoption_text(view: object, contents: dict[str, list[str]]) -> str:
    """The text of which an adoption key is the hash; `contents` are the content digests by input."""
    met: list[str] = []

    def numbered(value: Any) -> Any:
        if isinstance(value, str) and DREF.fullmatch(value):
            if value not in met:
                met.append(value)
            return f"dref:{met.index(value)}"
        if isinstance(value, dict):
            return {name: numbered(value[name]) for name in sorted(value)}
        return [numbered(item) for item in value] if isinstance(value, list) else value

    seen = numbered(view)
    return json.dumps([seen, [sorted(contents[dref]) for dref in met]], sort_keys=True, separators=(",", ":"))


def adoption_key(view: object, contents: dict[str, list[str]]) -> str:
    return blake3(b"stagedml adoption 1\n" + adoption_text(view, contents).encode()).hexdigest()[:32]


def derivation_hash(config: bytes) -> str:
    return hashlib.sha256(config).hexdigest()[:32]


def inputs_of(value: object) -> set[str]:
    """The derivations that a config names, anywhere inside."""
    if isinstance(value, str):
        return {value} if DREF.fullmatch(value) else set()
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return set[str]().union(*map(inputs_of, inside))


def outputs_of(value: object) -> Iterator[str]:
    """The paths that a config promises, anywhere inside."""
    if isinstance(value, list) and value and value[0] == "__self__":
        yield str(PurePosixPath(*value[1:]))
    elif isinstance(value, (dict, list)):
        for inside in value.values() if isinstance(value, dict) else value:
            yield from outputs_of(inside)


def check(report: Report, where: str, holds: bool, finding: str) -> None:
    if not holds:
        report.findings.append(f"{where}: {finding}")


@contextlib.contextmanager
def finding_errors(report: Report, where: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        report.findings.append(f"{where}: {type(error).__name__}: {error}")


def read_derivation(report: Report, folder: Path) -> None:
    text = (folder / "config.json").read_bytes()
    config = report.derivations[f"dref:{folder.name}"] = json.loads(text)
    spelt = f"{derivation_hash(text)}-{config.get('name', 'unnamed')}"
    check(report, folder.name, spelt == folder.name, f"its config declares {spelt}")
    check(report, folder.name, "stagedml" not in config or text == canonical(config).encode(), "its config is unsorted")


def read_realization(report: Report, folder: Path, metadata: Path) -> None:
    dref = f"dref:{folder.parent.name}"
    rref = f"rref:{folder.name}-{folder.parent.name}"
    config, context = report.derivations[dref], (folder / "context.json").read_bytes()
    closure = json.loads(context)
    for other, references in closure.items():
        theirs = all(HASH.fullmatch(ref[5:37]) and ref == f"rref:{ref[5:37]}-{other[5:]}" for ref in references)
        check(report, rref, theirs and references == sorted(references), f"context of {other} is wrong or unsorted")
    check(report, rref, dref not in closure, "context holds the derivation itself")
    check(report, rref, inputs_of(config) <= set(closure), "context lacks an input")
    if not metadata.exists():
        report.realizations[rref] = None  # Pylightnix's, whose hashes are of another kind
        return
    entries, meta = tree(folder), json.loads(metadata.read_bytes())
    content = report.realizations[rref] = content_digest(entries)
    digest = realization_digest(content, context)
    check(report, rref, digest[:32] == folder.name, f"its bytes have the hash {digest[:32]}")
    check(report, rref, context == canonical(closure).encode(), "context.json is not in canonical form")
    expected = {"format": 1, "rref": rref, "digest": digest, "content": content, "files": [list(e) for e in entries]}
    expected["inputs"] = {other: closure.get(other) for other in inputs_of(config)}
    for key, value in expected.items():
        check(report, rref, meta[key] == value, f"metadata says {key} {meta[key]}, found {value}")
    check(report, rref, bool(meta["builds"]), "metadata names no build")
    for build in meta["builds"]:
        check(report, rref, FIRST <= set(build) <= FIRST | LATER, f"a build has the fields {sorted(build)}")
        check(report, rref, all(build[name] for name in LATER & set(build)), "a field of a build says nothing")
        check(report, rref, ("adopted" in build) == ("published" in build), "half of an adoption is recorded")
        if "adopted" in build and "key" not in build:
            continue  # a person answered for it, and its seed may be that of another config
        seed = instance_seed(config.get("seed", 0), build["instance"])
        check(report, rref, build["seed"] == seed, f"build of instance {build['instance']} had not the seed {seed}")
    present = {".", *(entry.path for entry in entries)}
    for output in outputs_of(config):
        found = output in present or any(path.startswith(f"{output}.") for path in present)
        check(report, rref, found, f"output {output} is missing")
    for path in [folder, *(folder / entry.path for entry in entries if entry.kind != "l")]:
        check(report, rref, not path.stat().st_mode & 0o222, f"{path} is writable")


def read_beside(report: Report, ours: Path) -> None:
    """What is ours beside metadata: code, what may be adopted, and what a person answered for."""
    for path in sorted((ours / "metadata").glob("*/code.json")):
        with finding_errors(report, path):
            code = json.loads(path.read_bytes())
            shared = ours / "code" / f"{code['digest'].replace(':', '-')}.json"
            check(report, str(path), set(code) == {"format", "digest", "units", "packages", "unfollowed"}, "its fields")
            check(report, str(path), code["format"] == 1, f"has the format {code['format']}")
            check(report, str(path), path.samefile(shared), f"is no hard link to {shared}")
            said = report.derivations.get(f"dref:{path.parent.name}", {}).get("stagedml", {}).get("code")
            check(report, str(path), said in (None, code["digest"]), f"is the code of {code['digest']}, not of {said}")
            for unit in code["units"]:
                check(report, str(path), set(unit) == {"name", "file", "line", "text", "digest"}, f"a unit is {unit}")
    for path in sorted((ours / "adoptable").glob("*")):
        check(report, str(path), bool(ADOPTABLE.fullmatch(path.name)), "is no key and instance")
        check(report, str(path), bool(RREF.fullmatch(os.readlink(path))), f"leads to {os.readlink(path)}")
    for path in sorted((ours / "blessed").glob("*.json")):
        with finding_errors(report, path):
            blessing = json.loads(path.read_bytes())
            check(report, str(path), set(blessing) == {"old", "new", "reason", "user", "when"}, "its fields")
            check(report, str(path), blessing["new"] == f"dref:{path.stem}", f"speaks of {blessing['new']}")
            check(report, str(path), bool(DREF.fullmatch(blessing["old"])), f"names {blessing['old']}")


def read_store(storage: Path) -> Report:
    """Everything in a storage, and all that is wrong with it."""
    report, ours = Report(), storage.with_name(storage.name + ".stagedml")
    if ours.exists():  # a storage that Pylightnix alone has used has none
        check(report, "version", (ours / "version").read_bytes() == b"1\n", "is not 1 and a newline")
    for folder in filter(Path.is_dir, sorted(storage.iterdir())):
        if DERIVATION_FOLDER.fullmatch(folder.name):
            with finding_errors(report, folder):
                read_derivation(report, folder)
    for dref, config in report.derivations.items():
        check(report, dref, inputs_of(config) <= set(report.derivations), "an input is not in the store")
    for dref in report.derivations:
        folder = storage / dref[len("dref:") :]
        for realization in sorted(f for f in folder.iterdir() if f.is_dir() and HASH.fullmatch(f.name)):
            with finding_errors(report, realization):
                read_realization(report, realization, ours / "metadata" / folder.name / f"{realization.name}.json")
    read_beside(report, ours)
    return report


def main() -> int:
    report = read_store(Path(sys.argv[1]))
    for rref, content in report.realizations.items():
        sys.stdout.write(f"{rref}  {content or 'of Pylightnix'}\n")
    for finding in report.findings:
        sys.stdout.write(f"!! {finding}\n")
    sys.stdout.write(f"{len(report.realizations)} realizations, {len(report.findings)} findings\n")
    return 1 if report.findings else 0


if __name__ == "__main__":
    sys.exit(main())
