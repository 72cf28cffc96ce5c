"""The code fingerprint: what changes it, what does not, and that it is of the code that runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from authoring.toys import Text
from authoring.workshop import Workshop
from stagedml import Build, RefPath, output, stage
from stagedml.authoring.fingerprinted import fingerprint_of
from stagedml.core import fingerprint

#: A pipeline in several modules. Every edit below is one replacement in one of the files.
FILES = {
    "pipeline.py": '''
"""A pipeline."""
from __future__ import annotations

import functools
import collections
import tools
import tools as kit
import package.inner as inner
import package.other
import bare.namespaced
from bare import beside
from helpers import assist, Base, decorate, renamed as other_name
from package import exported
from starry import *
from stagedml import Artifact, Build, Exec, RefPath, output, stage

FACTOR = 3
TABLE = {"a": 1, "b": 2}
COMPUTED = 60 * 60
FILLED = []
for number in range(3):
    FILLED.append(number)
ROWS = dict(x=1)
ROWS["y"] = 2
tools.configure(level=1)
if FACTOR:
    def conditional():
        return 1
else:
    def conditional():
        return 2
UNUSED = 1


class Model(Artifact):
    model: RefPath


class Child(Base):
    """A class."""

    limit = 4
    size: int = 5

    def method(self, x: int = 1) -> int:
        return self.inherited() + x

    @property
    def value(self) -> int:
        return 6


def unused():
    return 7


def below(x):
    return x + FACTOR


def helper(x, power=2):
    """Help."""
    return below(x) ** power


key = lambda row: row["a"]  # noqa: E731


@functools.lru_cache(maxsize=None)
@decorate
def cached():
    return COMPUTED


@stage(Model, name="model")
def train(
    build: Build, *, rate: float = 0.1, model: RefPath = output("model"), workers: Exec[int] = 2
) -> None:
    """Train."""
    # A comment.
    total: int = helper(rate)
    child = Child()
    text = "abc" + str(child.method()) + str(TABLE["a"])
    from lazy import later
    import package.late
    from package import side as aside
    values = [later(), package.late.function(), aside.function(), tools.tool(), kit.second(), inner.function()]
    values += [package.other.function(), exported(), starred(), assist(), other_name(), cached(), key({"a": 1})]
    values += [bare.namespaced.function(), beside.function(), conditional(), sorted(values, key=lambda v: -v)]
    values += [FILLED, ROWS, collections.OrderedDict()]
    if (total > 1 and
            total < 3):
        values.append(text)
    build.path(model).write_text(str(values))
''',
    "helpers.py": '''
"""Helpers."""
import math


class Root:
    def inherited(self):
        return 1


class Base(Root):
    flag = True


def assist(x=1):
    return math.floor(x)


def renamed():
    return 2


def decorate(function):
    return function


def not_reached():
    return 3
''',
    "tools.py": "LEVEL = 0\n\n\ndef configure(level):\n    global LEVEL2\n    LEVEL2 = level\n\n\n"
    "def tool():\n    return 1\n\n\ndef second():\n    return LEVEL\n",
    "starry.py": "def starred():\n    return 1\n\n\ndef idle():\n    return 2\n",
    "lazy.py": "def later():\n    return deeper()\n\n\ndef deeper():\n    return 1\n",
    "package/__init__.py": "from .inner import function as exported\n",
    "package/inner.py": "def function():\n    return 1\n",
    "package/other.py": "from .sub import leaf\nfrom . import side\n\n\n"
    "def function():\n    return leaf.leaf() + side.two()\n",
    "package/sub/__init__.py": "",
    "package/sub/leaf.py": "from ..side import three\n\n\ndef leaf():\n    return three()\n",
    "package/side.py": "def function():\n    return 1\n\n\ndef two():\n    return 2\n\n\ndef three():\n    return 3\n",
    "package/late.py": "def function():\n    return 1\n",
    "bare/namespaced.py": "def function():\n    return 1\n",
    "bare/beside.py": "def function():\n    return 1\n",
}

Edit = tuple[str, str, str]  # file, old, new

COSMETIC: dict[str, Edit] = {
    "comment": ("pipeline.py", "# A comment.", "# Another one, longer."),
    "comment in a helper": ("helpers.py", "    return math.floor(x)", "    # Down.\n    return math.floor(x)"),
    "module docstring": ("pipeline.py", '"""A pipeline."""', '"""Something else."""'),
    "docstring": ("pipeline.py", '"""Train."""', '"""Train and\n    test.\n    """'),
    "docstring gone": ("pipeline.py", '    """Help."""\n', ""),
    "docstring of a class": ("pipeline.py", '    """A class."""\n\n', ""),
    "docstring added": ("package/side.py", "def three():\n", 'def three():\n    """Three."""\n'),
    "blank lines": ("pipeline.py", "    child = Child()", "\n\n    child = Child()"),
    "line breaks": ("pipeline.py", "    if (total > 1 and\n            total < 3):", "    if total > 1 and total < 3:"),
    "parentheses": ("pipeline.py", "return below(x) ** power", "return ((below(x)) ** (power))"),
    "quotes": ("pipeline.py", '"abc"', "'abc'"),
    "number style": ("pipeline.py", "COMPUTED = 60 * 60", "COMPUTED = 0x3C * 6_0"),
    "trailing comma": ("pipeline.py", "starred(), assist()", "starred(  ), assist()"),
    "semicolon": ("pipeline.py", "    child = Child()\n", "    child = Child();\n"),
    "annotation of a parameter": ("pipeline.py", "def below(x):", "def below(x: float) -> float:"),
    "annotation of the builder": ("pipeline.py", "rate: float = 0.1", "rate: 'float' = 0.1"),
    "annotation of a local": ("pipeline.py", "total: int = ", "total = "),
    "annotation of a constant": ("pipeline.py", "FACTOR = 3", "FACTOR: int = 3"),
    "order of imports": (
        "pipeline.py",
        "import functools\nimport collections\n",
        "import collections\nimport functools\n",
    ),
    "order of definitions": (
        "pipeline.py",
        "def below(x):\n    return x + FACTOR\n\n\ndef helper(x, power=2):\n"
        '    """Help."""\n    return below(x) ** power\n',
        'def helper(x, power=2):\n    """Help."""\n    return below(x) ** power\n\n\n'
        "def below(x):\n    return x + FACTOR\n",
    ),
    "unused function": ("pipeline.py", "return 7", "return 8"),
    "unused constant": ("pipeline.py", "UNUSED = 1", "UNUSED = 2"),
    "unused import": ("pipeline.py", "import functools\n", "import functools\nimport html\n"),
    "unused helper of another module": ("helpers.py", "return 3", "return 4"),
    "unused star": ("starry.py", "return 2", "return 3"),
    "default of a parameter, which is config": ("pipeline.py", "rate: float = 0.1", "rate: float = 0.2"),
    "default of an Exec parameter": ("pipeline.py", "workers: Exec[int] = 2", "workers: Exec[int] = 3"),
    "path of an output, which is config": ("pipeline.py", 'output("model")', 'output("other")'),
    "name of the stage, which is config": ("pipeline.py", 'name="model"', 'name="other"'),
    "script guard": ("pipeline.py", "UNUSED = 1", 'UNUSED = 1\nif __name__ == "__main__":\n    print(helper(2))'),
    "byte order mark": ("pipeline.py", '\n"""A pipeline."""', '\ufeff\n"""A pipeline."""'),
    "types for checkers only": (
        "pipeline.py",
        "UNUSED = 1",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from helpers import Root as helper",
    ),
}

SEMANTIC: dict[str, Edit] = {
    "body": ("pipeline.py", "values.append(text)", "values.append(text + 'x')"),
    "string": ("pipeline.py", '"abc"', '"abd"'),
    "operator": ("pipeline.py", "total < 3", "total <= 3"),
    "type of a number": ("pipeline.py", "total > 1", "total > 1.0"),
    "helper": ("pipeline.py", "below(x) ** power", "below(x) * power"),
    "helper of a helper": ("pipeline.py", "x + FACTOR", "x - FACTOR"),
    "default of a helper": ("pipeline.py", "power=2", "power=3"),
    "constant": ("pipeline.py", "FACTOR = 3", "FACTOR = 4"),
    "order of keys": ("pipeline.py", '{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
    "constant table": ("pipeline.py", '"a": 1', '"a": 2'),
    "computed constant": ("pipeline.py", "60 * 60", "60 * 61"),
    "constant that a loop fills": ("pipeline.py", "FILLED.append(number)", "FILLED.append(-number)"),
    "constant that is changed later": ("pipeline.py", 'ROWS["y"] = 2', 'ROWS["y"] = 3'),
    "order of two bindings": (
        "pipeline.py",
        'ROWS = dict(x=1)\nROWS["y"] = 2\n',
        'ROWS = {}\nROWS["y"] = 2\nROWS = dict(x=1)\n',
    ),
    "lambda": ("pipeline.py", 'row["a"]', 'row["b"]'),
    "inner lambda": ("pipeline.py", "lambda v: -v", "lambda v: v"),
    "conditional definition": (
        "pipeline.py",
        "def conditional():\n        return 1",
        "def conditional():\n        return 3",
    ),
    "call at the top of the module": ("pipeline.py", "tools.configure(level=1)", "tools.configure(level=2)"),
    "class constant": ("pipeline.py", "limit = 4", "limit = 5"),
    "class annotation": ("pipeline.py", "size: int = 5", "size: float = 5"),
    "method": ("pipeline.py", "self.inherited() + x", "self.inherited() - x"),
    "default of a method": ("pipeline.py", "x: int = 1", "x: int = 2"),
    "property": ("pipeline.py", "return 6", "return 7"),
    "base class": ("pipeline.py", "class Child(Base)", "class Child(Base, dict)"),
    "body of a base class": ("helpers.py", "flag = True", "flag = False"),
    "method of a base's base": (
        "helpers.py",
        "def inherited(self):\n        return 1",
        "def inherited(self):\n        return 2",
    ),
    "decorator": ("pipeline.py", "@decorate\n", ""),
    "decorator's argument": ("pipeline.py", "maxsize=None", "maxsize=1"),
    "decorator's body": ("helpers.py", "return function", "return lambda: 1"),
    "decorated function": ("pipeline.py", "return COMPUTED", "return -COMPUTED"),
    "from x import f": ("helpers.py", "math.floor(x)", "math.ceil(x)"),
    "from x import f, default": ("helpers.py", "def assist(x=1)", "def assist(x=2)"),
    "from x import f as g": ("helpers.py", "def renamed():\n    return 2", "def renamed():\n    return 3"),
    "import x; x.f()": ("tools.py", "def tool():\n    return 1", "def tool():\n    return 2"),
    "import x as y; y.f()": ("tools.py", "return LEVEL", "return -LEVEL"),
    "constant of another module": ("tools.py", "LEVEL = 0", "LEVEL = 1"),
    "function that a call at the top uses": ("tools.py", "LEVEL2 = level", "LEVEL2 = -level"),
    "import a.b as c": ("package/inner.py", "return 1", "return 2"),
    "import a.b; a.b.f()": ("package/other.py", "leaf.leaf()", "-leaf.leaf()"),
    "relative import of a module": ("package/side.py", "return 2", "return 3"),
    "relative import of a package": ("package/sub/leaf.py", "return three()", "return -three()"),
    "relative import from above": ("package/side.py", "return 3", "return 4"),
    "re-export": (
        "package/__init__.py",
        "from .inner import function as exported",
        "from .side import two as exported",
    ),
    "star import": ("starry.py", "def starred():\n    return 1", "def starred():\n    return 3"),
    "import inside of a function": ("lazy.py", "return deeper()", "return -deeper()"),
    "helper of what is imported inside": ("lazy.py", "def deeper():\n    return 1", "def deeper():\n    return 2"),
    "import a.b inside of a function": ("package/late.py", "return 1", "return 2"),
    "from a import b inside of a function": (
        "package/side.py",
        "def function():\n    return 1",
        "def function():\n    return 5",
    ),
    "folder without __init__, import a.b": ("bare/namespaced.py", "return 1", "return 2"),
    "folder without __init__, from a import b": ("bare/beside.py", "return 1", "return 2"),
    "what an installed module's name stands for": ("helpers.py", "import math", "import cmath as math"),
    "which module is imported": ("pipeline.py", "from bare import beside", "from package import side as beside"),
}


def write(folder: Path, *edits: Edit) -> Path:
    """The pipeline in a folder of its own, edited."""
    for name, text in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, old, new in edits:
            if file == name:
                assert text.count(old) >= 1, (file, old)
                text = text.replace(old, new, 1)
        path.write_text(text, encoding="utf-8")
    return folder


TRAIN = ("fingerprint", "pipeline", "train")


@pytest.fixture(scope="module")
def original(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> str:
    (found,) = workshop.experiment(write(tmp_path_factory.mktemp("original")), TRAIN)
    assert found.startswith("2:")
    return found


@pytest.mark.parametrize("edit", COSMETIC)
def test_a_cosmetic_edit_changes_nothing(edit: str, original: str, workshop: Workshop, tmp_path: Path) -> None:
    assert workshop.experiment(write(tmp_path, COSMETIC[edit]), TRAIN) == [original]


@pytest.mark.parametrize("edit", SEMANTIC)
def test_a_semantic_edit_changes_the_fingerprint(edit: str, original: str, workshop: Workshop, tmp_path: Path) -> None:
    (found,) = workshop.experiment(write(tmp_path, SEMANTIC[edit]), TRAIN)
    assert found.startswith("2:")
    assert found != original


def test_renaming_a_file_changes_nothing(original: str, workshop: Workshop, tmp_path: Path) -> None:
    write(
        tmp_path,
        ("pipeline.py", "import tools\nimport tools as kit", "import apparatus as tools\nimport apparatus as kit"),
        ("pipeline.py", "from helpers import", "from aides import"),
    )
    (tmp_path / "helpers.py").rename(tmp_path / "aides.py")
    (tmp_path / "tools.py").rename(tmp_path / "apparatus.py")
    (tmp_path / "pipeline.py").rename(tmp_path / "flow.py")
    assert workshop.experiment(tmp_path, ("fingerprint", "flow", "train")) == [original]


def test_two_functions_of_one_name_are_told_apart(workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def helper():\n    return 1\n\n\ndef first():\n    return helper()\n")
    (tmp_path / "two.py").write_text("def helper():\n    return 2\n\n\ndef second():\n    return helper()\n")
    body = "from one import first\nfrom two import second\n" + builder("str([first(), second()])")
    (tmp_path / "pipeline.py").write_text(body)
    (before,) = workshop.experiment(tmp_path, TRAIN)
    (tmp_path / "one.py").write_text("def helper():\n    return 2\n\n\ndef first():\n    return helper()\n")
    (tmp_path / "two.py").write_text("def helper():\n    return 1\n\n\ndef second():\n    return helper()\n")
    (after,) = workshop.experiment(tmp_path, TRAIN)
    assert before != after


def test_the_fingerprint_is_the_same_for_every_hash_seed_and_working_directory(
    original: str, workshop: Workshop, tmp_path: Path
) -> None:
    write(tmp_path)
    assert workshop.experiment(tmp_path, ("chdir", "/"), TRAIN) == [original]
    for seed in ("2", "random"):
        other = Workshop(PYTHONHASHSEED=seed)
        try:
            assert other.experiment(tmp_path, TRAIN) == [original]
        finally:
            other.close()


def test_declaring_imports_nothing(workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path)
    loaded = ("answer", "sorted({'lazy', 'package.late', 'package.sub'} & {*sys.modules})")
    assert workshop.experiment(tmp_path, TRAIN, loaded)[1] == "['package.sub']"


def test_a_package_that_is_imported_inside_of_a_function_stays_unloaded(workshop: Workshop, tmp_path: Path) -> None:
    body = builder("str(tool())", "    import wsgiref.util as tool\n    import xmlrpc.client\n")
    (tmp_path / "pipeline.py").write_text(body)
    before = ("run", "import sys; before = {*sys.modules}")
    loaded = ("answer", "[name for name in {*sys.modules} - before if name.startswith(('wsgiref', 'xmlrpc'))]")
    assert workshop.experiment(tmp_path, ("import", "pipeline"), before, TRAIN, loaded)[1:] == ["[]"]


def test_the_fingerprint_is_in_the_config(original: str, workshop: Workshop, tmp_path: Path) -> None:
    (dref,) = workshop.experiment(write(tmp_path), ("dref", "pipeline", "train"))
    config = (tmp_path / "store" / "store-v0" / dref.removeprefix("dref:") / "config.json").read_text()
    assert f'"code": "{original}"' in config


def test_code_run_as_a_module_of_a_package_follows_its_relative_imports(workshop: Workshop, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tool.py").write_text("def tool():\n    return 1\n")
    (package / "flow.py").write_text("from .tool import tool\n" + builder("str(tool())"))
    run = (
        "import runpy, types, sys\n"
        "import package\n"
        "main = sys.modules['__main__']\n"
        "main.__package__ = 'package'\n"
        "exec(compile(open('package/flow.py').read(), 'package/flow.py', 'exec'), vars(main))\n"
        "from stagedml.authoring.fingerprinted import fingerprint_of"
    )
    answer = ("answer", "fingerprint_of(main.train.builder)")
    (before,) = workshop.experiment(tmp_path, ("run", run), answer)
    (package / "tool.py").write_text("def tool():\n    return 2\n")
    (after,) = workshop.experiment(tmp_path, ("run", run), answer)
    assert before != after


# -- the code that runs ----------------------------------------------------------------------------------------------


def builder(value: str, lines: str = "", above: str = "", decorators: str = "") -> str:
    """The text of a stage that writes a value."""
    return f"""
