"""Stages written for Pylightnix alone, as its users write them, and what the tests here share."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pylightnix
from pylightnix import (
    Build,
    DRef,
    Registry,
    StorageSettings,
    build_outpath,
    build_outpaths,
    build_wrapper,
    fsinit,
    mkconfig,
    mkdrv,
    mklens,
    mkSS,
    selfref,
)

import stagedml
from stagedml.settings import read_settings
from stagedml.store.objects import Store

plx: Any = pylightnix  # some of its functions are typed, some are not
instantiate: Any = stagedml.instantiate  # it gives these stages their `r`, which types do not say

#: How often each builder here ran, by name.
RUNS: dict[str, int] = {}


def plain_storage(root: Path) -> StorageSettings:
    """A storage as Pylightnix makes it, with nothing of ours."""
    storage = mkSS(str(root))
    fsinit(storage)
    return storage


def our_store(root: Path) -> Store:
    return Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=root))


def ran(name: str) -> None:
    RUNS[name] = RUNS.get(name, 0) + 1


def words(r: Registry, text: str = "one two") -> DRef:
    """A file of words. The order of its config is nobody's but its own."""

    def build(b: Build) -> None:
        ran("words")
        Path(mklens(b).out.syspath).write_text(mklens(b).text.val)

    config = {
        "text": text,
        "name": "words",
        "zeta": 1.5,
        "alpha": {"y": [1, None], "x": True},
        "out": [selfref, "w.txt"],
    }
    return mkdrv(mkconfig(config), plx.match_only(), build_wrapper(build), r)


def forking(r: Registry) -> DRef:
    """A file with the name of the process that wrote last; a process that it forks comes back from the builder."""

    def build(b: Build) -> None:
        child = os.fork()
        if child:
            os.waitpid(child, 0)
        Path(mklens(b).text.syspath).write_text("parent" if child else "child")

    config = {"name": "forking", "text": [selfref, "text"]}
    return mkdrv(mkconfig(config), plx.match_only(), build_wrapper(build), r)


def doubled(r: Registry, source: Callable[[Registry], DRef] = words, field: str = "out") -> DRef:
    """The words of another stage, twice."""

    def build(b: Build) -> None:
        ran("doubled")
        text = mklens(b).source.get(field).contents
        Path(mklens(b).out.syspath).write_text(text * 2)

    config = {"source": source(r), "out": [selfref, "doubled.txt"], "name": "doubled"}
    return mkdrv(mkconfig(config), plx.match_only(), build_wrapper(build), r)


def pair(r: Registry, matcher: Any = plx.match_all) -> DRef:
    """One build with two outputs."""

    def build(b: Build) -> None:
        ran("pair")
        for index, folder in enumerate(build_outpaths(b)):
            Path(folder, "metrics.json").write_text(json.dumps({"accuracy": index / 2}))

    config = {"name": "pair", "out": [selfref, "metrics.json"]}
    return mkdrv(mkconfig(config), matcher, build_wrapper(build, nouts=2), r)


def whole(r: Registry) -> DRef:
    """Its output is the realization itself; another one lies deeper in the config."""

    def build(b: Build) -> None:
        ran("whole")
        Path(build_outpath(b), "a").write_text("a")
        Path(build_outpath(b), "deep").write_text("deep")

    config = {"name": "whole", "all": [selfref], "deeper": {"out": [selfref, "deep"]}}
    return mkdrv(mkconfig(config), plx.match_only(), build_wrapper(build), r)
