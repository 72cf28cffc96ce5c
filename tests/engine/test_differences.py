"""What differs between two configs and between two editions of code, in the words that `why` shows."""

from __future__ import annotations

import ast
import textwrap

import pytest
from blake3 import blake3

from stagedml.core import differences, fingerprint
from stagedml.core.code import Code, Unit
from stagedml.core.reasons import Cause, Reason

A, B, C = (f"dref:{digit * 32}-{name}" for digit, name in (("1", "words"), ("2", "words"), ("3", "upper")))


def told(before: dict[str, object], after: dict[str, object]) -> list[tuple[Cause, str]]:
    return [(reason.cause, str(reason)) for reason in differences.reasons(before, after)]


# -- configs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "cause", "says"),
    [
        ({"rate": 1e-3}, {"rate": 2e-3}, Cause.CONFIG, "rate 0.001 -> 0.002"),
        ({}, {"rate": 1e-3}, Cause.CONFIG, "rate (none) -> 0.001"),
        ({"rate": None}, {}, Cause.CONFIG, "rate null -> (none)"),
        ({"rate": 1}, {"rate": 1.0}, Cause.CONFIG, "rate 1 -> 1.0"),
        ({"rate": 1}, {"rate": True}, Cause.CONFIG, "rate 1 -> true"),
        ({"o": {"lr": 1, "b": [1]}}, {"o": {"lr": 2, "b": [1]}}, Cause.CONFIG, "o.lr 1 -> 2"),
        ({"o": {"lr": 1}}, {"o": {}}, Cause.CONFIG, "o.lr 1 -> (none)"),
        ({"text": ["__self__", "a"]}, {"text": ["__self__", "b", "c"]}, Cause.CONFIG, 'text "a" -> "b/c"'),
        ({"s": A}, {"s": B}, Cause.INPUT, "input s: another words"),
        ({"s": A}, {"s": C}, Cause.INPUT, "input s words -> upper"),
        ({"s": None}, {"s": C}, Cause.INPUT, "input s: upper added"),
        ({}, {"s": C}, Cause.INPUT, "input s: upper added"),
        ({"s": C}, {}, Cause.INPUT, "input s: upper removed"),
        ({"s": [A, B]}, {"s": [B, A]}, Cause.INPUT, "input s: in another order"),
        ({"s": [A]}, {"s": [A, A]}, Cause.INPUT, "input s: words added"),
        ({"s": [A, C]}, {"s": [B]}, Cause.INPUT, "input s: another words, upper removed"),
        ({"s": {"x": A, "y": C}}, {"s": {"x": C, "y": A}}, Cause.INPUT, "input s: in another order"),
        ({"s": [A, "file"]}, {"s": [B, "file"]}, Cause.INPUT, "input s: another words"),
        (
            {"s": [A, "one"]},
            {"s": [A, "two"]},
            Cause.CONFIG,
            's [{"input": "words"}, "one"] -> [{"input": "words"}, "two"]',
        ),
        ({"stagedml": {"code": "1:a"}}, {"stagedml": {"code": "1:b"}}, Cause.CODE, "code changed"),
        (
            {"stagedml": {"code": "1:a"}},
            {"stagedml": {"code": "2:a"}},
            Cause.CODE,
            "code fingerprint by other rules, version 1 -> 2",
        ),
        (
            {"stagedml": {"packages": {"numpy": "2.1", "blake3": "1.0"}}},
            {"stagedml": {"packages": {"numpy": "2.2", "blake3": "1.0"}}},
            Cause.PACKAGE,
            "package numpy 2.1 -> 2.2",
        ),
        (
            {"stagedml": {"packages": {}}},
            {"stagedml": {"packages": {"numpy": "2.2"}}},
            Cause.PACKAGE,
            "package numpy (none) -> 2.2",
        ),
        ({"stagedml": {"seeded": 1}}, {"stagedml": {"seeded": 2}}, Cause.CONFIG, "seeded 1 -> 2"),
    ],
)
def test_one_difference_is_one_reason(
    before: dict[str, object], after: dict[str, object], cause: Cause, says: str
) -> None:
    assert told(before, after) == [(cause, says)]


def test_equal_configs_have_no_reasons() -> None:
    config = {"rate": 1, "s": [A, C], "stagedml": {"code": "1:a", "packages": {"numpy": "2"}}}
    assert told(config, {**config}) == []


