"""Small projects of several files, and edits of them of which it is known whether they change what a stage makes.

A project is put together from pieces, each of one kind of Python construct, with numbers and the stages that use it
drawn at random. `NN` in the text of a piece is its number in the project, `<n>` a number drawn for it.
"""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

STAGES = ("one", "two", "three")
PIPELINE = "pipeline.py"


@dataclass(frozen=True)
class Piece:
    """One construct: its files, what the pipeline says at its top, and the value that stages make of it."""

    kind: str
    files: Mapping[str, str]  #: `a` is the module `kNN_a`
    top: str
    value: str
    semantic: tuple[tuple[str, str, str], ...]  #: (file, old, new), each of which changes the value
    cosmetic: tuple[tuple[str, str, str], ...] = ()


@dataclass(frozen=True)
class Edit:
    """One edit of a project's files."""

    kind: str
    files: Mapping[str, str]  #: all files, edited
    reached_by: frozenset[str]  #: the stages that use what is edited


def piece(kind: str, value: str, *edits: str, top: str = "", cosmetic: tuple[str, ...] = (), **files: str) -> Piece:
    """A piece whose edits are written `file: old -> new`; `top` is the pipeline's file."""
    return Piece(kind, files, top, value, tuple(map(_parsed, edits)), tuple(map(_parsed, cosmetic)))


def _parsed(edit: str) -> tuple[str, str, str]:
    file, rest = edit.split(": ", 1)
    old, new = rest.split(" -> ")
    return file, old, new


