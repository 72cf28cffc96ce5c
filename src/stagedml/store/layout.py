"""Where everything of a store lies.

The storage is a Pylightnix storage and holds nothing that Pylightnix does not know:

    <storage>/<dhash>-<name>/config.json
    <storage>/<dhash>-<name>/<rhash>/context.json and the artifacts

What is ours lies beside it, in `<storage>.stagedml/`:

    version                                  the version of this layout
    metadata/<dhash>-<name>/<rhash>.json     what is known of a realization besides its bytes
    metadata/<dhash>-<name>/code.json        the code behind a derivation: a hard link to the next
    code/<fingerprint>.json                  each code once
    locks/<key>.lock                         one builder at a time, one publisher of a derivation's realizations
    store.gate, store.lock                   many that change something, or one that collects
    adoptable/<key>-<instance>               the realization that was built under a key of adoption
    blessed/<dhash>-<name>.json              which derivation a person declared this one to be equal to
    pins/<dhash>-<name>                      the realization that a pinned derivation keeps
    experiments/<hash>                       links to the folders in which links into this store are looked for
    live/<process>                           what a running process builds with or has realized
    scratch/<key>/                           where a builder works; what it wrote is renamed into the storage
    scratch/config-*, staging-*              what is being declared
    scratch/linking-*/                       equal files that are being linked
    scratch/import-*/                        what comes from elsewhere, until all of it is checked
    runs/<time>-<id>.jsonl                   what happened in a run
    checkpoints/<key>/<slot>/                what a build that ended badly can go on from
    downloads/<dhash>-<name>/                unfinished downloads, for the next attempt
    quarantine/                              what was found damaged
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stagedml.core.refs import DerivationRef, RealizationRef
from stagedml.settings import Settings

LAYOUT_VERSION = 1

CONFIG_FILE = "config.json"
CONTEXT_FILE = "context.json"
CODE_FILE = "code.json"
BUILD_START_FILE = "__buildstart__.txt"
BUILD_STOP_FILE = "__buildstop__.txt"
LOG_FOLDER = "__log__"
BUILD_LOG = "build.log"  # in the log folder: what a builder in a process of its own printed

#: How folders in `scratch` begin that are used for moments only, while something is declared.
DECLARING_CONFIG = "config-"
DECLARING_STAGES = "staging-"
#: How the folders in `scratch` begin in which equal files are linked; and what in them is a symbolic link that "leads"
#: to the reference of the realization whose folders are writable just now.
LINKING = "linking-"
LINKING_NOTE = "realization"

UNHASHED = frozenset({BUILD_START_FILE, BUILD_STOP_FILE, LOG_FOLDER})
#: Top-level names that a builder must not write: Pylightnix gives them a meaning.
RESERVED_NAMES = frozenset({CONTEXT_FILE, "group.json"})


@dataclass(frozen=True)
class Layout:
    """The paths of one store."""

    root: Path
    storage: Path
    tmp: Path
    experiments: Path  #: the user's links into the store

    @classmethod
    def of(cls, settings: Settings) -> Layout:
        return cls(settings.root, settings.storage, settings.tmp, settings.experiments)

    @property
    def side(self) -> Path:
        return self.storage.with_name(self.storage.name + ".stagedml")

    @property
    def version_file(self) -> Path:
        return self.side / "version"

    @property
    def scratch(self) -> Path:
        return self.side / "scratch"

    @property
    def locks(self) -> Path:
        return self.side / "locks"

    @property
    def live(self) -> Path:
        return self.side / "live"

    @property
    def pins(self) -> Path:
        return self.side / "pins"

    @property
    def default_experiments(self) -> Path:
        return self.root / "roots"

    @property
    def known_experiments(self) -> Path:
        return self.side / "experiments"

    def experiments_mark(self, folder: Path) -> Path:
        """What remembers that links into this store are in a folder."""
        if folder == self.default_experiments:
            return self.known_experiments / "default"
        import hashlib

        return self.known_experiments / hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]

    @property
    def quarantine(self) -> Path:
        return self.side / "quarantine"

    @property
    def metadata(self) -> Path:
        return self.side / "metadata"

    @property
    def all_downloads(self) -> Path:
        return self.side / "downloads"

    @property
    def runs(self) -> Path:
        return self.side / "runs"

    @property
    def all_checkpoints(self) -> Path:
        return self.side / "checkpoints"

    def downloads(self, ref: DerivationRef) -> Path:
        """Where a fetch keeps its unfinished download."""
        return self.all_downloads / ref.folder

    def derivation(self, ref: DerivationRef) -> Path:
        return self.storage / ref.folder

    def config(self, ref: DerivationRef) -> Path:
        return self.storage / ref.folder / CONFIG_FILE

    def realization(self, ref: RealizationRef) -> Path:
        return self.storage / ref.folder / ref.rhash

    def context(self, ref: RealizationRef) -> Path:
        return self.storage / ref.folder / ref.rhash / CONTEXT_FILE

    @property
    def adoptable(self) -> Path:
        return self.side / "adoptable"

    @property
    def all_blessings(self) -> Path:
        return self.side / "blessed"

    def blessing(self, ref: DerivationRef) -> Path:
        return self.all_blessings / f"{ref.folder}.json"

    @property
    def all_code(self) -> Path:
        return self.side / "code"

    def code_of(self, ref: DerivationRef) -> Path:
        return self.metadata / ref.folder / CODE_FILE

    def metadata_of(self, ref: RealizationRef) -> Path:
        return self.metadata / ref.folder / f"{ref.rhash}.json"
