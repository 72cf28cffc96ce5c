"""`stagedml gc`, `roots`, `why-alive` and `realize --out-link`, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "stagedml.cli.main", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYLIGHTNIX_ROOT": str(tmp_path / "root"), "STAGEDML_DURABLE": "0", **environment},
        )

    return call


def rref(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[0]


def test_a_life_of_links_and_collections(run: Run, tmp_path: Path) -> None:
    kept = rref(run("realize", "stagedml.testing.toys:all_counted", "hi", "--out-link", "exp/best"))
    gone = rref(run("realize", "stagedml.testing.toys:text", "content=other"))
    link = tmp_path / "root" / "roots" / "exp" / "best"
    assert kept.split("-")[0].removeprefix("rref:") in os.readlink(link)

    young = "some are kept only because they are younger than 24.0 h"
    assert run("gc").stdout == f"no realizations would go; 4 realizations kept\n{young}\n"
    planned = run("gc", "--grace", "0")
    assert planned.returncode == 0
    assert "1 realization of 5 B, which took 0.0 s to build, would go; 3 realizations kept" in planned.stdout
    assert "stagedml gc --delete" in planned.stdout
    assert len(json.loads(run("ls", "--json").stdout)) == 4

    (reason,) = json.loads(run("why-alive", kept, "--json").stdout)[:1]
    assert (reason["kind"], reason["name"], reason["path"]) == ("link", str(link), [kept])
    assert f"link {link}" in run("why-alive", "upper").stdout

    done = json.loads(run("gc", "--grace", "0", "--delete", "--json").stdout)
    assert [row["rref"] for row in done["realizations"]] == [gone]
    assert done["deleted"]
    assert len(json.loads(run("ls", "--json").stdout)) == 3
    assert run("verify").returncode == 0


def test_links_are_listed_added_and_removed(run: Run, tmp_path: Path) -> None:
    first = rref(run("realize", "stagedml.testing.toys:text"))
    listed = run("roots")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert "stagedml roots add NAME REF" in listed.stderr
    place = run("roots", "add", "mine", "text").stdout.strip()
    assert place == str(tmp_path / "root" / "roots" / "mine")
    assert run("roots", "add", "./here", first[5:20]).stdout.strip() == str(tmp_path / "here")
    links = json.loads(run("roots", "--json").stdout)
    assert [link["ref"] for link in links] == [first, first]
    assert first in run("roots").stdout
    other = str(tmp_path / "other")
    for arguments in (["roots", "--root", other, "rm", "x"], ["roots", "rm", "x", "--root", other]):
        assert f"the store {other}" in run(*arguments).stderr
    assert run("roots", "rm", "mine").returncode == 0
    assert run("roots", "rm", "mine").returncode == 2
    assert len(json.loads(run("roots", "--json").stdout)) == 1


def test_a_store_without_links_is_not_emptied(run: Run) -> None:
    rref(run("realize", "stagedml.testing.toys:text"))
    refused = run("gc", "--grace", "0", "--delete")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "no link keeps anything" in refused.stderr
    assert len(json.loads(run("ls", "--json").stdout)) == 1


def test_stages_may_be_kept_by_name(run: Run) -> None:
    rref(run("realize", "stagedml.testing.toys:all_counted", "hi"))
    gone = rref(run("realize", "stagedml.testing.toys:text", "content=other"))
    spec = "stagedml.testing.toys:all_counted hi"
    by_option = json.loads(run("gc", "--grace", "0", "--json", "--keep", spec).stdout)
    by_setting = json.loads(run("gc", "--grace", "0", "--json", STAGEDML_KEEP=f"{spec};").stdout)
    by_reference = json.loads(run("gc", "--grace", "0", "--json", "--keep", gone).stdout)
    assert [row["rref"] for row in by_option["realizations"]] == [gone]
    assert [row["rref"] for row in by_setting["realizations"]] == [gone]
    assert by_reference["kept"] == 1
    assert run("gc", "--keep", "all_nonsense").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--grace", "soon"], "'soon' is no length of time"),
        (["--max-size", "big"], "'big' is no size"),
        (["--keep-best", ":x"], "METRIC:N"),
    ],
)
def test_bad_policies_are_refused(run: Run, arguments: list[str], problem: str) -> None:
    rref(run("realize", "stagedml.testing.toys:text"))
    refused = run("gc", *arguments)
    assert refused.returncode == 2
    assert problem in refused.stderr


def test_what_a_link_kept_before_is_told_when_it_is_led_elsewhere(run: Run, tmp_path: Path) -> None:
    first = run("realize", "stagedml.testing.toys:text", "content=one", "--out-link", "mine")
    assert "until now" not in first.stderr
    second = run("realize", "stagedml.testing.toys:text", "content=two", "--out-link", "mine")
    link = tmp_path / "root" / "roots" / "mine"
    assert f"{link} kept {rref(first)} until now\n" in second.stderr
    back = run("roots", "add", "mine", rref(first))
    assert (back.stdout, back.stderr) == (f"{link}\n", f"{link} kept {rref(second)} until now\n")
    assert run("roots", "add", "mine", rref(first)).stderr == ""  # it is so already
    assert rref(first).split("-")[0].removeprefix("rref:") in os.readlink(link)


def test_a_link_to_what_is_gone_may_be_led_elsewhere(run: Run, tmp_path: Path) -> None:
    gone = rref(run("realize", "stagedml.testing.toys:text", "--out-link", "./mine"))
    (tmp_path / "root").rename(tmp_path / "elsewhere")
    again = run("realize", "stagedml.testing.toys:text", "content=other", "--out-link", "./mine")
    assert f"{tmp_path / 'mine'} kept {gone} until now" in again.stderr
    assert (tmp_path / "mine" / "text.txt").read_text() == "other"


def test_somebody_elses_link_is_left_alone(run: Run, tmp_path: Path) -> None:
    rref(run("realize", "stagedml.testing.toys:text"))
    (tmp_path / "data").mkdir()
    for name, target in (("mine", "data"), ("lost", "nowhere")):
        (tmp_path / name).symlink_to(target)
        for arguments in (
            ["roots", "add", f"./{name}", "text"],
            ["realize", "stagedml.testing.toys:text", "content=other", "--out-link", f"./{name}"],
        ):
            refused = run(*arguments)
            assert refused.returncode == 2
            assert f"{tmp_path / name}: a link to {target} is there; choose another name" in refused.stderr
        assert os.readlink(tmp_path / name) == target
    assert len(json.loads(run("ls", "--json").stdout)) == 1


def test_a_link_in_the_way_is_told_before_anything_is_built(run: Run, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    refused = run("realize", "stagedml.testing.toys:text", "--out-link", "./there")
    assert refused.returncode == 2
    assert "something that is no link is there" in refused.stderr
    assert run("ls", "--json").stdout.strip() == "[]"


def test_what_cannot_be_written_is_told_in_one_line(run: Run, tmp_path: Path) -> None:
    kept = rref(run("realize", "stagedml.testing.toys:text", "--out-link", "x"))
    command = [sys.executable, "-m", "stagedml.cli.main", "--help"]
    assert subprocess.run(command, check=True, capture_output=True).stdout
    script = f"{sys.executable} -m stagedml.cli.main"
    environment = {**os.environ, "PYLIGHTNIX_ROOT": str(tmp_path / "root")}
    for rest, code, said in (
        ("ls >/dev/full", 1, "No space left"),
        ("ls >&-", 0, ""),
        (f"export {kept} >&-", 2, "an archive is nothing to look at"),
        (f"export {kept} -o ''", 2, "give -o FILE"),
        (f"copy {kept} --to ''", 2, "give the folder"),
        ("import <&-", 2, "give the FILE"),
        ("gc --keep ''", 2, "names no stage"),
        ("gc --keep rref:" + "0" * 32 + kept[37:], 1, "is not in the store"),
        ("gc --del", 2, "unrecognized arguments"),
        ("path ''", 1, "at least 4 characters"),
    ):
        done = subprocess.run(
            f"{script} {rest}", shell=True, check=False, capture_output=True, text=True, env=environment
        )
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), (rest, done.stderr)
        assert said in done.stderr, rest


def test_a_setting_with_nonsense_is_named(run: Run) -> None:
    rref(run("realize", "stagedml.testing.toys:text"))
    done = run("gc", STAGEDML_KEEP="all_nonsense")
    assert done.returncode == 2
    assert "STAGEDML_KEEP: " in done.stderr


def test_texts_that_look_like_numbers_stay_texts_where_texts_are_wanted(run: Run) -> None:
    assert rref(run("realize", "stagedml.testing.toys:all_counted", "5")) == rref(
        run("realize", "stagedml.testing.toys:all_counted", 'content="5"')
    )
    assert run("realize", "stagedml.testing.toys:text", "content=true").returncode == 0
    assert run("realize", "stagedml.testing.toys:sample", "seed=5").returncode == 0
    assert run("realize", "stagedml.testing.toys:sample", "seed=five").returncode == 2


def test_names_that_no_terminal_shows_are_spelt_out(run: Run, tmp_path: Path) -> None:
    rref(run("realize", "stagedml.testing.toys:text", "--out-link", "x"))
    (tmp_path / "root" / "roots" / "a\nb").symlink_to("nowhere")
    assert len(run("roots").stdout.splitlines()) == 3
    assert "a\\nb" in run("roots").stdout


def test_links_of_another_store_are_named_and_left_alone(run: Run, tmp_path: Path) -> None:
    kept = rref(run("realize", "stagedml.testing.toys:text", "--out-link", "rep"))
    roots = tmp_path / "root" / "roots"
    advice = run("init", "new", STAGEDML_EXPERIMENTS=str(roots)).stderr
    assert f"export PYLIGHTNIX_ROOT={tmp_path / 'new'} STAGEDML_EXPERIMENTS={tmp_path / 'new' / 'roots'}\n" in advice

    half = {"PYLIGHTNIX_ROOT": str(tmp_path / "new"), "STAGEDML_EXPERIMENTS": str(roots)}
    assert f"in another store: {tmp_path / 'root' / 'store-v0'}/" in run("roots", **half).stdout
    doctor = run("doctor", **half).stdout
    assert "1 link into other stores, the first " in doctor
    assert f"links go to {roots}, the folder of the store in {tmp_path / 'root'}" in doctor
    assert f"-> export STAGEDML_EXPERIMENTS={tmp_path / 'new' / 'roots'}" in doctor
    assert "to nothing" not in doctor
    assert f"links go to {roots}, the folder of the store in {tmp_path / 'root'}" in run("config", **half).stderr

    refused = run("roots", "rm", "rep", **half)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert f"it leads into another store, {tmp_path / 'root' / 'store-v0'}, so it is left alone" in refused.stderr
    assert kept in run("roots").stdout
    assert run("roots", "rm", "rep", "--force", **half).returncode == 0
    assert not os.path.lexists(roots / "rep")


def test_doctor_and_config_say_nothing_of_an_experiments_folder_that_is_no_stores(run: Run, tmp_path: Path) -> None:
    rref(run("realize", "stagedml.testing.toys:text"))
    for folder in (tmp_path / "root" / "roots", tmp_path / "mine"):
        assert "links go to" not in run("doctor", STAGEDML_EXPERIMENTS=str(folder)).stdout
        assert run("config", STAGEDML_EXPERIMENTS=str(folder)).stderr == ""


def test_a_link_that_leads_to_no_realization_is_removed_only_by_force(run: Run, tmp_path: Path) -> None:
    gone = rref(run("realize", "stagedml.testing.toys:text", "--out-link", "mine"))
    other = tmp_path / "root" / "roots" / "etc"
    other.symlink_to("/etc")
    refused = run("roots", "rm", "etc")
    assert refused.returncode == 2
    assert "it leads to no realization, so it is left alone" in refused.stderr
    assert run("roots", "rm", "etc", "--force").returncode == 0
    assert not other.is_symlink()
    assert run("gc", "--grace", "0", "--delete").returncode == 0
    folder = tmp_path / "root" / "store-v0" / gone.partition("-")[2]
    folder.rename(tmp_path / "elsewhere")  # what the link kept is no more
    assert run("roots", "rm", "mine").returncode == 0


@pytest.mark.parametrize("name", ["../../x", "a/../../x", "a/../b"])
def test_no_link_climbs_out_of_the_experiments_folder(run: Run, tmp_path: Path, name: str) -> None:
    rref(run("realize", "stagedml.testing.toys:text"))
    refused = run("roots", "add", name, "text")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "give NAME, FOLDER/NAME, or ./PATH" in refused.stderr
    assert not (tmp_path / "x").is_symlink()


def test_what_init_says_to_type_can_be_typed(run: Run, tmp_path: Path) -> None:
    advice = run("init", "a b").stderr.strip().removeprefix("to work in it: ")
    shell = f"{advice}; {sys.executable} -m stagedml.cli.main config --json"
    told = subprocess.run(["/bin/sh", "-c", shell], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert json.loads(told.stdout)[0]["value"] == str(tmp_path / "a b")