from stagedml import Artifact, Build, RefPath, output, stage
{above}

class Model(Artifact):
    model: RefPath


@stage(Model, name="model")
{decorators}def train(build: Build, *, rate: float = 0.1, model: RefPath = output("model")) -> None:
{lines}    build.path(model).write_text({value})
"""


def edited(file: str, *edits: Edit) -> tuple[str, str, str]:
    """The step that writes a file of the pipeline anew, edited."""
    text = FILES[file]
    for name, old, new in edits:
        assert name == file
        assert old in text
        text = text.replace(old, new, 1)
    return ("write", file, text)


ABOUT_CONFIG = [name for name in COSMETIC if name.endswith("config")] + ["default of an Exec parameter"]
NOT_NOTICED_BEFORE_FIRST_READ = {
    "computed constant": "an expression is compared with text alone",
    "decorator": "a decorator leaves no trace in the code that it decorates",
    "decorator's argument": "as above",
    "base class": "as above",
    "class annotation": "as above",
    "re-export": "an import is compared with text alone",
    "what an installed module's name stands for": "an import is compared with text alone",
}
OWN = {name: edit for name, edit in SEMANTIC.items() if edit[0] == "pipeline.py"}
OTHER = {name: edit for name, edit in SEMANTIC.items() if edit[0] != "pipeline.py"}
NOT_LOADED = ("lazy.py", "package/late.py")


@pytest.mark.parametrize("edit", OWN)
def test_an_edit_of_the_loaded_module_is_refused(edit: str, workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path)
    (found,) = workshop.experiment(tmp_path, ("import", "pipeline"), edited("pipeline.py", OWN[edit]), TRAIN)
    assert found.startswith(f"SourceChanged: {tmp_path}/pipeline.py changed since it was imported")
    assert found.endswith("reload it or restart Python")


@pytest.mark.parametrize("edit", OTHER)
def test_an_edit_of_another_loaded_module_is_refused(edit: str, workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path)
    file = OTHER[edit][0]
    change = edited(file, OTHER[edit])
    first, again = workshop.experiment(tmp_path, ("import", "pipeline"), TRAIN, change, TRAIN)
    if file in NOT_LOADED:  # it will be loaded as it is now
        assert again.startswith("2:")
        assert again != first
    else:
        assert again.startswith(f"SourceChanged: {tmp_path}/{file} changed since it was imported")
    (unread,) = workshop.experiment(write(tmp_path), ("import", "pipeline"), change, TRAIN)
    if file not in NOT_LOADED and edit not in NOT_NOTICED_BEFORE_FIRST_READ:
        assert unread.startswith(f"SourceChanged: {tmp_path}/{file} changed since it was imported")


@pytest.mark.parametrize("edit", [name for name in COSMETIC if name not in ABOUT_CONFIG])
def test_a_cosmetic_edit_of_loaded_code_is_not_refused(
    edit: str, original: str, workshop: Workshop, tmp_path: Path
) -> None:
    write(tmp_path)
    change = edited(COSMETIC[edit][0], COSMETIC[edit])
    assert workshop.experiment(tmp_path, ("import", "pipeline"), change, TRAIN) == [original]
    write(tmp_path)
    assert workshop.experiment(tmp_path, ("import", "pipeline"), TRAIN, change, TRAIN) == [original, original]


@pytest.mark.parametrize("edit", ABOUT_CONFIG)
def test_an_edit_that_changes_the_config_alone_is_refused_until_it_is_loaded(
    edit: str, workshop: Workshop, tmp_path: Path
) -> None:
    change = edited(COSMETIC[edit][0], COSMETIC[edit])
    (found,) = workshop.experiment(write(tmp_path), ("import", "pipeline"), change, TRAIN)
    assert found.startswith(f"SourceChanged: {tmp_path}/pipeline.py changed since it was imported (train")


@pytest.mark.parametrize("file", ["pipeline.py", "helpers.py"])
def test_after_a_restart_an_edit_is_a_new_derivation(file: str, workshop: Workshop, tmp_path: Path) -> None:
    edit = SEMANTIC["helper" if file == "pipeline.py" else "from x import f"]
    declare = ("dref", "pipeline", "train")
    before, refused = workshop.experiment(write(tmp_path), declare, edited(file, edit), declare)
    assert refused.startswith(f"SourceChanged: {tmp_path}/{file}")
    (after,) = workshop.experiment(tmp_path, declare)
    assert after.startswith("dref:")
    assert after != before


def test_a_reload_is_as_good_as_a_restart(original: str, workshop: Workshop, tmp_path: Path) -> None:
    change = edited("helpers.py", SEMANTIC["from x import f"], SEMANTIC["decorator's body"])
    first, refused, again = workshop.experiment(
        write(tmp_path), TRAIN, change, TRAIN, ("reload", "helpers"), ("reload", "pipeline"), TRAIN
    )
    assert first == original
    assert refused.startswith("SourceChanged")
    assert again.startswith("2:")
    assert again != first
    assert workshop.experiment(tmp_path, TRAIN) == [again]


def test_a_reload_of_a_helper_alone_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    change = edited("helpers.py", SEMANTIC["from x import f"])
    answers = workshop.experiment(write(tmp_path), TRAIN, change, ("reload", "helpers"), TRAIN)
    assert re.search(r"pipeline.py changed .*\((\w+): it holds another \1 than helpers does", answers[1])


def test_an_edit_that_is_taken_back_is_fine(original: str, workshop: Workshop, tmp_path: Path) -> None:
    change = edited("helpers.py", SEMANTIC["from x import f"])
    first, refused, again = workshop.experiment(write(tmp_path), TRAIN, change, TRAIN, edited("helpers.py"), TRAIN)
    assert (first, again) == (original, original)
    assert refused.startswith("SourceChanged")


def test_source_that_does_not_parse_any_more_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path)
    (found,) = workshop.experiment(tmp_path, ("import", "pipeline"), ("write", "helpers.py", "def ("), TRAIN)
    assert found.startswith(f"SourceChanged: {tmp_path}/helpers.py")


def test_source_that_is_gone_is_an_error(workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path)
    (found,) = workshop.experiment(
        tmp_path, ("import", "pipeline"), ("run", "import os; os.remove('helpers.py')"), TRAIN
    )
    assert found.startswith("SourceUnavailable: the source of the module helpers")


def test_a_builder_without_source_is_an_error(workshop: Workshop, tmp_path: Path) -> None:
    answers = workshop.experiment(
        tmp_path,
        ("run", builder("'a'") + "\nfrom stagedml.authoring.fingerprinted import fingerprint_of"),
        ("answer", "fingerprint_of(train.builder)"),
    )
    assert answers == [
        "SourceUnavailable: the source of train (<string>) cannot be read; define it in a file or in a notebook cell"
    ]


# -- what a builder captures -----------------------------------------------------------------------------------------

FACTORY = """
import functools
import ast
import re
from pathlib import Path
from stagedml import Artifact, Build, RefPath, output, stage