PIECES = (
    piece(
        "function",
        "fNN(3)",
        "a: x + <1> -> x - <1>",
        "a: y * <2> -> y * (<2> + 1)",
        "a: return y -> return -y",
        top="from kNN_a import fNN",
        a='def fNN(x):\n    """Doc."""\n    y = x + <1>  # note\n    return y * <2>\n',
        cosmetic=(
            "a: # note -> # another note",
            "a: Doc. -> Something else.",
            "a: def fNN(x): -> def fNN(x: int)->int:",
            "a: y = x -> y: float = x",
            "a: y * <2> -> ((y) * (<2>))",
            "a: y * <2> -> (\n        y\n        * <2>\n    )",
            "a: return y -> \n\n    return y",
        ),
    ),
    piece(
        "method through the MRO",
        "kNN_a.ChildNN().run(2)",
        "b: x + <1> -> x * 100 + <1>",
        "b: return self.shift(x) -> return -self.shift(x)",
        "a: (kNN_b.BaseNN) -> (kNN_b.OtherNN)",
        top="import kNN_a",
        a="import kNN_b\n\n\nclass ChildNN(kNN_b.BaseNN):\n    pass\n",
        b="class RootNN:\n    def shift(self, x):\n        return x + <1>\n\n\nclass BaseNN(RootNN):\n"
        "    def run(self, x):\n"
        "        return self.shift(x)\n\n\nclass OtherNN(BaseNN):\n    def shift(self, x):\n"
        "        return x + <1> + 5\n",
        cosmetic=(
            "b: def shift(self, x): -> def shift(self, x: 'int'):",
            "b: class RootNN: -> class RootNN:\n    # base",
            "a: pass -> '''A child.'''\n    pass",
        ),
    ),
    piece(
        "property",
        "kNN_a.KNN().size",
        "a: return self.base * 2 -> return self.base * 3",
        "a: base = <1> -> base = <1> + 1",
        top="import kNN_a",
        a="class KNN:\n    base = <1>\n\n    @property\n    def size(self):\n        return self.base * 2\n",
        cosmetic=("a: def size(self): -> def size(self) : # read", "a: base = <1> -> base = (<1>)"),
    ),
    piece(
        "default argument",
        "dNN(1)",
        "a: power=<1> -> power=<1> + 1",
        "a: scale=2 -> scale=3",
        top="from kNN_a import dNN",
        a="def dNN(x, power=<1>, *, scale=2):\n    return (x + power) * scale\n",
        cosmetic=("a: power=<1>, *, scale=2 -> power: int = <1>, *, scale: float = 2",),
    ),
    piece(
        "decorator",
        "gNN()",
        "a: times=2 -> times=3",
        "b: function() * times -> function() + times + 100",
        "a: @kNN_b.repeat(times=2)\n -> \n",
        top="from kNN_a import gNN",
        a="import kNN_b\n\n\n@kNN_b.repeat(times=2)\ndef gNN():\n    return <1> + 10\n",
        b="def repeat(times):\n    def decorate(function):\n        def run():\n            return function() * times\n"
        "        return run\n    return decorate\n",
        cosmetic=("a: times=2 -> times=(2)", "b: return run\n -> return run  # done\n"),
    ),
    piece(
        "closure",
        "addNN(1)",
        "top: kNN_a.make(<1>) -> kNN_a.make(<1> + 1)",
        "a: x + n -> x - n",
        top="import kNN_a\naddNN = kNN_a.make(<1>)",
        a="def make(n):\n    def inner(x):\n        return x + n\n    return inner\n",
        cosmetic=("a: def make(n): -> def make(n) :", "a: return inner -> return (inner)"),
    ),
    piece(
        "constant",
        "[kNN_a.SIZENN, kNN_a.TABLENN, list(kNN_a.ORDERNN)]",
        "a: SIZENN = <1> -> SIZENN = <1> + 1",
        "a: 'x': 1 -> 'x': 1.0",
        "a: {'p': 1, 'q': 2} -> {'q': 2, 'p': 1}",
        "a: 60 * 60 -> 60 * 61",
        top="import kNN_a",
        a="SIZENN = <1>\nTABLENN = {'x': 1, 'y': 60 * 60}\nORDERNN = {'p': 1, 'q': 2}\nIDLENN = 5\n",
        cosmetic=(
            "a: SIZENN = <1> -> SIZENN: int = <1>",
            "a: 60 * 60 -> 6_0 * 0x3c",
            "a: 'x': 1 -> \"x\": 1",
            "a: 'q': 2} -> 'q': 2,}",
            "a: IDLENN = 5 -> IDLENN = 6",
        ),
    ),
    piece(
        "dataclass field",
        "str(kNN_a.DNN())",
        "a: size: int = <1> -> size: int = <1> + 1",
        "a: name: str = 'n' -> name: str = 'm'",
        "a: frozen=True -> repr=False",
        "a: default_factory=list -> default_factory=dict",
        top="import kNN_a",
        a="from dataclasses import dataclass, field\n\n\n@dataclass(frozen=True)\nclass DNN:\n    size: int = <1>\n"
        "    name: str = 'n'\n    rest: object = field(default_factory=list)\n",
        cosmetic=("a: class DNN: -> class DNN:\n    '''Data.'''", "a: 'n' -> \"n\""),
    ),
    piece(
        "re-export",
        "kNN_a.outNN()",
        "a: import first as outNN -> import second as outNN",
        "b: return <1> -> return <1> + 1",
        top="import kNN_a",
        a="from kNN_b import first as outNN\n",
        b="def first():\n    return <1>\n\n\ndef second():\n    return 'second'\n",
        cosmetic=(
            "a: from kNN_b import first as outNN -> from kNN_b import (\n    first as outNN,\n)",
            "b: return 'second' -> return 'third'",
        ),
    ),
    piece(
        "relative import",
        "pNN.inner.leaf()",
        "pNN/side.py: return <1> -> return <1> + 1",
        "pNN/inner.py: return side() -> return [side()]",
        "pNN/inner.py: from .side import side -> from .side import other as side",
        top="import pNN.inner",
        **{
            "pNN/__init__.py": "",
            "pNN/inner.py": "from .side import side\n\n\ndef leaf():\n    return side()\n",
            "pNN/side.py": "def side():\n    return <1>\n\n\ndef other():\n    return 'other'\n",
        },
        cosmetic=("pNN/inner.py: from .side import side -> from .side import (side)",),
    ),
    piece(
        "partial",
        "partNN(2)",
        "top: functools.partial(kNN_a.h, <1>) -> functools.partial(kNN_a.h, <1> + 1)",
        "a: 10 * a -> 20 * a",
        top="import functools\nimport kNN_a\npartNN = functools.partial(kNN_a.h, <1>)",
        a="def h(a, b):\n    return 10 * a + b\n",
        cosmetic=("a: def h(a, b): -> def h(a, b,):",),
    ),
    piece(
        "lambda",
        "kNN_a.LNN(3)",
        "a: x + <1> -> x - <1>",
        "a: lambda x: -> lambda x, y=2: y *",
        top="import kNN_a",
        a="LNN = lambda x: x + <1>\n",
        cosmetic=("a: x + <1> -> (x + <1>)",),
    ),
    piece(
        "__init_subclass__",
        "[k.__name__ + str(k.rank) for k in kNN_a.Base.kinds]",
        "a: cls.rank = <1> -> cls.rank = <1> + 1",
        "b: class Sub -> class Sup",
        top="import kNN_a\nimport kNN_b",
        a="class Base:\n    kinds = []\n\n    def __init_subclass__(cls):\n        cls.rank = <1>\n"
        "        Base.kinds.append(cls)\n",
        b="import kNN_a\n\n\nclass Sub(kNN_a.Base):\n    pass\n",
        cosmetic=("b: pass -> pass  # nothing", "a: def __init_subclass__(cls): -> def __init_subclass__(cls) :"),
    ),
    piece(
        "class body",
        "[CNN.first, CNN.total, CNN.__annotations__]",
        "top: first = <1> -> first = <1> + 1",
        "top: sum([1, 2]) -> sum([1, 3])",
        "top: note: int -> note: float",
        top="class CNN:\n    first = <1>\n    total = sum([1, 2])\n    note: int",
        cosmetic=("top: sum([1, 2]) -> sum([1, 2,])", "top: first = <1> -> '''Doc.'''\n    first = <1>"),
    ),
    piece(
        "comprehension",
        "kNN_a.cNN()",
        "a: if x % 2 -> if x % 3",
        "a: x * <1> for -> x * <1> + 1 for",
        "a: range(7) -> range(8)",
        top="import kNN_a",
        a="def cNN():\n    return [x * <1> for x in range(7) if x % 2]\n",
        cosmetic=("a: if x % 2 -> if (x % 2)", "a: [x * <1> for x -> [\n        x * <1>\n        for x"),
    ),
    piece(
        "conditional import",
        "toolNN()",
        "b: return <1> -> return <1> + 1",
        "top: from kNN_b import tool as toolNN -> from kNN_a import tool as toolNN",
        top="try:\n    from nowhereNN import tool as toolNN\nexcept ImportError:\n    from kNN_b import tool as toolNN",
        a="def tool():\n    return 'a'\n",
        b="def tool():\n    return <1>\n",
        cosmetic=("b: return <1> -> return (<1>)",),
    ),
    piece(
        "star import",
        "kNN_a.starredNN()",
        "b: return <1> -> return <1> + 1",
        "a: from kNN_b import * -> from kNN_c import *",
        top="import kNN_a",
        a="from kNN_b import *\n",
        b="def starredNN():\n    return <1>\n\n\ndef unstarred():\n    return 1\n",
        c="def starredNN():\n    return 'c'\n",
        cosmetic=("b: unstarred():\n    return 1\n -> unstarred():\n    return 12345\n",),
    ),
    piece(
        "operator",
        "[kNN_a.oNN(x) for x in range(9)]",
        "a: x < 4 -> x <= 4",
        "a: and x -> or x",
        "a: x // 2 -> x / 2",
        "a: x >> 1 -> x << 1",
        "a: not -> bool",
        top="import kNN_a",
        a="def oNN(x):\n    return x < 4 and x, x // 2, x >> 1, not (x)\n",
        cosmetic=("a: return x < 4 and x, -> return (x < 4) and x,",),
    ),
    piece(
        "order of statements",
        "kNN_a.sNN()",
        "a:     xs.append(<1>)\n    xs.insert(0, 7) ->     xs.insert(0, 7)\n    xs.reverse()\n    xs.append(<1>)",
        "a:     xs.pop(0)\n    xs.sort() ->     xs.sort()\n    xs.pop(0)",
        "a: xs = [1] -> xs = [1, 1]",
        top="import kNN_a",
        a="def sNN():\n    xs = [1]\n    xs.append(<1>)\n    xs.insert(0, 7)\n"
        "    xs.pop(0)\n    xs.sort()\n    xs.append(5)\n    return xs\n",
        cosmetic=("a: xs = [1]\n -> xs = [1];\n", "a: xs = [1]\n -> xs: list[int] = [1]\n"),
    ),
    piece(
        "registry",
        "kNN_a.TNN['x']()",
        "b: return <1> -> return <1> + 1",
        "a: TNN[name] = function -> TNN[name] = lambda: [function()]",
        top="import kNN_a\nimport kNN_b",
        a="TNN = {}\n\n\ndef register(name):\n    def decorate(function):\n        TNN[name] = function\n"
        "        return function\n    return decorate\n",
        b="from kNN_a import register\n\n\n@register('x')\ndef anything():\n    return <1>\n",
        cosmetic=("b: 'x' -> \"x\"",),
    ),
    piece(
        "monkeypatching",
        "kNN_a.m()",
        "b: return <1> -> return <1> + 1",
        "b: kNN_a.m = other -> kNN_a.m = str",
        top="import kNN_a\nimport kNN_b",
        a="def m():\n    return 0\n",
        b="import kNN_a\n\n\ndef other():\n    return <1>\n\n\nkNN_a.m = other\n",
        cosmetic=("b: = other -> = (other)",),
    ),
    piece(
        "text",
        "kNN_a.tNN(<1>)",
        "a: {x:>5} -> {x:>6}",
        "a: {x + 1=} -> {x+1=}",
        "a: 'a\\n' -> 'a\\t'",
        "a: b'z' -> b'y'",
        top="import kNN_a",
        a="def tNN(x):\n    return f'{x:>5} {x + 1=}' + 'a\\n' + repr(b'z')\n",
        cosmetic=("a: 'a\\n' -> \"\"\"a\\n\"\"\"", "a: 'a\\n' -> 'a' '\\n'"),
    ),
    piece(
        "static and class methods",
        "[kNN_a.SNN.one(), kNN_a.SNN.two()]",
        "a: return <1> -> return <1> + 1",
        "a: cls.one() * 2 -> cls.one() * 3",
        top="import kNN_a",
        a="class SNN:\n    @staticmethod\n    def one():\n        return <1>\n\n    @classmethod\n    def two(cls):\n"
        "        return cls.one() * 2\n",
        cosmetic=("a: def two(cls): -> def two(cls) :",),
    ),
    piece(
        "control flow",
        "[kNN_a.wNN(x) for x in range(5)]",
        "a: x -= 1 -> x -= 2",
        "a: except KeyError -> except (KeyError, ZeroDivisionError)",
        "a: case 3 -> case 2",
        top="import kNN_a",
        a="def wNN(x):\n    n = 0\n    match x:\n        case 3:\n            return 'three'\n"
        "    while x > 0:\n        x -= 1\n"
        "        n += <1>\n    try:\n        return n / x\n    except KeyError:\n        return 'key'\n"
        "    except ZeroDivisionError:\n        return n\n    except Exception as e:\n        return e\n",
        cosmetic=("a: n = 0\n -> n = 0  # so far\n",),
    ),
    piece(
        "generator",
        "list(kNN_a.yNN(3))",
        "a: yield x * <1> -> yield x * <1> + 1",
        "a: yield from (8, 9) -> yield from (9, 8)",
        "a: range(n) -> range(1, n)",
        top="import kNN_a",
        a="def yNN(n):\n    for x in range(n):\n        yield x * <1>\n    yield from (8, 9)\n",
        cosmetic=("a: (8, 9) -> (8, 9,)", "a: yield x * <1> -> yield (x * <1>)"),
    ),
    piece(
        "enumeration",
        "[(kind.name, kind.value) for kind in kNN_a.ENN]",
        "a: A = <1> -> A = <1> + 1",
        "a:     A = <1>\n    B = 2 ->     B = 2\n    A = <1>",
        "a: B = 2 -> C = 2",
        top="import kNN_a",
        a="import enum\n\n\nclass ENN(enum.Enum):\n    A = <1>\n    B = 2\n",
        cosmetic=("a: B = 2 -> B = 0b10", "a: B = 2 -> B = 2  # second"),
    ),
    piece(
        "context manager",
        "kNN_a.runNN()",
        "a: log.append(<1>) -> log.append(<1> + 1)",
        "a: log.append('out') -> log.append('OUT')",
        "a: log.append('in') -> pass",
        top="import kNN_a",
        a="import contextlib\n\n\n@contextlib.contextmanager\ndef aroundNN(log):\n    log.append(<1>)\n    yield log\n"
        "    log.append('out')\n\n\ndef runNN():\n    with aroundNN([]) as log:\n        log.append('in')\n"
        "    return log\n",
        cosmetic=("a: 'out' -> \"out\"", "a: with aroundNN([]) as log: -> with (aroundNN([])) as log:"),
    ),
    piece(
        "module's __getattr__",
        "kNN_a.anything",
        "a: return <1>, name -> return <1> + 1, name",
        "a: name.upper() -> name.title()",
        top="import kNN_a",
        a="def __getattr__(name):\n    name = name.upper()\n    return <1>, name\n",
        cosmetic=("a: return <1>, name -> return (<1>, name)",),
    ),
    piece(
        "arguments",
        "[kNN_a.aNN(1, 2, k=3), kNN_a.aNN(4)]",
        "a: *rest, k=<1> -> *rest, k=<1> + 1",
        "a: len(rest) -> sum(rest)",
        "a: sorted(more) -> list(more) + [1]",
        top="import kNN_a",
        a="def aNN(x, *rest, k=<1>, **more):\n    return x, len(rest), k, sorted(more)\n",
        cosmetic=("a: def aNN(x, *rest, -> def aNN(\n    x,\n    *rest,",),
    ),
    piece(
        "getattr by text",
        "[getattr(kNN_a, 'litNN')(), getattr(kNN_a, 'li' + 'tNN')()]",
        "a: return <1> -> return <1> + 1",
        top="import kNN_a",
        a="def litNN():\n    return <1>\n",
        cosmetic=("a: return <1> -> return (\n        <1>\n    )",),
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Project:
    """Some pieces, and which stages use them."""

    pieces: tuple[tuple[int, Piece, frozenset[str]], ...]
    numbers: Mapping[str, str]

    def filled(self, number: int, text: str) -> str:
        """The text of a piece with its numbers."""
        text = re.sub(r"<(\d)>", lambda match: self.numbers[f"{number}.{match[1]}"], text)
        return text.replace("NN", str(number))

    def file(self, number: int, name: str) -> str:
        """The path of a piece's file."""
        name = name.replace("NN", str(number))
        return name if name.endswith(".py") else f"k{number}_{name}.py"

    @property
    def files(self) -> dict[str, str]:
        """All files as they are at first."""
        found = {PIPELINE: self._pipeline()}
        for number, one, _ in self.pieces:
            for name, text in one.files.items():
                found[self.file(number, name)] = self._with_idle(self.filled(number, text))
        return found

    @staticmethod
    def _with_idle(text: str) -> str:
        return f"{text}\n\ndef idle(x):\n    return x\n"

    def _pipeline(self) -> str:
        tops = "\n".join(self.filled(number, one.top) for number, one, _ in self.pieces)
        text = f"from stagedml import Artifact, Build, RefPath, output, stage\n{tops}\n\n\nclass Model(Artifact):\n"
        text += "    model: RefPath\n\n\n"
        for name in STAGES:
            values = "".join(
                f"        {self.filled(number, one.value)},\n"
                for number, one, used_by in self.pieces
                if name in used_by
            )
            text += f"def make_{name}():\n    return [\n{values}    ]\n\n\n"
            text += (
                f'@stage(Model, name="{name}")\n'
                f'def {name}(build: Build, *, model: RefPath = output("model")) -> None:\n'
                f"    build.path(model).write_text(str(make_{name}()))\n\n\n"
            )
        return self._with_idle(text.rstrip("\n") + "\n")

    def semantic(self) -> Iterator[Edit]:
        """Edits that change what the stages make that use them."""
        return self._edits(of=lambda one: one.semantic)

    def cosmetic(self, rng: random.Random) -> Iterator[Edit]:
        """Edits that change nothing: those of the pieces, and some that suit any file but those that count whole."""
        yield from self._edits(of=lambda one: one.cosmetic)
        whole = [f"k{number}_a.py" for number, one, _ in self.pieces if one.kind == "getattr by text"]
        names = [name for name in self.files if not name.endswith("__init__.py") and name not in whole]
        for kind, change in ANYWHERE.items():
            name = rng.choice(names)
            changed = change(self.files[name])
            assert changed != self.files[name], (kind, name)
            yield Edit(kind, {**self.files, name: changed}, frozenset())
        name = rng.choice(names)
        yield Edit(
            "written anew by ast.unparse", {**self.files, name: ast.unparse(ast.parse(self.files[name]))}, frozenset()
        )

    def _edits(self, of: Callable[[Piece], tuple[tuple[str, str, str], ...]]) -> Iterator[Edit]:
        for number, one, used_by in self.pieces:
            for file, old, new in of(one):
                name = PIPELINE if file == "top" else self.file(number, file)
                before, after = self.filled(number, old), self.filled(number, new)
                text = self.files[name]
                assert before in text, (one.kind, file, before)
                changed = text.replace(before, after, 1)
                if changed != text:
                    yield Edit(f"{one.kind}: {old!r} -> {new!r}", {**self.files, name: changed}, used_by)


IDLE = "def idle(x):\n    return x\n"
ANYWHERE: Mapping[str, Callable[[str], str]] = {
    "comment at the top": lambda text: "# A comment.\n" + text,
    "docstring of the module": lambda text: '"""About."""\n' + text,
    "blank lines": lambda text: text.replace("\n", "\n\n\n", 1),
    "blanks at the ends of lines": lambda text: text.replace(":\n", ":   \n"),
    "edit of an unrelated definition": lambda text: text.replace(IDLE, IDLE.replace("return x", "return -x")),
    "unrelated definition renamed": lambda text: text.replace("def idle(", "def lazy("),
    "unrelated definition removed": lambda text: text.replace(IDLE, ""),
    "unrelated function added": lambda text: text + "\n\ndef added(x):\n    return idle(x)\n",
    "unrelated class added": lambda text: text + "\n\nclass Added:\n    idle = 1\n",
    "unrelated constant added": lambda text: text + "\nADDED = [1, 2]\n",
    "unrelated import added": lambda text: "import html\n" + text,
    "definition moved to the top": lambda text: IDLE + "\n\n" + text.replace(IDLE, ""),
    "guard added": lambda text: text + '\n\nif __name__ == "__main__":\n    idle(1)\n',
    "lines end otherwise": lambda text: text.replace("\n", "\r\n"),
    "tabs": lambda text: text.replace("    ", "\t"),
    "annotations of a signature": lambda text: text.replace("def idle(x):", "def idle(x: int) -> int:"),
}  # fmt: skip


def projects(count: int, seed: int = 1) -> list[Project]:
    """Projects that together have every piece, each with numbers and users of its own."""
    rng = random.Random(seed)
    order = list(PIECES)
    rng.shuffle(order)
    found = []
    for index in range(count):
        numbers: dict[str, str] = {}
        pieces = []
        for number, one in enumerate(order[index::count]):
            used_by = frozenset(rng.sample(STAGES, rng.choice((1, 1, 2))))
            pieces.append((number, one, used_by))
            numbers |= {f"{number}.{digit}": str(rng.randint(11, 99)) for digit in range(1, 10)}
        found.append(Project(tuple(pieces), numbers))
    return found