def test_of_several_reasons_code_comes_first_and_inputs_last() -> None:
    before = {"a": 1, "s": A, "stagedml": {"code": "1:a", "packages": {"numpy": "1"}}}
    after = {"a": 2, "s": B, "stagedml": {"code": "1:b", "packages": {"numpy": "2"}}}
    assert [cause for cause, _ in told(before, after)] == [Cause.CODE, Cause.CONFIG, Cause.PACKAGE, Cause.INPUT]


def test_a_parameter_that_is_called_like_a_part_of_ours_is_no_code() -> None:
    assert told({"code": "1:a"}, {"code": "1:b"}) == [(Cause.CONFIG, 'code "1:a" -> "1:b"')]


def test_long_values_are_cut_to_where_they_begin_to_differ() -> None:
    same = "word " * 40
    (reason,) = differences.reasons({"text": f"{same}one{same}"}, {"text": f"{same}two{same}"})
    assert reason.before != reason.after
    assert "one" in reason.before
    assert "two" in reason.after
    assert len(str(reason)) < 100
    (reason,) = differences.reasons({"text": same}, {"text": f"{same}more"})
    assert reason.before != reason.after


def test_of_very_many_inputs_a_few_are_named() -> None:
    many = [f"dref:{number:032x}-part-{number}" for number in range(40)]
    (reason,) = differences.reasons({"s": many[:1]}, {"s": many})
    assert str(reason) == "input s: part-1, part-2, part-3, part-4 and 35 more added"


def test_a_reason_about_inputs_tells_their_field() -> None:
    pairs: list[tuple[dict[str, object], dict[str, object]]] = [
        ({"my_s": A}, {"my_s": B}),
        ({"my_s": A}, {"my_s": C}),
        ({"my_s": [A, B]}, {"my_s": [B, A]}),
    ]
    assert [differences.input_field(reason) for pair in pairs for reason in differences.reasons(*pair)] == ["my_s"] * 3
    assert differences.input_field(Reason(Cause.CONFIG, "input my_s")) == ""
    assert differences.input_field(Reason(Cause.INPUT, "on words")) == ""
    assert differences.input_field(Reason(Cause.INPUT, "other realizations of its inputs")) == ""


# -- code -------------------------------------------------------------------------------------------------------------

BUILDER = """\
@stage(Text, name="train")
@timed(
    limit=3)
def train(build, *, rate=0.1, sizes=(1, 2), text=output("text")):
    '''Train.'''
    rows = load(build)
    # what is left
    total = sum(
        row
        for row in rows
    )
    def inner(x):
        y = x + 1
        return y
    if total > 1:
        rows.append(inner(total))
    message = f'''
        {total}
        {rows}
    '''
    build.path(text).write_text(message)
"""
HELPER = "def load(build):\n    path = build.data\n    return path.read()\n"


def unit(name: str, text: str, *, file: str = "train.py", line: int = 1, number: int = 0) -> Unit:
    """A definition, with the digest that the fingerprint gives it."""
    try:
        (node,) = ast.parse(textwrap.dedent(text)).body
        is_builder = isinstance(node, ast.FunctionDef) and any(map(fingerprint.is_stage, node.decorator_list))
        plain = fingerprint.normalised_builder(node) if is_builder else fingerprint.normalised(node)
    except (SyntaxError, ValueError):
        plain = text
    name = f"{number}:{name}" if number else name
    return Unit(
        name,
        file,
        line,
        text,
        blake3(f"{number}{plain}".encode() if "import" in text else plain.encode()).hexdigest()[:32],
    )


def code(*units: Unit) -> Code:
    return Code("1:" + blake3("".join(one.digest for one in units).encode()).hexdigest()[:32], units, {}, ())


def place(old: str, new: str, line: int = 10) -> str:
    """Where a builder differs that begins at a line."""
    return differences.changed_place(code(unit("train", old, line=5)), code(unit("train", new, line=line)))


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n")


