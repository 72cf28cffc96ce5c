"""StagedML: datasets, preprocessors and models as typed, content-addressed stages over Pylightnix.

The public names are imported when they are first used, so `import stagedml` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stagedml.authoring.artifact import Artifact as Artifact
    from stagedml.authoring.build import Build as Build
    from stagedml.authoring.instantiate import Instantiated as Instantiated
    from stagedml.authoring.instantiate import instantiate as instantiate
    from stagedml.authoring.lens import Lens as Lens
    from stagedml.authoring.lens import mklens as mklens
    from stagedml.authoring.lens import rref2dref as rref2dref
    from stagedml.authoring.lens import rref2path as rref2path
    from stagedml.authoring.matchers import best as best
    from stagedml.authoring.matchers import every as every
    from stagedml.authoring.matchers import exactly as exactly
    from stagedml.authoring.matchers import latest as latest
    from stagedml.authoring.nodes import mknode as mknode
    from stagedml.authoring.pylightnix import Closure as Closure
    from stagedml.authoring.pylightnix import Derivation as Derivation
    from stagedml.authoring.pylightnix import DRef as DRef
    from stagedml.authoring.pylightnix import RefPath as RefPath
    from stagedml.authoring.pylightnix import RRef as RRef
    from stagedml.authoring.realized import realized as realized
    from stagedml.authoring.redefine import pinned as pinned
    from stagedml.authoring.redefine import redefine as redefine
    from stagedml.authoring.resources import Resources as Resources
    from stagedml.authoring.schema import Interval as Interval
    from stagedml.authoring.session import current_store as current_store
    from stagedml.authoring.session import store_initialize as store_initialize
    from stagedml.authoring.session import using_store as using_store
    from stagedml.authoring.stage import Exec as Exec
    from stagedml.authoring.stage import Stage as Stage
    from stagedml.authoring.stage import output as output
    from stagedml.authoring.stage import stage as stage
    from stagedml.engine.blessing import bless as bless
    from stagedml.engine.blessing import borrow as borrow
    from stagedml.engine.check import check as check
    from stagedml.engine.keep import gc as gc
    from stagedml.engine.keep import linkrref as linkrref
    from stagedml.engine.keep import linkrrefs as linkrrefs
    from stagedml.engine.keep import rmref as rmref
    from stagedml.engine.keep import why_alive as why_alive
    from stagedml.engine.realize import lrealize as lrealize
    from stagedml.engine.realize import plan as plan
    from stagedml.engine.realize import realize as realize
    from stagedml.engine.realize import realize_many as realize_many
    from stagedml.engine.realize import tryrealize as tryrealize
    from stagedml.engine.recursive import realize_recursive as realize_recursive
    from stagedml.engine.repl import ReplHelper as ReplHelper
    from stagedml.engine.repl import repl_build as repl_build
    from stagedml.engine.repl import repl_cancel as repl_cancel
    from stagedml.engine.repl import repl_cancelBuild as repl_cancelBuild
    from stagedml.engine.repl import repl_continue as repl_continue
    from stagedml.engine.repl import repl_continueAll as repl_continueAll
    from stagedml.engine.repl import repl_continueBuild as repl_continueBuild
    from stagedml.engine.repl import repl_continueMany as repl_continueMany
    from stagedml.engine.repl import repl_realize as repl_realize
    from stagedml.engine.repl import repl_result as repl_result
    from stagedml.engine.repl import repl_rref as repl_rref
    from stagedml.engine.repl import repl_rrefs as repl_rrefs
    from stagedml.errors import BuildError as BuildError
    from stagedml.errors import RemoteError as RemoteError
    from stagedml.errors import StagedmlError as StagedmlError
    from stagedml.errors import StoreError as StoreError
    from stagedml.errors import UsageError as UsageError
    from stagedml.inspection.browse import catref as catref
    from stagedml.inspection.browse import diff as diff
    from stagedml.inspection.browse import du as du
    from stagedml.inspection.browse import find as find
    from stagedml.inspection.browse import lsref as lsref
    from stagedml.inspection.browse import shell as shell
    from stagedml.inspection.curves import curves as curves
    from stagedml.inspection.graph import depgraph as depgraph
    from stagedml.inspection.plots import plot_compare as plot_compare
    from stagedml.inspection.plots import plot_curves as plot_curves
    from stagedml.inspection.tensorboard import TensorBoard as TensorBoard
    from stagedml.inspection.tensorboard import runtb as runtb
    from stagedml.inspection.why import why as why
    from stagedml.stages.fetch import fetchfolder as fetchfolder
    from stagedml.stages.fetch import fetchlocal as fetchlocal
    from stagedml.stages.fetch import fetchpypi as fetchpypi
    from stagedml.stages.fetch import fetchurl as fetchurl
    from stagedml.store.gc import Policy as Policy
    from stagedml.store.objects import Store as Store
    from stagedml.types import File as File
    from stagedml.types import Folder as Folder

__version__ = "0.1.0"

_WHERE = {
    "stagedml.authoring.artifact": ("Artifact",),
    "stagedml.authoring.build": ("Build",),
    "stagedml.authoring.instantiate": ("Instantiated", "instantiate"),
    "stagedml.authoring.lens": ("Lens", "mklens", "rref2dref", "rref2path"),
    "stagedml.authoring.matchers": ("best", "every", "exactly", "latest"),
    "stagedml.authoring.nodes": ("mknode",),
    "stagedml.authoring.pylightnix": ("Closure", "DRef", "Derivation", "RRef", "RefPath"),
    "stagedml.authoring.realized": ("realized",),
    "stagedml.authoring.redefine": ("pinned", "redefine"),
    "stagedml.authoring.resources": ("Resources",),
    "stagedml.authoring.schema": ("Interval",),
    "stagedml.authoring.session": ("current_store", "store_initialize", "using_store"),
    "stagedml.authoring.stage": ("Exec", "Stage", "output", "stage"),
    "stagedml.engine.blessing": ("bless", "borrow"),
    "stagedml.engine.check": ("check",),
    "stagedml.engine.keep": ("gc", "linkrref", "linkrrefs", "rmref", "why_alive"),
    "stagedml.engine.realize": ("lrealize", "plan", "realize", "realize_many", "tryrealize"),
    "stagedml.engine.recursive": ("realize_recursive",),
    "stagedml.engine.repl": (
        "ReplHelper",
        "repl_build",
        "repl_cancel",
        "repl_cancelBuild",
        "repl_continue",
        "repl_continueAll",
        "repl_continueBuild",
        "repl_continueMany",
        "repl_realize",
        "repl_result",
        "repl_rref",
        "repl_rrefs",
    ),
    "stagedml.errors": ("BuildError", "RemoteError", "StagedmlError", "StoreError", "UsageError"),
    "stagedml.inspection.browse": ("catref", "diff", "du", "find", "lsref", "shell"),
    "stagedml.inspection.curves": ("curves",),
    "stagedml.inspection.graph": ("depgraph",),
    "stagedml.inspection.plots": ("plot_compare", "plot_curves"),
    "stagedml.inspection.tensorboard": ("TensorBoard", "runtb"),
    "stagedml.inspection.why": ("why",),
    "stagedml.stages.fetch": ("fetchfolder", "fetchlocal", "fetchpypi", "fetchurl"),
    "stagedml.store.gc": ("Policy",),
    "stagedml.store.objects": ("Store",),
    "stagedml.types": ("File", "Folder"),
}
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = sorted(_MODULE_OF)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'stagedml' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext stagedml`: how references, stages and plans are shown, `%realize`, `%plan`, `%why`, and completion."""
    from stagedml.notebook import extension

    extension.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """`%unload_ext stagedml`."""
    from stagedml.notebook import extension

    extension.unload(shell)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