class Model(Artifact):
    model: RefPath


def outside(x):
    return x


class Kind:
    limit = 1


def make(value):
    def inner(x):
        return x + 1

    @stage(Model, name="model")
    def train(build: Build, *, model: RefPath = output("model")) -> None:
        build.path(model).write_text(str(value) + str(inner(2)))

    return train


train = make(VALUE)
"""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "2"),
        ("'a'", "'b'"),
        ("1", "1.0"),
        ("1", "True"),
        ("[1, 2]", "[2, 1]"),
        ("(1, 2)", "[1, 2]"),
        ("{'a': [1]}", "{'a': [2]}"),
        ("None", "0"),
        ("{1, 2}", "{1, 3}"),
        ("outside", "Kind"),
        ("functools.partial(outside, 1)", "functools.partial(outside, 2)"),
        ("functools.partial(outside, x=1)", "functools.partial(outside, y=1)"),
    ],
)
def test_captured_data_counts_by_its_value(one: str, other: str, workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(FACTORY.replace("VALUE", one))
    (tmp_path / "other.py").write_text(FACTORY.replace("VALUE", other))
    first, second = workshop.experiment(tmp_path, ("fingerprint", "one", "train"), ("fingerprint", "other", "train"))
    assert first.startswith("2:")
    assert second.startswith("2:")
    assert first != second


@pytest.mark.parametrize(
    ("value", "edit"),
    [
        ("1", ("return x + 1", "return x + 2")),
        ("outside", ("return x\n", "return -x\n")),
        ("Kind", ("limit = 1", "limit = 2")),
        ("functools.partial(outside, 1)", ("return x\n", "return -x\n")),
        ("functools.lru_cache(outside)", ("return x\n", "return -x\n")),
    ],
)
def test_captured_code_is_followed(value: str, edit: tuple[str, str], workshop: Workshop, tmp_path: Path) -> None:
    text = FACTORY.replace("VALUE", value)
    (tmp_path / "one.py").write_text(text)
    (tmp_path / "other.py").write_text(text.replace(*edit))
    first, second = workshop.experiment(tmp_path, ("fingerprint", "one", "train"), ("fingerprint", "other", "train"))
    assert first.startswith("2:")
    assert second.startswith("2:")
    assert first != second


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("Path('x')", "a PosixPath"),
        ("re.compile('x')", "a Pattern"),
        ("object()", "an object"),
        ("Kind()", "a Kind"),
        ("[Kind()]", "a list"),
        ("Kind().__init__", "a method-wrapper"),
        ("[].append", "a builtin_function_or_method"),
        ("functools.partial(outside, Kind())", "a partial"),
    ],
)
def test_other_captured_objects_are_refused(value: str, kind: str, workshop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text(FACTORY.replace("VALUE", value))
    (found,) = workshop.experiment(tmp_path, ("fingerprint", "one", "train"))
    line = FACTORY[: FACTORY.index("@stage")].count("\n") + 1
    assert found == (
        f"UncoveredCapture: {tmp_path}/one.py:{line}: make.<locals>.train captures 'value', {kind}, "
        f"which no hash covers; make it a parameter of the stage"
    )


def test_a_builder_below_another_decorator_is_fingerprinted_with_it(workshop: Workshop, tmp_path: Path) -> None:
    above = "import functools\n\ndef twice(times):\n    def decorate(function):\n        @functools.wraps(function)\n"
    above += "        def run(*args, **kwargs):\n            return function(*args, **kwargs)\n        return run\n"
    above += "    return decorate\n"
    found = []
    for name, text in {
        "plain": builder("'a'", above=above),
        "two": builder("'a'", above=above, decorators="@twice(2)\n"),
        "three": builder("'a'", above=above, decorators="@twice(3)\n"),
        "body": builder(
            "'a'", above=above.replace("return function(", "return not function("), decorators="@twice(2)\n"
        ),
    }.items():
        (tmp_path / f"{name}.py").write_text(text)
        found += workshop.experiment(tmp_path, ("fingerprint", name, "train"))
    assert all(answer.startswith("2:") for answer in found), found
    assert len(set(found)) == 4


def test_an_assertion_that_pytest_rewrote_is_no_edit() -> None:
    @stage(Text, name="text")
    def builder(build: Build, *, word: str, shout: bool, text: RefPath = output("text")) -> None:
        assert word == "a", "rewritten"
        build.path(text).write_text(rewritten_helper(word))

    assert fingerprint_of(builder.builder).startswith("2:")


def rewritten_helper(word: str) -> str:
    assert word != "b"
    return word


# -- notebooks -------------------------------------------------------------------------------------------------------

NOTEBOOK = [
    "import math\nimport tools\nfrom stagedml import Artifact, Build, RefPath, output, stage",
    "class Model(Artifact):\n    model: RefPath",
    "FACTOR = 3\nclass Kind:\n    limit = 1",
    "import re\nPATTERN = re.compile('a')",
    "from helpers import assist\ndef helper(x):\n    '''Help.'''\n    return x * FACTOR + assist()",
    '@stage(Model, name="model")\ndef train(build: Build, *, model: RefPath = output("model")) -> None:\n'
    "    values = [helper(2), Kind.limit, PATTERN.pattern, tools.tool(), math.pi, FACTOR]\n"
    "    build.path(model).write_text(str(values))",
]
CELL = ("cell fingerprint", "train")


def cells(*more: str) -> list[tuple[str, str]]:
    return [("cell", text) for text in [*NOTEBOOK, *more]]


def test_cells_and_a_module_have_one_fingerprint(workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "notebook.py").write_text("\n\n\n".join(NOTEBOOK))
    (module,) = workshop.experiment(tmp_path, ("fingerprint", "notebook", "train"))
    (one_cell,) = workshop.experiment(tmp_path, ("cell", "\n\n\n".join(NOTEBOOK)), CELL)
    (many_cells,) = workshop.experiment(tmp_path, *cells(), CELL)
    assert module.startswith("2:")
    assert module == one_cell == many_cells


@pytest.mark.parametrize(
    "later",
    [
        "def helper(x):\n    return x",
        "helper = lambda x: x",
        "FACTOR = 4",
        "class Kind:\n    limit = 2",
        "Kind.limit = 2",
        "PATTERN = re.compile('b')",
        "def assist():\n    return 5",
        "import cmath as math",
        "import lazy as tools",
    ],
)
def test_what_a_later_cell_defines_anew_counts(later: str, workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path)
    before, after = workshop.experiment(tmp_path, *cells(), CELL, ("cell", later), CELL)
    assert before.startswith("2:")
    assert after.startswith("2:"), after
    assert before != after


@pytest.mark.parametrize(
    "later",
    [
        "1 + 1",
        "unused = 3",
        "# comment",
        "def other(x):\n    return train",
        "x = values = build = model = {}",
        *NOTEBOOK,
    ],
)
def test_a_later_cell_that_changes_nothing_changes_nothing(later: str, workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path)
    before, after = workshop.experiment(tmp_path, *cells(), CELL, ("cell", later), CELL)
    assert before.startswith("2:")
    assert after == before


def test_magics_and_futures_in_cells_are_no_edits(workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path)
    first, *others = NOTEBOOK
    outer = "def outer(x):\n    def nested(y: list[int] = []) -> None:\n        return y\n    return nested()\n"
    (found,) = workshop.experiment(
        tmp_path,
        ("cell", "from __future__ import annotations\n%pwd"),
        ("cell", "%time x = 1\n!true\n" + first),
        *(("cell", text) for text in others[:-1]),
        ("cell", "%pwd\n" + outer + others[-1].replace("[helper(2)", "[outer(1), helper(2)")),
        CELL,
    )
    assert found.startswith("2:")


def test_a_helper_module_edited_under_a_live_notebook_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path)
    change = edited("helpers.py", SEMANTIC["from x import f"])
    before, refused = workshop.experiment(tmp_path, *cells(), CELL, change, CELL)
    assert before.startswith("2:")
    assert refused.startswith(f"SourceChanged: {tmp_path}/helpers.py changed since it was imported (assist")
    (after,) = workshop.experiment(tmp_path, *cells(), CELL)
    assert after.startswith("2:")
    assert after != before


# -- normalised text, which must be the same on every Python ---------------------------------------------------------

NORMALISED = {
    "x = 1": "Assign(targets=[Name(id=str:'x',),],value=Constant(value=int:1,),)",
    "x: int = 1": "Assign(targets=[Name(id=str:'x',),],value=Constant(value=int:1,),)",
    "return_ = None": "Assign(targets=[Name(id=str:'return_',),],value=Constant(),)",
    "x = u'a'": "Assign(targets=[Name(id=str:'x',),],value=Constant(value=str:'a',),)",
    "x = a[1:2, ...]": "Assign(targets=[Name(id=str:'x',),],value=Subscript(value=Name(id=str:'a',),slice=Tuple(elts=["
    "Slice(lower=Constant(value=int:1,),upper=Constant(value=int:2,),),Constant(value=ellipsis:Ellipsis,),],),),)",
    "f'{a!r:>{b}}c'": "Expr(value=JoinedStr(values=[FormattedValue(value=Name(id=str:'a',),conversion=int:114,"
    "format_spec=JoinedStr(values=[Constant(value=str:'>',),FormattedValue(value=Name(id=str:'b',),"
    "conversion=int:-1,),],),),Constant(value=str:'c',),],),)",
    "{**a, 'b': -1j}": "Expr(value=Dict(keys=[NoneType:None,Constant(value=str:'b',),],values=[Name(id=str:'a',),"
    "UnaryOp(op=USub(),operand=Constant(value=complex:1j,),),],),)",
    "def f(a, /, b: int = 2, *c, d=3, e, **g) -> None:\n    '''Doc.'''\n    return a": "FunctionDef(name=str:'f',"
    "args=arguments(posonlyargs=[arg(arg=str:'a',),],args=[arg(arg=str:'b',),],vararg=arg(arg=str:'c',),kwonlyargs=["
    "arg(arg=str:'d',),arg(arg=str:'e',),],kw_defaults=[Constant(value=int:3,),NoneType:None,],kwarg=arg("
    "arg=str:'g',),defaults=[Constant(value=int:2,),],),body=[Return(value=Name(id=str:'a',),),],)",
    "class A(B, k=1):\n    'Doc.'\n    x: int = 1\n    if x:\n        y: str": "ClassDef(name=str:'A',bases=[Name("
    "id=str:'B',),],keywords=[keyword(arg=str:'k',value=Constant(value=int:1,),),],body=[AnnAssign(target=Name("
    "id=str:'x',),annotation=Name(id=str:'int',),value=Constant(value=int:1,),),If(test=Name(id=str:'x',),body=["
    "AnnAssign(target=Name(id=str:'y',),annotation=Name(id=str:'str',),),],),],)",
    "match a:\n    case [None, True, B(c=1), *_]:\n        pass": "Match(subject=Name(id=str:'a',),cases=[match_case("
    "pattern=MatchSequence(patterns=[MatchSingleton(),MatchSingleton(value=bool:True,),MatchClass(cls=Name("
    "id=str:'B',),kwd_attrs=[str:'c',],kwd_patterns=[MatchValue(value=Constant(value=int:1,),),],),MatchStar(),],),"
    "body=[Pass(),],),],)",
    "async def f():\n    async with a as b: await c\n    return [x async for x in y if x]": "AsyncFunctionDef("
    "name=str:'f',args=arguments(),body=[AsyncWith(items=[withitem(context_expr=Name(id=str:'a',),"
    "optional_vars=Name(id=str:'b',),),],body=[Expr(value=Await(value=Name(id=str:'c',),),),],),Return("
    "value=ListComp(elt=Name(id=str:'x',),generators=[comprehension(target=Name(id=str:'x',),iter=Name(id=str:'y',),"
    "ifs=[Name(id=str:'x',),],is_async=int:1,),],),),],)",
    "from ..a import b as c": "ImportFrom(module=str:'a',names=[alias(name=str:'b',asname=str:'c',),],level=int:2,)",
    "try:\n    pass\nexcept (A, B) as e:\n    raise C from e\nelse:\n    del x\nfinally:\n    global y": "Try(body=["
    "Pass(),],handlers=[ExceptHandler(type=Tuple(elts=[Name(id=str:'A',),Name(id=str:'B',),],),name=str:'e',body=["
    "Raise(exc=Name(id=str:'C',),cause=Name(id=str:'e',),),],),],orelse=[Delete(targets=[Name(id=str:'x',),],),],"
    "finalbody=[Global(names=[str:'y',],),],)",
}


@pytest.mark.parametrize("source", NORMALISED)
def test_normalised_source_is_the_same_on_every_python(source: str) -> None:
    (node,) = ast.parse(source).body
    assert fingerprint.normalised(node) == NORMALISED[source]
