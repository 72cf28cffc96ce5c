"""`tree` and `plot`: what they print and write, and what they say to bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inspection.event_files import write_events
from stagedml.cli.main import EXIT_FAILED, EXIT_USAGE, main
from stagedml.inspection.tree import SEEN

TOYS = "stagedml.testing.toys:all_counted"


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def made(capsys: pytest.CaptureFixture[str], root: str, *arguments: str) -> str:
    """The reference of what is realized."""
    return run(capsys, "realize", "--root", root, *arguments)[1].splitlines()[0]


# -- tree -------------------------------------------------------------------------------------------------------------


def test_tree_shows_what_a_realization_rests_on(capsys: pytest.CaptureFixture[str], root: str) -> None:
    rref = made(capsys, root, TOYS, "one")
    for what in (rref, rref[5:13], "count"):
        code, out, err = run(capsys, "tree", "--root", root, what)
        assert (code, err) == (0, "")
        assert [line.split()[:-5] for line in out.splitlines()[1:]] == [["count"], ["└─", "upper"], ["└─", "text"]]


def test_tree_of_a_stage_shows_what_would_be_done(capsys: pytest.CaptureFixture[str], root: str) -> None:
    made(capsys, root, TOYS, "one")
    code, out, _ = run(capsys, "tree", "--root", root, TOYS, "content=two")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["depends", "depends", "build"]
    assert 'content "one" -> "two"' in out
    assert run(capsys, "ls", "--root", root, "--json")[1].count("rref:") == 3


def test_a_file_that_is_there_is_replaced_by_force_alone(
    capsys: pytest.CaptureFixture[str], root: str, tmp_path: Path
) -> None:
    made(capsys, root, TOYS, "one")
    made(capsys, root, "stagedml.testing.toys:sample")
    picture = tmp_path / "mine.svg"
    for arguments in (["tree", "count", "--svg"], ["plot", "sample", "--results", "-o"]):
        picture.write_text("mine")
        verb = [arguments[0], "--root", root, *arguments[1:], str(picture)]
        code, out, err = run(capsys, *verb)
        assert (code, out) == (EXIT_USAGE, "")
        assert f"{picture} is there already; --force replaces it" in err
        assert picture.read_text() == "mine"
        assert run(capsys, *verb, "--force")[:2] == (0, f"{picture}\n")
        assert "<svg" in picture.read_text()


def test_tree_keeps_to_ascii_where_the_output_has_no_more(
    capsys: pytest.CaptureFixture[str], root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(capsys, root, TOYS, "one")
    with open(tmp_path / "out", "w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        assert main(["tree", "--root", root, "count"]) == 0
    assert [line.split()[0] for line in (tmp_path / "out").read_text().splitlines()] == ["STAGE", "count", "`-", "`-"]


def test_tree_writes_a_picture_and_says_where(capsys: pytest.CaptureFixture[str], root: str, tmp_path: Path) -> None:
    made(capsys, root, TOYS, "one")
    picture = tmp_path / "graph.svg"
    assert run(capsys, "tree", "--root", root, "count", "--svg", str(picture)) == (0, f"{picture}\n", "")
    assert picture.read_text().startswith("<svg ")


def test_tree_as_json_has_nodes_edges_and_targets(capsys: pytest.CaptureFixture[str], root: str) -> None:
    rref = made(capsys, root, TOYS, "one")
    found = json.loads(run(capsys, "tree", "--root", root, "count", "--json")[1])
    assert [node["name"] for node in found["nodes"]] == ["text", "upper", "count"]
    assert (len(found["edges"]), found["targets"]) == (2, [rref])


def test_tree_shows_as_many_levels_as_it_is_told_to(capsys: pytest.CaptureFixture[str], root: str) -> None:
    made(capsys, root, TOYS, "one")
    out = run(capsys, "tree", "--root", root, "count", "--depth", "1")[1]
    assert len(out.splitlines()) == 3
    assert out.rstrip().endswith("(1 input below)")
    assert SEEN not in out


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["count", "--depth", "-1"], EXIT_USAGE, "--depth -1: give how many levels"),
        (["nothing-of-that-name"], EXIT_FAILED, "is not in the store"),
        (["count", "content=two"], EXIT_USAGE, "so it takes no arguments"),
        (["count", "--svg", "graph.gif"], EXIT_USAGE, "let it end in .svg or .png or .dot"),
        (["count", "--svg", "/no/such/folder/graph.svg"], EXIT_USAGE, "No such file or directory"),
        ([TOYS, "contents=two"], EXIT_USAGE, "contents"),
    ],
)
def test_tree_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], root: str, arguments: list[str], code: int, complaint: str
) -> None:
    made(capsys, root, TOYS, "one")
    found, out, err = run(capsys, "tree", "--root", root, *arguments)
    assert (found, out) == (code, "")
    assert complaint in err


# -- plot -------------------------------------------------------------------------------------------------------------


SAMPLE = "stagedml.testing.toys:sample"


def test_plot_writes_results_to_a_file_and_says_where(
    capsys: pytest.CaptureFixture[str], root: str, tmp_path: Path
) -> None:
    one, two = (made(capsys, root, SAMPLE, f"seed={seed}") for seed in (0, 1))
    plot = tmp_path / "plot.png"
    assert run(capsys, "plot", "--root", root, one, two, "--results", "-o", str(plot)) == (0, f"{plot}\n", "")
    assert plot.read_bytes().startswith(b"\x89PNG")
    code, out, _ = run(capsys, "plot", "--root", root, one, two, "--by", "seed", "--metric", "accuracy")
    assert code == 0
    assert out.startswith("<svg ")


@pytest.mark.parametrize("how", [["--results"], ["--by", "rate"]])
def test_plot_of_results_leaves_out_histories_and_says_so(
    capsys: pytest.CaptureFixture[str], root: str, how: list[str]
) -> None:
    for rate in (1, 2):
        assert run(capsys, "realize", "--root", root, "cli.failing:lasting", f"rate={rate}")[0] == 0
    code, out, err = run(capsys, "plot", "--root", root, "lasting", *how)
    assert code == 0
    assert ">accuracy<" in out
    assert "history" not in out
    assert err == (
        "not drawn: f1, history.loss; `stagedml plot` without --results and --by draws histories, "
        "--metric NAME draws one, --json has all numbers\n"
    )
    code, out, err = run(capsys, "plot", "--root", root, "lasting", *how, "--metric", "history.loss[39]")
    assert (code, err) == (0, "")
    assert ">history.loss[39]<" in out
    code, _, err = run(capsys, "plot", "--root", root, "lasting", *how, "--metric", "loss")
    assert code == EXIT_USAGE
    assert "has accuracy, f1[...], history.loss[...]" in err


def test_plot_of_histories_alone_says_what_to_do(capsys: pytest.CaptureFixture[str], root: str) -> None:
    assert run(capsys, "realize", "--root", root, "cli.failing:lasting", "only_history=true")[0] == 0
    code, _, err = run(capsys, "plot", "--root", root, "lasting", "--results")
    assert code == EXIT_USAGE
    assert "have only lists in common: history.loss; `plot_curves` draws histories" in err


def test_plot_draws_the_log_of_a_training_that_runs(
    capsys: pytest.CaptureFixture[str], root: str, tmp_path: Path
) -> None:
    made(capsys, root, SAMPLE)
    write_events(tmp_path / "train", {"loss": {1: 0.5, 2: 0.25}})
    code, out, _ = run(capsys, "plot", "--root", root, str(tmp_path))
    assert code == 0
    assert out.startswith("<svg ")


def test_plot_on_a_terminal_writes_a_file_of_its_own_and_says_where(
    capsys: pytest.CaptureFixture[str], root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(capsys, root, SAMPLE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert run(capsys, "plot", "--root", root, "sample", "--results") == (0, "sample-results.svg\n", "")
    assert (tmp_path / "sample-results.svg").exists()


def test_plot_as_json_has_the_numbers_and_writes_where_it_is_told_to(
    capsys: pytest.CaptureFixture[str], root: str, tmp_path: Path
) -> None:
    rref = made(capsys, root, SAMPLE)
    (found,) = json.loads(run(capsys, "plot", "--root", root, "sample", "--results", "--json")[1])
    assert found["of"] == rref
    assert found["metrics"].keys() == {"accuracy", "loss"}
    write_events(tmp_path / "train", {"loss": {1: 0.5, 2: 0.25}})
    plot = tmp_path / "plot.svg"
    (found,) = json.loads(run(capsys, "plot", "--root", root, str(tmp_path), "--json", "-o", str(plot))[1])
    assert found["series"][0]["values"] == [0.5, 0.25]
    assert plot.exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["sample"], "keeps no history of numbers"),
        (["sample", "--results", "--metric", "f1"], "metric='f1'"),
        (["sample", "--by", "name"], "by='name'"),
        (["sample", "--results", "-o", "plot.gif"], "let it end in .svg or .png or .pdf"),
    ],
)
def test_plot_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], root: str, arguments: list[str], complaint: str
) -> None:
    made(capsys, root, SAMPLE)
    code, out, err = run(capsys, "plot", "--root", root, *arguments)
    assert (code, out) == (EXIT_USAGE, "")
    assert complaint in err