@pytest.mark.parametrize(
    ("before", "after", "at"),
    [
        ("y = x + 1", "y = x + 2", "y = x + 2"),  # in a nested function
        ("load(build)", "load(build, 1)", "load(build, 1)"),
        ("for row in rows", "for row in rows[1:]", "for row in rows[1:]"),
        ("limit=3", "limit=4", "limit=4"),  # of a decorator
        ("@timed(\n    limit=3)\n", "", "def train"),  # no decorator
        ("@timed(", "@counted\n@timed(", "@counted"),  # one more
        ("    if total > 1", "    total += 1\n    if total > 1", "    total += 1"),  # one more statement
        ("    rows = load(build)\n", "", "    total = sum("),  # one less
        ("        rows.append(inner(total))\n", "        rows.append(inner(total))\n        x = 1\n", "        x = 1"),
        ("    build.path(text).write_text(message)\n", "", "    '''\n"),  # the last one less
        ("        {rows}\n", "        {rows[0]}\n", "    message = f"),  # in a text of several lines
        ("*, rate=0.1", "*, epochs=1, rate=0.1", "def train"),
    ],
)
def test_the_first_line_that_counts_is_named(before: str, after: str, at: str) -> None:
    assert BUILDER.count(before) == 1
    new = BUILDER.replace(before, after)
    line = 10 + line_of(new, at)
    assert place(BUILDER, new) == f"train.py:{line} (train)"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("'''Train.'''", "'''Train it.\n\n    Slowly.\n    '''"),
        ("    '''Train.'''\n", ""),
        ("# what is left", "# what remains\n"),
        ("rows = load(build)", "rows: list = load(build)"),
        ("rows = load(build)", "'a string that stands alone'\n    rows = load(build)"),
        ("def inner(x):", "def inner(x: int) -> int:"),
        ("(build, *,", "(build: Build, *,"),
        ("rate=0.1", "rate=0.2"),
        ("sizes=(1, 2)", "sizes=(1, 2, 3)"),
        ('name="train"', 'name="train", deterministic=False'),
        ("load(build)", "load(\n        build\n    )"),
    ],
)
def test_what_does_not_count_beside_a_real_change_is_not_named(before: str, after: str) -> None:
    assert BUILDER.count(before) == 1
    other = BUILDER.replace(before, after)
    assert unit("train", other).digest == unit("train", BUILDER).digest
    new = other.replace("y = x + 1", "y = x + 2")
    assert place(BUILDER, new) == f"train.py:{10 + line_of(new, 'y = x + 2')} (train)"
    assert place(BUILDER, other) == ""


def test_a_removed_statement_is_named_where_it_stood_whatever_follows_it() -> None:
    loop = "    for one in x:\n        {}(\n            one)\n"
    loops, fewer = (f"def helper(x):\n{''.join(map(loop.format, names))}" for names in (("first", "last"), ("last",)))
    builder = unit("train", BUILDER)
    old, new = (code(builder, unit("helper", text, file="helpers.py", line=20, number=1)) for text in (loops, fewer))
    assert differences.changed_place(old, new) == "helpers.py:21 (helper)"
    assert differences.changed_place(new, old) == "helpers.py:21 (helper)"


def test_an_annotation_in_a_class_is_a_line_that_counts() -> None:
    text = "class Options:\n    def run(self):\n        value: int\n\n    size: int = 5\n    rate: float\n"
    builder = unit("train", BUILDER)
    for change in ("size: float = 5", "rate: int"):
        other = text.replace(change.replace("float", "*").replace("int", "float").replace("*", "int"), change)
        old, new = (
            code(builder, unit("Options", one, line=3)) for one in (text, other.replace("value: int", "value: str"))
        )
        assert differences.changed_place(old, new) == f"train.py:{3 + line_of(other, change)} (Options)"


def test_the_builder_is_named_before_helpers_and_a_changed_helper_before_new_ones() -> None:
    helper, other = unit("load", HELPER, number=1), unit("load", HELPER.replace("data", "rows"), number=1)
    builder, edited = unit("train", BUILDER, line=7), unit("train", BUILDER.replace("x + 1", "x + 2"), line=7)
    added = unit("added", "def added():\n    return 1\n")
    assert differences.changed_place(code(builder, helper), code(edited, other, added)).endswith("(train)")
    assert differences.changed_place(code(builder, helper), code(builder, added, other)) == "train.py:2 (load)"
    assert differences.changed_place(code(builder), code(builder, added)) == "train.py:1 (added)"


