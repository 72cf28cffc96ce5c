"""Looking around from Python: lists, texts, a search, and a shell in a folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

import stagedml
from stagedml import Store, UsageError, catref, du, find, instantiate, lsref, realize, realize_many, rref2path, shell
from stagedml.core.refs import parse_rref
from stagedml.inspection.browse import NoSuchFile, listing, place_of, run_in, text_of
from stagedml.store.objects import NotInStore
from stagedml.testing import toys

MISSING = "rref:" + "0" * 32 + "-" + "1" * 32 + "-gone"


def test_lsref_lists_a_realization_a_folder_of_it_and_the_realizations_of_a_derivation(store: Store) -> None:
    target = instantiate(toys.all_counted, "abba")
    rref = realize(target)
    assert lsref(rref) == sorted(os.listdir(rref2path(rref)))
    assert lsref(rref, "result") == ["counts.json"]
    assert lsref(str(target.result)) == [parse_rref(rref).rhash]


def test_catref_gives_the_text_of_a_file(store: Store) -> None:
    rref = realize(instantiate(toys.text, content="two\nlines ü"))
    assert catref(rref, "text.txt") == "two\nlines ü"


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("result/count.json", "there is no such file; there are: "),
        ("result", "there is no such file"),
        ("", "there is no such file"),
        ("../config.json", "without `..`"),
        ("/etc/passwd", "relative to the realization"),
        ("a\0b", "relative to the realization"),
        (b"text", "relative to the realization"),
        (5, "5 is no path"),
    ],
)
def test_catref_says_what_is_wrong_with_a_path(store: Store, path: Any, complaint: str) -> None:
    rref = realize(instantiate(toys.all_counted))
    with pytest.raises(UsageError, match=complaint):
        catref(rref, path)


def test_a_file_that_is_no_text_is_named_with_its_place(store: Store, tmp_path: Path) -> None:
    (tmp_path / "picture").write_bytes(b"\xff\xfe\0")
    rref = realize(instantiate(stagedml.fetchlocal, tmp_path / "picture"))
    name = next(name for name in lsref(rref) if name == "picture")
    with pytest.raises(NoSuchFile, match=f"holds no text; its bytes are in {rref2path(rref)}"):
        text_of(store, parse_rref(rref), name)


def test_a_link_that_leads_out_of_the_realization_is_not_followed(store: Store, tmp_path: Path) -> None:
    rref = realize(instantiate(toys.text))
    (tmp_path / "secret").write_text("secret")
    folder = Path(rref2path(rref))
    folder.chmod(0o755)
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(NoSuchFile, match="leads out of the realization"):
        catref(rref, "link")


def test_what_is_not_in_the_store_is_an_error_that_says_so(store: Store) -> None:
    for look in (lsref, du, lambda ref: catref(ref, "x"), lambda ref: lsref(f"dref:{ref[38:]}")):
        with pytest.raises(NotInStore):
            look(MISSING)
    with pytest.raises(NotInStore):
        place_of(store, parse_rref(MISSING), "text")


def test_find_looks_for_names_and_values_and_gives_the_newest_last(store: Store) -> None:
    one = realize(instantiate(toys.all_counted, "one"))
    two = realize(instantiate(toys.all_counted, "two"))
    text = realize(instantiate(toys.text, content="two"))
    assert find("count") == [one, two]
    assert find("c?u*") == [one, two]
    assert find("COUNT") == []
    assert find(content="two") == [text]
    assert find("count", scale=1) == [one, two]
    assert find("count", scale=True) == []
    assert find("count", scale=2) == find("counter", scale=2) == []
    realize(instantiate(toys.all_counted, "one"), force=True)
    assert find("count") == [two, one]
    assert len(find()) == 6
    assert type(find("count")[0]) is stagedml.RRef


def test_find_takes_a_stage_for_all_names_that_it_can_have(store: Store) -> None:
    rref = realize(instantiate(toys.node, label="A", inputs=[]))
    realize(instantiate(toys.text))
    assert find(toys.node) == [rref]
    assert find(toys.text, content="hello") == find("text")
    with pytest.raises(UsageError, match="give the name of a stage"):
        find(toys.all_counted)  # type: ignore[arg-type]


def test_find_says_what_a_misspelt_parameter_may_be(store: Store) -> None:
    assert find("count", scael=1.0) == []  # nothing is there that could tell
    realize(instantiate(toys.all_counted))
    with pytest.raises(UsageError, match=r"nothing of a stage 'count' .* a parameter 'scael'; did you mean scale"):
        find("count", scael=1.0)
    with pytest.raises(UsageError, match=r"has a parameter 'zzz'; there are: .*content, .*scale"):
        find(zzz=None)
    with pytest.raises(UsageError, match="has a parameter 'scael'"):
        find(toys.count, scael=1.0, scale=5.0)
    assert find(toys.count, scale=5.0) == []


def test_diff_du_and_why_take_what_the_command_line_takes(store: Store) -> None:
    first, second = (realize(instantiate(toys.text, content=text)) for text in "ab")
    number = realize(instantiate(toys.sample))
    found = stagedml.diff("text~1", parse_rref(second).rhash[:8])
    assert (found.old, found.new) == (first, second)
    assert {row.rref for row in du("te*", "sample@best").realizations} == {first, second, number}
    assert stagedml.why("text@latest").target == stagedml.why("text").target == second
    with pytest.raises(NotInStore, match="did you mean sample"):
        stagedml.why("sampel")


def test_find_finds_by_an_input_and_by_lists(store: Store) -> None:
    target = instantiate(toys.all_counted)
    rref = realize(target)
    assert find("count", source=target.result.source) == [rref]
    top = realize(instantiate(lambda: toys.node(label="top", inputs=[toys.node(label="leaf", inputs=[])])))
    assert find(inputs=[]) == [found for found in find("node-leaf") if found != top]


def test_a_damaged_config_hides_its_own_realizations_only(store: Store, tmp_path: Path) -> None:
    lost = realize(instantiate(toys.text, content="lost"))
    kept = realize(instantiate(toys.text, content="kept"))
    config = Path(rref2path(lost)).parent / "config.json"
    config.chmod(0o644)
    config.write_text("{")
    with stagedml.using_store(stagedml.Store(store.layout)):
        assert find("text", content="kept") == [kept]
        assert find("text", content="lost") == []


def test_du_is_a_table_of_sizes(store: Store) -> None:
    rref = realize(instantiate(toys.text, content="x" * 3000))
    realize_many(instantiate(toys.sample), instances=50)
    text = str(du())
    assert text.splitlines()[0].split() == ["NAME", "HASH", "SIZE", "ON", "DISK"]
    assert "51 realizations" in text
    assert "... and 11 smaller realizations" in text
    assert [row.rref for row in du(rref).realizations] == [rref]
    assert not du(rref).others


def test_a_shell_runs_in_the_folder_and_knows_its_reference(store: Store, tmp_path: Path) -> None:
    rref = realize(instantiate(toys.text))
    said = tmp_path / "said"
    command = ["sh", "-c", f'echo "$PWD $STAGEDML_RREF" > {said}; exit 3']
    code = run_in(store.path(parse_rref(rref)), {"STAGEDML_RREF": rref}, command)
    assert code == 3
    assert said.read_text().split() == [rref2path(rref), rref]
    assert "STAGEDML_RREF" not in os.environ


def test_a_shell_that_cannot_be_started_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELL", "/no/such/shell")
    rref = realize(instantiate(toys.text))
    with pytest.raises(UsageError, match="/no/such/shell cannot be started: No such file or directory; SHELL names"):
        run_in(store.path(parse_rref(rref)), {}, None)


def test_without_a_terminal_shell_says_where_to_go(store: Store) -> None:
    rref = realize(instantiate(toys.text))
    with pytest.raises(UsageError, match=f"needs a terminal.* cd {rref2path(rref)}"):
        shell(rref)


def test_at_a_terminal_shell_opens_the_users_own(store: Store) -> None:
    rref = realize(instantiate(toys.text))
    short = parse_rref(rref).rhash[:12]
    session = pexpect.spawn(
        sys.executable,
        ["-c", f"import stagedml as s; s.store_initialize(); print('code', s.shell({short!r}))"],
        env={
            **os.environ,
            "PYLIGHTNIX_ROOT": str(store.layout.root),
            "PYTHONPATH": str(Path(stagedml.__file__).parent.parent),
            "SHELL": "/bin/sh",
            "PS1": "ready> ",
        },
        encoding="utf-8",
        timeout=60,
        dimensions=(50, 300),
    )
    session.expect_exact("ready> ")
    session.sendline("cat text.txt; echo; echo in $PWD; exit 7")
    session.expect_exact(f"in {rref2path(rref)}")
    session.expect_exact("code 7")
    session.expect(pexpect.EOF)


def test_a_derivation_that_is_not_realized_lists_nothing(store: Store) -> None:
    target = instantiate(toys.text)
    assert listing(store, stagedml.core.refs.parse_dref(target.result)) == []
