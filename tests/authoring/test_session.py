"""The default store of a process, the store of the moment, settings, and how little an import costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import stagedml
from authoring.toys import all_count, make_text
from stagedml import Store, current_store, instantiate, realize, rref2path, store_initialize, using_store
from stagedml.authoring import session
from stagedml.errors import StoreError, UsageError
from stagedml.settings import read_settings


@pytest.fixture(autouse=True)
def _no_default_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_default", None)


def initialized(root: Path | None = None) -> Store:
    """The default store, made."""
    store_initialize(root)
    return current_store()


def test_the_argument_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYLIGHTNIX_ROOT", str(tmp_path / "not here"))
    store = initialized(tmp_path / "root")
    assert store.layout.storage == tmp_path / "root" / "store-v0"
    assert current_store() is store
    assert rref2path(realize(instantiate(make_text))).startswith(str(tmp_path / "root" / "store-v0"))
    assert not (tmp_path / "not here").exists()


def test_the_environment_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGEDML_ROOT", str(tmp_path / "ours"))
    assert initialized().layout.root == tmp_path / "ours"
    monkeypatch.setenv("PYLIGHTNIX_ROOT", str(tmp_path / "root"))
    assert initialized().layout.root == tmp_path / "root"
    monkeypatch.setenv("PYLIGHTNIX_STORAGE", str(tmp_path / "elsewhere" / "storage"))
    monkeypatch.setenv("PYLIGHTNIX_TMP", str(tmp_path / "elsewhere" / "tmp"))
    layout = initialized().layout
    assert (layout.storage, layout.tmp) == (tmp_path / "elsewhere" / "storage", tmp_path / "elsewhere" / "tmp")


def test_the_default_lies_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert initialized().layout.storage == tmp_path / "_pylightnix" / "store-v0"
    assert [path.name for path in tmp_path.iterdir()] == ["_pylightnix"]


def test_without_a_session_the_store_of_the_environment_is_used_but_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYLIGHTNIX_ROOT", str(tmp_path / "root"))
    with pytest.raises(StoreError, match="store_initialize"):
        instantiate(make_text)
    assert not (tmp_path / "root").exists()
    Store.open(read_settings())
    assert instantiate(make_text).result.word == "Hello"


def test_all_threads_see_the_default_store(tmp_path: Path) -> None:
    store = initialized(tmp_path)
    seen: list[Store] = []
    thread = threading.Thread(target=lambda: seen.append(current_store()))
    thread.start()
    thread.join()
    assert seen == [store]


def test_threads_declare_without_getting_in_each_others_way(tmp_path: Path) -> None:
    store_initialize(tmp_path)
    results: dict[str, str] = {}
    errors: list[BaseException] = []

    def declare(word: str) -> None:
        try:
            for _ in range(10):
                results[word] = instantiate(all_count, word).result.source.word
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=declare, args=(word,)) for word in ("a", "b", "c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert results == {word: word for word in "abcd"}


def test_another_store_for_a_block_of_code(tmp_path: Path) -> None:
    default = initialized(tmp_path / "default")
    other = Store.open(read_settings({}, root=tmp_path / "other"))
    seen: list[Store] = []
    with using_store(other) as opened:
        assert opened is other
        assert current_store() is other
        thread = threading.Thread(target=lambda: seen.append(current_store()))
        thread.start()
        thread.join()
        with using_store(default):
            assert current_store() is default
        closure = instantiate(make_text).closure
    assert current_store() is default
    assert seen == [default]
    assert rref2path(realize((closure.result, closure)), closure.S).startswith(str(tmp_path / "other"))
    assert list(default.layout.storage.iterdir()) == []


def test_a_store_that_cannot_be_made_is_an_error_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match=str(tmp_path / "file")):
        store_initialize(tmp_path / "file")
    assert session._default is None


def test_a_tilde_is_the_home_folder(tmp_path: Path) -> None:
    settings = read_settings({"HOME": "/nowhere", "STAGEDML_EXPERIMENTS": "~/experiments"}, root="~/store")
    assert settings.root == Path("~/store").expanduser()
    assert settings.storage == Path("~/store/store-v0").expanduser()


def test_settings_come_from_arguments_before_the_environment_before_defaults() -> None:
    environment = {
        **{"HOME": "/home/me", "PYLIGHTNIX_ROOT": "/r", "STAGEDML_ROOT": "/s", "PYLIGHTNIX_STORAGE": "/r/x"},
        **{"STAGEDML_MIRRORS": "/m", "STAGEDML_OFFLINE": "yes", "STAGEDML_DURABLE": "0"},
    }
    settings = read_settings(environment)
    assert (settings.root, settings.storage, settings.tmp) == (Path("/r"), Path("/r/x"), Path("/r/tmp"))
    assert (settings.experiments, settings.mirrors) == (Path("/r/roots"), "/m")
    assert (settings.offline, settings.durable) == (True, False)
    given = read_settings(environment, root="/g")
    assert (given.root, given.storage, given.mirrors) == (Path("/g"), Path("/g/store-v0"), "/m")
    assert read_settings(environment, storage="/t").storage == Path("/t")
    bare = read_settings({"HOME": "/home/me"})
    assert bare.root == Path("/home/me/_pylightnix")
    assert (bare.offline, bare.durable, bare.mirrors) == (False, True, "")
    assert read_settings({}).root == Path("/var/run/_pylightnix")


def test_a_switch_that_is_neither_on_nor_off_is_refused() -> None:
    with pytest.raises(UsageError, match="STAGEDML_OFFLINE='maybe' is neither yes nor no: set it to 1 or 0"):
        read_settings({"STAGEDML_OFFLINE": "maybe"})


# -- imports ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def loaded(repository: Path) -> dict[str, list[str]]:
    """What is loaded after each statement, in one interpreter."""
    code = """
import json, sys
before, loaded = set(sys.modules), {}
for statement in sys.argv[1:]:
    exec(statement)
    loaded[statement] = sorted({name.partition(".")[0] for name in set(sys.modules) - before})
print(json.dumps(loaded))
"""
    statements = ["import stagedml", "stagedml.UsageError", "stagedml.stage"]
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *statements],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(repository / "src")},
    )
    assert run.stderr == ""
    found: dict[str, list[str]] = json.loads(run.stdout)
    return found


HEAVY = {"tensorflow", "numpy", "pylightnix", "blake3", "IPython", "rich", "tokenizers", "official", "asyncio"}


def test_importing_the_package_loads_nothing_but_itself(loaded: dict[str, list[str]]) -> None:
    assert "stagedml" in loaded["import stagedml"]
    assert not HEAVY & {*loaded["import stagedml"], *loaded["stagedml.UsageError"]}


def test_declaring_loads_no_framework(loaded: dict[str, list[str]]) -> None:
    assert "pylightnix" in loaded["stagedml.stage"]
    assert not {"tensorflow", "IPython", "rich", "tokenizers", "official"} & {*loaded["stagedml.stage"]}


def test_every_public_name_is_there_and_an_unknown_one_is_an_attribute_error() -> None:
    for name in stagedml.__all__:
        assert getattr(stagedml, name) is not None
        assert name in dir(stagedml)
    assert not hasattr(stagedml, "no_such_name")