def test_a_renamed_helper_is_named_where_it_is_called() -> None:
    old = code(unit("train", BUILDER), unit("load", HELPER, number=1))
    new = code(unit("train", BUILDER.replace("load(", "read(")), unit("read", HELPER.replace("load", "read"), number=1))
    assert differences.changed_place(old, new) == f"train.py:{1 + line_of(BUILDER, 'rows = load')} (train)"


def test_a_renamed_builder_is_named() -> None:
    new = BUILDER.replace("def train", "def fit")
    old, new_code = code(unit("train", BUILDER)), code(unit("fit", new, line=3))
    assert differences.changed_place(old, new_code) == f"train.py:{3 + line_of(new, 'def fit')} (fit)"
    both = BUILDER.replace("def train", "def fit").replace("x + 1", "x + 2")
    assert len(differences.changed_units(old, code(unit("fit", both)))) == 1


def test_a_definition_that_is_gone_is_named_where_it_stood() -> None:
    builder = unit("train", BUILDER)
    gone = unit("__getattr__", "def __getattr__(name):\n    return 1\n", file="helpers.py", line=12, number=1)
    assert differences.changed_place(code(builder, gone), code(builder)) == "helpers.py:12 (__getattr__ is gone)"


def test_shifted_numbers_of_modules_name_nothing_that_did_not_change() -> None:
    builder = unit("train", BUILDER)
    old = code(
        builder,
        unit("deep", "from deep import deep", file="helpers.py", number=1),
        unit("load", HELPER, file="helpers.py", line=9, number=1),
        unit("deep", "def deep():\n    return 1\n", file="deep.py", number=2),
    )
    new = code(
        builder,
        unit("first", "def first():\n    return 1\n", file="first.py", number=1),
        unit("deep", "from deep import deep", file="helpers.py", number=2),
        unit("load", HELPER.replace("data", "rows"), file="helpers.py", line=9, number=2),
        unit("deep", "def deep():\n    return 1\n", file="deep.py", number=3),
    )
    assert differences.changed_place(old, new) == "helpers.py:10 (load)"
    names = [(a and a.name, b and b.name) for a, b in differences.changed_units(old, new)]
    assert names == [("1:load", "2:load"), (None, "1:first")]


def test_definitions_that_moved_to_another_file_are_the_same() -> None:
    builder = unit("train", BUILDER)
    old = code(builder, unit("load", HELPER, file="a.py", number=1))
    new = code(builder, unit("load", HELPER, file="b.py", line=40, number=2))
    assert differences.changed_units(old, new) == []
    assert differences.changed_place(old, new) == ""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[1]", "[2]"),
        ("<function at 0x1>", "<function at 0x2>"),
        ("'a\x00'", "'b\x00'"),
        ("(" * 500, "(" * 501),
        ("", "1"),
    ],
)
def test_values_that_are_no_source_are_named_where_they_are_captured(before: str, after: str) -> None:
    builder = unit("train", BUILDER, line=7)
    old, new = (
        code(builder, Unit("value", "train.py", 9, text, digest * 32)) for text, digest in ((before, "a"), (after, "b"))
    )
    assert differences.changed_place(old, new) == "train.py:9 (value)"


def test_in_a_name_of_several_statements_no_line_is_guessed() -> None:
    text = "ROWS = []\nfor n in range(3):\n    ROWS.append(n)"
    builder = unit("train", BUILDER)
    old = code(builder, Unit("ROWS", "train.py", 30, text, "a" * 32))
    later = code(builder, Unit("ROWS", "train.py", 30, text.replace("range(3)", "range(4)"), "b" * 32))
    assert differences.changed_place(old, later) == "train.py:30 (ROWS)"


def test_an_indented_definition_is_read() -> None:
    text = "    if GPU:\n        def fast():\n            return 1\n"
    builder = unit("train", BUILDER)
    old, new = (code(builder, unit("fast", one, line=4)) for one in (text, text.replace("return 1", "return 2")))
    assert differences.changed_place(old, new) == "train.py:6 (fast)"


def test_a_very_deep_expression_is_no_error() -> None:
    old, new = (code(unit("x", "x = 1"), Unit("deep", "d.py", 3, "x = " + "-" * 900 + end, end * 32)) for end in "12")
    assert differences.changed_place(old, new) == "d.py:3 (deep)"
