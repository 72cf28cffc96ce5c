"""Keys of adoption: what is another thing to a builder has another key, and one derivation has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stagedml import Artifact, Build, RefPath, instantiate, mklens, output, realize, rref2path, stage
from stagedml.core.adoption import key_of, template_of
from stagedml.core.refs import parse_rref
from stagedml.settings import read_settings
from stagedml.store.archive import copy
from stagedml.store.objects import Store
from stagedml.testing import toys


class Told(Artifact):
    """A text."""

    text: RefPath


@stage(Told, name="told")
def told(
    build: Build, *, data: toys.Text, other: toys.Text | dict[str, int] | str, text: RefPath = output("text.txt")
) -> None:
    build.path(text).write_text(f"{build.path(data.text).read_text()} {type(other).__name__}")


def test_a_value_that_looks_like_a_number_of_an_input_is_none(store: Store) -> None:
    def with_input() -> Told:
        data = toys.text()
        return told(data=data, other=data)

    assert mklens(realize(instantiate(with_input))).text.contents == "hello Text"
    for value in ({"input": 0}, {"dref": 0}, "0", "input:0"):
        rref = realize(instantiate(lambda value=value: told(data=toys.text(), other=value)))  # type: ignore[misc]
        assert mklens(rref).text.contents == f"hello {type(value).__name__}"


class Many(Artifact):
    """A text of several."""

    text: RefPath


@stage(Many, name="many")
def many(build: Build, *, inputs: dict[str, toys.Text], text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text("".join(build.path(inputs[name].text).read_text() for name in sorted(inputs)))


def test_the_order_in_which_a_dict_was_written_is_in_no_key(store: Store) -> None:
    def together(*names: str) -> Many:
        return many(inputs={name: toys.text(content=name) for name in names})

    keys = set()
    for names in (("a", "b"), ("b", "a")):
        target = instantiate(together, *names)
        realizer: Any = target.closure.derivations[-1].realizer
        keys.add(key_of(template_of(realizer.view(store)), lambda dref: ("0",)))
    assert len(keys) == 1


@stage(Told, name="named-after-its-input")
def named(build: Build, *, data: toys.Text, note: str = "", text: RefPath = output("text.txt")) -> None:
    build.path(text).write_text("done")
    (build.outpath / build.path(data.text).parts[-3]).write_text("")


def test_a_file_that_is_named_after_an_input_is_not_adopted(store: Store) -> None:
    for content in ("hello", "HELLO"):  # the same bytes in capitals
        rref = realize(instantiate(lambda content=content: named(data=toys.upper(source=toys.text(content=content)))))  # type: ignore[misc]
        (data,) = store.inputs_of(parse_rref(rref), None).values()
        assert (Path(rref2path(rref)) / data[0][38:]).exists() or (
            Path(rref2path(rref)) / f"{parse_rref(data[0]).folder}"
        ).exists()


def test_what_was_copied_into_a_store_can_be_adopted_there(store: Store, tmp_path: Path) -> None:
    from stagedml import using_store

    rref = realize(instantiate(toys.all_counted, "hello"))
    other = Store.open(read_settings({"STAGEDML_DURABLE": "0"}, root=tmp_path / "other"))
    for _ in range(2):  # the second time everything is there
        copy(store, other, [parse_rref(rref)])
    with using_store(other):
        realize(instantiate(toys.text, content="HELLO"))  # capitals of it are the same
        second = realize(instantiate(toys.all_counted, "HELLO"))
    known = other.metadata(parse_rref(second))
    assert known is not None
    assert known.builds[-1].adopted == rref


@stage(Told, name="spelling-widely")
def spelling_widely(build: Build, *, data: toys.Text, encoding: str, text: RefPath = output("text.bin")) -> None:
    build.path(text).write_bytes(str(build.path(data.text)).encode(encoding))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_path_in_a_wide_encoding_is_found(store: Store, encoding: str) -> None:
    for content in ("hello", "HELLO"):  # the same bytes in capitals
        rref = realize(
            instantiate(
                lambda content=content: spelling_widely(  # type: ignore[misc]
                    data=toys.upper(source=toys.text(content=content)), encoding=encoding
                )
            )
        )
        (data,) = store.inputs_of(parse_rref(rref), None).values()
        assert rref2path(data[0]) in mklens(rref).text.syspath.read_bytes().decode(encoding)
