"""The command line: each verb's text, its JSON, its exit codes, and what it says to bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import stagedml
from stagedml.cli.main import EXIT_FAILED, EXIT_REMOTE, EXIT_USAGE, main
from stagedml.errors import StagedmlError

TOYS = "stagedml.testing.toys:all_counted"
SAMPLE = "stagedml.testing.toys:sample"


@pytest.fixture
def root(tmp_path: Path) -> str:
    return str(tmp_path / "root")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(arguments)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_realize_prints_reference_and_folder_on_stdout_and_the_plan_on_stderr(
    capsys: pytest.CaptureFixture[str], root: str
) -> None:
    code, out, err = run(capsys, "realize", "--root", root, TOYS, "words")
    rref, path = out.splitlines()
    assert code == 0
    assert rref.startswith("rref:")
    assert Path(path, "result", "counts.json").is_file()
    assert "build    count" in err


def test_a_second_realize_says_nothing_but_the_same_reference(capsys: pytest.CaptureFixture[str], root: str) -> None:
    _, first, _ = run(capsys, "realize", "--root", root, TOYS)
    code, second, err = run(capsys, "realize", "--root", root, TOYS)
    assert (code, second, err) == (0, first, "")


def test_json_of_realize_holds_reference_and_path(capsys: pytest.CaptureFixture[str], root: str) -> None:
    _, out, _ = run(capsys, "realize", "--root", root, TOYS, "--json")
    (entry,) = json.loads(out)
    assert set(entry) == {"rref", "path"}
    assert Path(entry["path"]).name in entry["rref"]


def test_plan_names_verdict_stage_and_reason(capsys: pytest.CaptureFixture[str], root: str) -> None:
    _, before, _ = run(capsys, "plan", "--root", root, TOYS)
    assert [line.split()[:2] for line in before.splitlines()] == [
        ["build", "text"],
        ["build", "upper"],
        ["build", "count"],
    ]
    assert before.count("first build") == 3
    run(capsys, "realize", "--root", root, TOYS)
    _, after, _ = run(capsys, "plan", "--root", root, TOYS)
    assert all(line.startswith("reuse") for line in after.splitlines())


@pytest.mark.parametrize("words", [("plan",), ("realize", "--dry-run")])
def test_a_plan_heeds_and_checks_how_realize_is_to_run(
    capsys: pytest.CaptureFixture[str], root: str, words: tuple[str, ...]
) -> None:
    run(capsys, "realize", "--root", root, SAMPLE)
    _, out, _ = run(capsys, *words, "--root", root, SAMPLE, "--instances", "3")
    assert out.startswith("build"), out
    assert run(capsys, *words, "--root", root, TOYS, "--exec", "workers=3")[0] == 0
    code, _, err = run(capsys, *words, "--root", root, TOYS, "--exec", "wokers=3")
    assert (code, "no stage here has an Exec parameter 'wokers'; there are: workers" in err) == (EXIT_USAGE, True)


def test_json_of_plan_holds_the_steps(capsys: pytest.CaptureFixture[str], root: str) -> None:
    _, out, _ = run(capsys, "plan", "--root", root, TOYS, "--json")
    drawn = json.loads(out)
    assert [step["name"] for step in drawn["steps"]] == ["text", "upper", "count"]
    assert drawn["targets"] == [drawn["steps"][-1]["dref"]]


def test_dry_run_builds_nothing(capsys: pytest.CaptureFixture[str], root: str) -> None:
    run(capsys, "init", root)
    run(capsys, "realize", "--root", root, TOYS, "--dry-run")
    _, out, _ = run(capsys, "ls", "--root", root, "--json")
    assert json.loads(out) == []


def test_named_arguments_are_read_as_json_where_they_can_be(capsys: pytest.CaptureFixture[str], root: str) -> None:
    code, out, _ = run(capsys, "realize", "--root", root, TOYS, "content=aab", "--json")
    counts = Path(json.loads(out)[0]["path"], "result", "counts.json")
    assert code == 0
    assert json.loads(counts.read_text()) == {"A": 2, "B": 1}


def test_exec_values_and_force_reach_the_builder(capsys: pytest.CaptureFixture[str], root: str) -> None:
    run(capsys, "realize", "--root", root, TOYS)
    run(capsys, "realize", "--root", root, TOYS, "--force", "--exec", "workers=3")
    _, shown, _ = run(capsys, "show", "--root", root, "count", "--json")
    builds = json.loads(shown)["builds"]
    assert [build["arguments"] for build in builds] == [{"workers": 1}, {"workers": 3}]


def test_instances_are_all_printed(capsys: pytest.CaptureFixture[str], root: str) -> None:
    _, out, _ = run(capsys, "realize", "--root", root, SAMPLE, "--instances", "3", "--json")
    assert len({entry["rref"] for entry in json.loads(out)}) == 3
    _, listed, _ = run(capsys, "ls", "--root", root)
    assert listed.splitlines()[0].split() == ["NAME", "HASH", "BUILT", "SIZE", "INSTANCES"]


def test_ls_lists_and_filters_by_name(capsys: pytest.CaptureFixture[str], root: str) -> None:
    run(capsys, "realize", "--root", root, TOYS)
    _, out, _ = run(capsys, "ls", "--root", root)
    assert [line.split()[0] for line in out.splitlines()] == ["NAME", "text", "upper", "count"]
    _, filtered, _ = run(capsys, "ls", "--root", root, "upp", "--json")
    (line,) = json.loads(filtered)
    assert line["name"] == "upper"
    assert line["size_bytes"] == len("HELLO")


@pytest.mark.parametrize("spelling", ["rref", "hash", "dref", "name"])
def test_a_realization_can_be_named_in_four_ways(capsys: pytest.CaptureFixture[str], root: str, spelling: str) -> None:
    _, out, _ = run(capsys, "realize", "--root", root, TOYS)
    rref, path = out.splitlines()
    rhash, _, dref = rref.removeprefix("rref:").partition("-")
    text = {"rref": rref, "hash": rhash[:8], "dref": f"dref:{dref}", "name": "count"}[spelling]
    assert run(capsys, "path", "--root", root, text) == (0, f"{path}\n", "")


def test_ls_takes_a_pattern(capsys: pytest.CaptureFixture[str], root: str) -> None:
    run(capsys, "realize", "--root", root, TOYS)
    _, out, _ = run(capsys, "ls", "--root", root, "?p*", "--json")
    assert [line["name"] for line in json.loads(out)] == ["upper"]
    code, out, err = run(capsys, "ls", "--root", root, "p*")
    assert (code, out) == (0, "")
    assert "no realization of a stage whose name has or matches 'p*'" in err


def test_ls_tells_the_parameters_that_differ_among_realizations_of_a_stage(
    capsys: pytest.CaptureFixture[str], root: str
) -> None:
    for arguments in (["one"], ["two", "scale=2"]):
        run(capsys, "realize", "--root", root, TOYS, *arguments)
    _, out, _ = run(capsys, "ls", "--root", root)
    assert [line.rpartition("  ")[2] for line in out.splitlines() if line.startswith("text")] == [
        "content=one",
        "content=two",
    ]
    assert "scale=2.0, source=" in out
    _, alone, _ = run(capsys, "ls", "--root", root, "--json", "text")
    assert [line["parameters"] for line in json.loads(alone)] == [{"content": "one"}, {"content": "two"}]


def test_ls_sorts_by_a_metric_or_by_size(capsys: pytest.CaptureFixture[str], root: str) -> None:
    run(capsys, "realize", "--root", root, "stagedml.testing.toys:sample", "--instances", "4")
    run(capsys, "realize", "--root", root, TOYS)
    _, out, _ = run(capsys, "ls", "--root", root, "--json", "--sort", "accuracy")
    metrics = [line["metric"] for line in json.loads(out)]
    assert metrics[:3] == [None] * 3
    assert metrics[3:] == sorted(metrics[3:])
    _, out, _ = run(capsys, "ls", "--root", root, "--sort", "accuracy", "sample")
    assert out.splitlines()[0].split() == ["NAME", "HASH", "BUILT", "SIZE", "INSTANCES", "ACCURACY"]
    assert f"{metrics[-1]:.6g}" in out.splitlines()[-1]
    _, out, _ = run(capsys, "ls", "--root", root, "--json", "--sort", "size")
    sizes = [line["size_bytes"] for line in json.loads(out)]
    assert sizes == sorted(sizes)
    code, out, err = run(capsys, "ls", "--root", root, "--sort", "f1")
    assert (code, out) == (EXIT_USAGE, "")
    assert "there are: time, size, accuracy, loss" in err


def test_show_tells_configuration_inputs_and_files(capsys: pytest.CaptureFixture[str], root: str) -> None:
    run(capsys, "realize", "--root", root, TOYS)
    _, out, _ = run(capsys, "show", "--root", root, "count")
    assert "scale: 1.0" in out
    assert "-upper" in out
    assert "result/counts.json" in out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["realize", "all_bert_finetune_gleu"], EXIT_USAGE, "did you mean all_bert_finetune_glue"),
        (["realize", "no.such.module:stage"], EXIT_USAGE, "there is no module 'no'"),
        (["realize", TOYS, "contents=x"], EXIT_USAGE, "contents"),
        (["realize", TOYS, "a", "b"], EXIT_USAGE, "too many positional arguments"),
        (["realize", "stagedml.testing.toys:sample", "seed=five"], EXIT_USAGE, "seed: wanted int, got 'five'"),
        (["realize", TOYS, "--exec", "threads=2"], EXIT_USAGE, "no stage here has an Exec parameter 'threads'"),
        (["realize", TOYS, "--instances", "0"], EXIT_USAGE, "instances=0"),
        (["show", "nothing"], EXIT_FAILED, "nothing is not in the store"),
        (["path", "rref:1"], EXIT_FAILED, "of a hash, give at least 4 characters"),
    ],
)
def test_bad_input_names_what_is_wrong(
    capsys: pytest.CaptureFixture[str], root: str, arguments: list[str], code: int, says: str
) -> None:
    run(capsys, "realize", "--root", root, TOYS)
    got, out, err = run(capsys, arguments[0], "--root", root, *arguments[1:])
    assert (got, out) == (code, "")
    assert says in err
    assert err.splitlines()[-1].startswith("stagedml: ") or "\n" in err.strip()


def test_a_store_that_is_not_there_is_named_and_not_made(capsys: pytest.CaptureFixture[str], root: str) -> None:
    code, _, err = run(capsys, "ls", "--root", root)
    assert code == EXIT_FAILED
    assert root in err
    assert "`stagedml init`" in err
    assert not Path(root).exists()


def test_what_cannot_be_fetched_has_an_exit_code_of_its_own(
    capsys: pytest.CaptureFixture[str], root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEDML_OFFLINE", "1")
    code, _, err = run(capsys, "realize", "--root", root, "all_fetchminibert")
    assert code == EXIT_REMOTE
    assert "STAGEDML_MIRRORS" in err
    assert "uncased_L-4_H-256_A-4.zip" in err
    assert "5f087a0c6c73aed0b0a13f9a99dade56bece97d0594b713195821e031266fae9" in err


@pytest.mark.parametrize("arguments", [["ls", "--root", ""], ["--root", "", "ls"], ["ls", "--root="], ["init", ""]])
def test_an_empty_root_is_refused(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (EXIT_USAGE, "")
    assert "root='': give a folder" in err


def test_an_empty_variable_counts_as_not_set_and_is_shown_to_be_so(
    capsys: pytest.CaptureFixture[str], root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGEDML_ROOT", "")
    monkeypatch.setenv("PYLIGHTNIX_ROOT", root)
    assert json.loads(run(capsys, "config", "--json")[1])[0]["source"] == "PYLIGHTNIX_ROOT"
    monkeypatch.delenv("PYLIGHTNIX_ROOT")
    first = json.loads(run(capsys, "config", "--json")[1])[0]
    assert first["source"] == "default; STAGEDML_ROOT empty"
    assert first["value"] == os.path.expanduser("~/_pylightnix")
    assert "set to nothing, which counts as not set: STAGEDML_ROOT" in run(capsys, "doctor")[1]


def test_options_of_all_verbs_stand_before_a_verb_too(
    capsys: pytest.CaptureFixture[str], root: str, tmp_path: Path
) -> None:
    realized = run(capsys, "--root", root, "realize", TOYS)[1]
    assert run(capsys, "ls", "--root", root, "count")[1] == run(capsys, f"--root={root}", "ls", "count")[1] != ""
    elsewhere = str(tmp_path / "elsewhere")
    assert run(capsys, "--root", elsewhere, "path", "count", "--root", root)[1] == realized.splitlines()[1] + "\n"
    with pytest.raises(StagedmlError):
        main(["-v", "--root", root, "show", "nothing"])
    assert run(capsys, "--root", root, "lss")[2] == "stagedml: there is no verb 'lss'; did you mean ls or bless?\n"


@pytest.mark.parametrize("arguments", [[], ["-v"], ["--root", "x"]])
def test_no_verb_is_answered_with_those_that_there_are(
    capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (EXIT_USAGE, "")
    assert err.startswith("usage: stagedml [-h] [--root ROOT] [-v] [--version] VERB ...\n")
    assert "realize, plan, check, retry" in err
    assert "stagedml help VERB" in err
    assert len(err.splitlines()) < 15


@pytest.mark.parametrize(("asked", "same"), [([], []), (["ls"], ["ls"]), (["roots", "add"], ["roots", "add"])])
def test_help_of_a_verb_is_what_the_option_prints(
    capsys: pytest.CaptureFixture[str], asked: list[str], same: list[str]
) -> None:
    texts = []
    for arguments in (["help", *asked], [*same, "--help"]):
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        assert exit.value.code == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != ""
    code, _, err = run(capsys, "help", "lss")
    assert (code, err) == (EXIT_USAGE, "stagedml: there is no verb 'lss'; did you mean ls or bless?\n")


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert (exit.value.code, capsys.readouterr().out) == (0, f"stagedml {stagedml.__version__}\n")


def test_show_tells_what_of_a_realization_was_changed(capsys: pytest.CaptureFixture[str], root: str) -> None:
    folder = Path(run(capsys, "realize", "--root", root, TOYS)[1].splitlines()[1])
    path = folder / "result" / "counts.json"
    assert "not all is as it was" not in run(capsys, "show", "--root", root, "count")[1]
    path.chmod(0o644)
    bytes_before = path.read_bytes()
    for contents, told in (
        (b"[]", "result/counts.json  has 2 B now"),
        (b" " * len(bytes_before), "result/counts.json  can be written to, and may be changed"),
        (None, "result/counts.json  is gone"),
    ):
        if contents is None:
            path.parent.chmod(0o755)
            path.unlink()
        else:
            path.write_bytes(contents)
        code, out, err = run(capsys, "show", "--root", root, "count")
        assert (code, err) == (0, "")
        assert told in out
        assert f"not all is as it was published: `stagedml verify {folder.name[:12]}` tells more" in out
        assert run(capsys, "verify", "--root", root, "count")[0] == EXIT_FAILED


def test_a_changed_file_of_equal_size_is_found_by_verify(capsys: pytest.CaptureFixture[str], root: str) -> None:
    folder = Path(run(capsys, "realize", "--root", root, TOYS)[1].splitlines()[1])
    path = folder / "result" / "counts.json"
    path.chmod(0o644)
    path.write_bytes(b" " * len(path.read_bytes()))
    path.chmod(0o444)
    code, out, _ = run(capsys, "verify", "--root", root, "count")
    assert code == EXIT_FAILED
    assert out.startswith(f"damaged   {path}: ")


def test_verify_names_what_is_damaged_and_its_exit_code_tells(capsys: pytest.CaptureFixture[str], root: str) -> None:
    _, out, _ = run(capsys, "realize", "--root", root, TOYS)
    rref, folder = out.splitlines()
    code, out, err = run(capsys, "verify", "--root", root)
    assert (code, out) == (0, "")
    assert err.startswith("3 realizations, ")
    assert err.endswith("; no problems\n")

    path = Path(folder, "result", "counts.json")
    path.chmod(0o644)
    path.write_text("{}")
    path.chmod(0o444)
    code, out, err = run(capsys, "verify", "--root", root, "count")
    assert code == 1
    assert out.startswith(f"damaged   {path}: had ")
    assert "stagedml verify --repair" in err
    code, out, _ = run(capsys, "verify", "--root", root, "--json")
    report = json.loads(out)
    assert (code, report["realizations"], report["repaired"]) == (1, 3, [])
    assert [(finding["kind"], finding["ref"], finding["path"]) for finding in report["findings"]] == [
        ("damaged", rref, str(path))
    ]

    code, out, _ = run(capsys, "verify", "--root", root, "--repair")
    assert code == 1
    assert f"repaired  {rref}: moved to " in out
    assert run(capsys, "verify", "--root", root)[0] == 0
    assert run(capsys, "realize", "--root", root, TOYS)[1].splitlines() == [rref, folder]


def test_verify_of_what_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str], root: str) -> None:
    run(capsys, "realize", "--root", root, TOYS)
    code, _, err = run(capsys, "verify", "--root", root, "nonsense")
    assert code == EXIT_FAILED
    assert "nonsense is not in the store" in err


def test_what_is_no_stage_and_what_is_given_twice_are_refused(capsys: pytest.CaptureFixture[str], root: str) -> None:
    code, _, err = run(capsys, "plan", "--root", root, "stagedml.testing.toys:Text")
    assert code == EXIT_USAGE
    assert "stagedml.testing.toys has no stage 'Text'; did you mean" in err
    code, _, err = run(capsys, "plan", "--root", root, "nowhere:stage")
    assert code == EXIT_USAGE
    assert "no module 'nowhere'; write MODULE:FUNCTION, and name the folder that holds the module in PYTHONPATH" in err
    code, _, err = run(capsys, "plan", "--root", root, TOYS, "words=a", "words=b")
    assert code == EXIT_USAGE
    assert "words is given twice: 'a' and 'b'" in err


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def f(:\n", "SyntaxError"),
        ("x = 1\nprint(1 / (x - 1))\n", "broken_stages.py:2"),
        ("import re\nimport not_there_at_all\n", "'not_there_at_all', which"),
        ("import re\nimport not_there_at_all\n", "broken_stages.py:2 imports"),
        ("raise SystemExit(3)\n", "SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named_with_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str, told: str
) -> None:
    (tmp_path / "broken_stages.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["plan", "--root", str(tmp_path / "root"), "broken_stages:stage"]) == EXIT_USAGE
    message = capsys.readouterr().err
    assert "importing broken_stages failed" in message
    assert told in message


def test_retry_runs_again_what_failed(
    capsys: pytest.CaptureFixture[str], root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, "realize", "--root", root, TOYS)[0] == 0
    code, _, err = run(capsys, "retry", "--root", root)
    assert (code, err) == (EXIT_USAGE, "stagedml: there is no run here that failed, was interrupted or was killed\n")
    (tmp_path / "flaky.py").write_text(
        "import pathlib\nfrom stagedml import *\nclass Text(Artifact):\n    text: RefPath\n"
        "@stage(Text, name='flaky')\ndef flaky(build: Build, *, word: str, text: RefPath = output('text')) -> None:\n"
        f"    build.path(text).write_bytes(pathlib.Path({str(tmp_path / 'source')!r}).read_bytes())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, _, err = run(capsys, "realize", "--root", root, "flaky:flaky", "word=a b")
    assert code == EXIT_FAILED
    assert "FileNotFoundError" in err
    (tmp_path / "source").write_text("here")
    code, out, err = run(capsys, "retry", "--root", root)
    assert code == 0
    assert "it failed: stagedml realize --root" in err
    assert "flaky:flaky 'word=a b'" in err
    assert out.startswith("rref:")
    code, out, err = run(capsys, "retry", "--root", root)
    assert (code, out) == (0, "")
    assert err.startswith("nothing to do: it failed, and has succeeded since: stagedml realize --root ")


def test_a_termination_ends_builds_and_is_told(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(
        "import subprocess\nfrom stagedml import *\nclass Text(Artifact):\n    text: RefPath\n"
        "@stage(Text, name='sleeper')\ndef sleeper(build: Build, *, text: RefPath = output('text')) -> None:\n"
        "    build.message('began')\n    subprocess.run(['sleep', '97.25'])\n"
    )
    paths = os.pathsep.join([str(tmp_path), *(path for path in sys.path if path)])
    command = [
        sys.executable,
        "-m",
        "stagedml.cli.main",
        "realize",
        "--root",
        str(tmp_path / "root"),
        "sleeper:sleeper",
    ]
    for jobs in ("1", "2"):
        process = subprocess.Popen(
            [*command, "--jobs", jobs], env={**os.environ, "PYTHONPATH": paths}, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        while "began" not in process.stderr.readline():
            pass
        process.terminate()
        err = process.communicate(timeout=10)[1]
        assert process.returncode == 143
        assert "stagedml: terminated; what was finished is kept" in err
        assert not subprocess.run(["pgrep", "-f", "sleep 97.25"], capture_output=True).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", "--force", TOYS, "content=xy"],
        ["plan", TOYS, "--force", "content=xy"],
        ["plan", TOYS, "--force", "--", "xy"],
        ["realize", TOYS, "--dry-run", "--force", "content=xy"],
    ],
)
def test_arguments_of_a_stage_may_follow_options(
    capsys: pytest.CaptureFixture[str], root: str, arguments: list[str]
) -> None:
    wanted = run(capsys, "plan", "--root", root, TOYS, "content=xy", "--force")
    assert wanted[0] == 0
    assert run(capsys, "--root", root, *arguments) == wanted


def test_words_after_options_are_taken_in_their_order(capsys: pytest.CaptureFixture[str], root: str) -> None:
    assert run(capsys, "realize", "--root", root, TOYS)[0] == 0
    tree = run(capsys, "tree", "--root", root, TOYS, "content=xy", "--depth", "0", "--json")
    assert run(capsys, "tree", "--root", root, TOYS, "--depth", "0", "content=xy", "--json") == tree
    assert (
        run(capsys, "du", "text", "--root", root, "count", "--json")[1]
        == (run(capsys, "du", "text", "count", "--root", root, "--json")[1])
    )


def test_a_parameter_given_like_an_option_is_no_word(capsys: pytest.CaptureFixture[str], root: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["plan", TOYS, "--root", root, "--the-content", "xy", "--force"])
    assert ended.value.code == EXIT_USAGE
    assert "a parameter of a stage is written the_content=xy" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["plan"], ["realize", "--dry-run"], ["tree"], ["why"]])
def test_who_only_looks_makes_no_store(
    capsys: pytest.CaptureFixture[str], root: str, command: list[str], tmp_path: Path
) -> None:
    code, out, err = run(capsys, *command, "--root", root, TOYS, "content=xy")
    assert code == 0
    assert out.count("first build") == 3
    assert err == f"there is no store in {root} yet; this is as of an empty one\n"
    assert os.listdir(tmp_path) == []
    assert run(capsys, "realize", "--root", root, TOYS)[0] == 0
    assert run(capsys, *command, "--root", root, TOYS, "content=xy")[2] == ""


def test_there_is_nothing_to_retry_where_there_is_no_store(capsys: pytest.CaptureFixture[str], root: str) -> None:
    code, _, err = run(capsys, "retry", "--root", root)
    assert code == EXIT_FAILED
    assert "`stagedml init`" in err
    assert not Path(root).exists()


def test_how_one_stage_runs_is_told_by_its_name(capsys: pytest.CaptureFixture[str], root: str) -> None:
    assert run(capsys, "realize", "--root", root, TOYS, "--exec", "workers=2", "--exec", "count.workers=3")[0] == 0
    builds = json.loads(run(capsys, "show", "--root", root, "count", "--json")[1])["builds"]
    assert [build["arguments"] for build in builds] == [{"workers": 3}]
    code, _, err = run(capsys, "realize", "--root", root, TOYS, "--force", "--exec", "text.workers=3")
    assert code == EXIT_USAGE
    assert "no stage here has an Exec parameter 'text.workers'; there are: workers" in err


@pytest.mark.parametrize("verb", ["realize", "plan", "check", "why", "tree"])
def test_what_may_be_left_out_is_not_called_required(capsys: pytest.CaptureFixture[str], verb: str) -> None:
    with pytest.raises(SystemExit):
        main([verb])
    assert "ARGUMENT" not in capsys.readouterr().err.splitlines()[-1]


def test_what_a_composing_function_raises_is_told_with_its_line(
    capsys: pytest.CaptureFixture[str], root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "composing_badly.py"
    file.write_text(
        "from stagedml.testing.toys import all_counted\n"
        "def all_bad(n: int = 1):\n    return all_counted(str(1 / (n - 1)))\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    code, out, err = run(capsys, "plan", "--root", root, "composing_badly:all_bad")
    assert (code, out) == (EXIT_USAGE, "")
    told = f"composing_badly:all_bad: it failed, ZeroDivisionError: division by zero at {file}:3"
    assert err.splitlines()[-2:] == [f"stagedml: {told}", "  return all_counted(str(1 / (n - 1)))"]
    assert run(capsys, "plan", "--root", root, "composing_badly:all_bad", "n=3")[0] == 0


def test_what_keeps_nothing_is_said_to_be_neither_realization_nor_stage(
    capsys: pytest.CaptureFixture[str], root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(capsys, "realize", "--root", root, TOYS)[0] == 0
    assert run(capsys, "gc", "--root", root, "--keep", "count")[0] == 0
    code, _, err = run(capsys, "gc", "--root", root, "--keep", "nosuch")
    assert code == EXIT_USAGE
    assert "--keep nosuch: there is no such realization, and as a stage: " in err
    monkeypatch.setenv("STAGEDML_KEEP", "count")
    assert "it takes stages, and whole references: rref:... or dref:..." in run(capsys, "gc", "--root", root)[2]


@pytest.mark.parametrize("option", [["plot", "-o"], ["tree", "--svg"], ["export", "-o"]])
def test_a_file_that_cannot_be_written_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], root: str, option: list[str]
) -> None:
    assert run(capsys, "realize", "--root", root, "cli.failing:lasting")[0] == 0
    verb, given = option
    code, out, err = run(capsys, verb, "--root", root, "lasting", given, "/nosuch/x.svg")
    assert (code, out) == (EXIT_USAGE, "")
    assert "/nosuch/x.svg cannot be written: No such file or directory" in err


def test_a_module_whose_name_cannot_be_one_is_not_advised(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy two.py").write_text("")
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, "realize", "--root", str(tmp_path / "root"), "toy two:f")
    assert code == EXIT_USAGE
    assert "give toy two.py a name of letters, digits and _ alone" in err
    assert "write toy two" not in err
