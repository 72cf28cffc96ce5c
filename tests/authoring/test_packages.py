"""Installed packages that a builder's code imports are part of what it makes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from authoring.test_fingerprint import builder
from authoring.toys import Text
from authoring.workshop import Workshop
from stagedml import stage
from stagedml.authoring.distributions import UnknownPolicy, versions_of
from stagedml.errors import UsageError
from stagedml.settings import read_settings

PIPELINE = builder(
    "str(helpers.used())",
    above="import alpha\nimport unused\nimport json\nimport helpers\nimport stagedml\n",
    lines="    import beta.deep\n    from spaced.inner import thing\n    import missing\n",
)
HELPERS = """
import gamma as g
import delta
try:
    from epsilon import fast
except ImportError:
    fast = None

def used():
    return [g.x, fast]

def idle():
    return delta.x
"""

#: Those that are imported at the top of a module, and so are loaded.
LOADED = ("alpha", "gamma", "delta", "unused")


def install(folder: Path, name: str, version: str, *files: str, requires: tuple[str, ...] = ()) -> None:
    """Install a distribution as pip does, as far as can be seen on disk."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n" if name in LOADED else "raise RuntimeError('imported')\n")
    (info / "RECORD").write_text("".join(f"{file},sha256=x,1\n" for file in files))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages. Importing those fails that functions import."""
    folder = tmp_path / "site"
    install(folder, "alpha", "1.2.3", "alpha.py")
    install(
        folder, "beta-dist", "2.0", "beta/__init__.py", "beta/deep.py", requires=("zeta>=1", "nothing; extra == 'x'")
    )
    install(folder, "gamma", "3", "gamma/__init__.py", requires=("eta[more]; python_version > '3'",))
    install(folder, "delta", "4.4", "delta.py")
    install(folder, "epsilon", "5.5.5rc1", "epsilon.cpython-311-x86_64-linux-gnu.so", "epsilon.py")
    (folder / "epsilon.cpython-311-x86_64-linux-gnu.so").unlink()
    (folder / "epsilon.py").write_text("fast = 1\n")
    install(folder, "spaced-inner", "6.1", "spaced/inner/__init__.py")
    install(folder, "spaced-outer", "7.1", "spaced/outer/__init__.py")
    install(folder, "unused", "8.8", "unused.py")
    install(folder, "zeta", "9.9.9", requires=("alpha",))
    install(folder, "eta", "10.1", requires=("theta; extra == 'more'", "iota; python_version < '3'", "kappa"))
    install(folder, "theta", "11.1")
    return folder


def packages(workshop: Workshop, folder: Path, site: Path, argument: str = "", environment: str = "") -> object:
    """The `stagedml.packages` of the config of a stage, whose packages are not imported."""
    (folder / "pipeline.py").write_text(PIPELINE.replace('name="model"', f'name="model"{argument}'))
    (folder / "helpers.py").write_text(HELPERS)
    prepare = (
        f"import json, os, site, sys\nos.environ.update({environment})\nsys.path.append({str(site)!r})\n"
        f"site.USER_SITE = {str(site)!r}\nimport pipeline\nfrom stagedml import *\nstore_initialize('store')\n"
        "found = instantiate(pipeline.train).result\n"
    )
    (found,) = workshop.experiment(
        folder, ("run", prepare), ("answer", "json.dumps(mklens(found).stagedml.val.get('packages'))")
    )
    return json.loads(found)


def test_packages_count_where_covered_code_imports_them(workshop: Workshop, tmp_path: Path, site: Path) -> None:
    assert packages(workshop, tmp_path, site) == {
        "beta-dist": "2.0",
        "epsilon": "5.5",
        "gamma": "3.0",
        "missing": "absent",
        "spaced-inner": "6.1",
    }


def test_locked_packages_count_with_all_that_they_require(workshop: Workshop, tmp_path: Path, site: Path) -> None:
    locked = {
        "alpha": "1.2.3",
        "beta-dist": "2.0",
        "epsilon": "5.5.5rc1",
        "eta": "10.1",
        "gamma": "3",
        "kappa": "absent",
        "missing": "absent",
        "spaced-inner": "6.1",
        "theta": "11.1",
        "zeta": "9.9.9",
    }
    assert packages(workshop, tmp_path, site, argument=', packages="lock"') == locked
    assert packages(workshop, tmp_path, site, environment="STAGEDML_PACKAGES='lock'") == locked


def test_packages_may_count_for_nothing(workshop: Workshop, tmp_path: Path, site: Path) -> None:
    assert packages(workshop, tmp_path, site, argument=', packages="none"') is None
    assert packages(workshop, tmp_path, site, environment="STAGEDML_PACKAGES='none'") is None


def test_what_is_installed_later_in_the_same_process_is_seen(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    assert versions_of({"latecomer"}, "direct") == {"latecomer": "absent"}
    install(site, "latecomer", "1.0", "latecomer.py")
    assert versions_of({"latecomer"}, "direct") == {"latecomer": "1.0"}


@pytest.mark.parametrize(("module", "name"), [("numpy", "numpy"), ("IPython", "ipython"), ("_pytest", "pytest")])
def test_real_packages_are_found_under_their_own_names(module: str, name: str) -> None:
    assert list(versions_of({module}, "direct")) == [name]


def test_a_policy_that_there_is_not_is_refused() -> None:
    with pytest.raises(UnknownPolicy, match="packages='some': there is no such policy; there are none, direct, lock"):
        stage(Text, name="text", packages="some")


def test_the_setting_is_checked() -> None:
    assert read_settings({}).packages == "direct"
    assert read_settings({"STAGEDML_PACKAGES": "LOCK"}).packages == "lock"
    with pytest.raises(UsageError, match="STAGEDML_PACKAGES='all': set it to one of direct, none, lock"):
        read_settings({"STAGEDML_PACKAGES": "all"})


def test_packages_of_another_environment_are_no_code_of_the_user(tmp_path: Path) -> None:
    from stagedml.authoring.sources import is_tracked

    place = tmp_path / "elsewhere" / "lib" / "python3.11" / "site-packages" / "thing" / "__init__.py"
    place.parent.mkdir(parents=True)
    place.write_text("")
    assert not is_tracked("thing", str(place))
    assert is_tracked("mine", str(tmp_path / "mine.py"))
