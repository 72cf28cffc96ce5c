"""Code that its source does not spell out: followed, so that an edit counts, or told, with file and line."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from authoring.test_fingerprint import TRAIN, builder
from authoring.workshop import Workshop

HELPERS = "def f():\n    return 1\n\n\ndef g():\n    return 2\n\n\nTABLE = {}\n"


@dataclass(frozen=True)
class Trap:
    """A pipeline, and an edit of what it reaches."""

    value: str  #: what the builder writes
    edit: tuple[str, str, str] = ("helpers.py", "return 1", "return 9")
    above: str = "import helpers\n"
    lines: str = ""
    files: dict[str, str] = field(default_factory=dict)
    told: tuple[str, ...] = ()


#: An edit of what these reach changes the fingerprint, and nothing is told.
FOLLOWED = {
    "getattr of a literal": Trap("str(getattr(helpers, 'f')())"),
    "getattr of a literal, then an attribute": Trap(
        "str(getattr(package, 'inner').f())",
        above="import package.inner\n",
        files={"package/__init__.py": "", "package/inner.py": HELPERS},
        edit=("package/inner.py", "return 1", "return 9"),
    ),
    "getattr of a literal with a default": Trap(
        "str(getattr(helpers, 'missing', other)())",
        above="import helpers\nmissing = 1\ndef other():\n    return 5\n",
        edit=("pipeline.py", "return 5", "return 6"),
        files={"helpers.py": HELPERS + "if not TABLE:\n    missing = f\n"},
    ),
    "getattr of a computed name": Trap("str(getattr(helpers, chr(102))())"),
    "getattr of a module in a variable": Trap(
        "str(call(helpers, chr(102)))", above="import helpers\ndef call(x, name):\n    return getattr(x, name)()\n"
    ),
    "getattr of self": Trap(
        "str(Kind().run('f'))",
        above="class Kind:\n    def run(self, name):\n        return getattr(self, name)()\n"
        "    def f(self):\n        return 1\n",
        edit=("pipeline.py", "return 1", "return 9"),
    ),
    "vars of a module": Trap("str(vars(helpers)['f']())"),
    "__dict__ of a module": Trap("str(helpers.__dict__['f']())"),
    "locals": Trap("str(locals()['x'])", lines="    x = helpers.f()\n"),
    "globals": Trap("str(globals()['f']())", above="from helpers import f\n"),
    "import_module of a literal": Trap(
        "str(importlib.import_module('helpers').f())", above="import importlib\n"
    ),
    "__import__ of a literal": Trap("str(__import__('helpers').f())", above=""),
    "sys.modules of a literal": Trap("str(sys.modules['helpers'].f())", above="import sys\nimport helpers\n"),
    "monkeypatching at the top": Trap("str(helpers.f())", above="import helpers\nhelpers.f = lambda: 3\n",
        edit=("pipeline.py", "lambda: 3", "lambda: 4")),
    "monkeypatching with setattr": Trap("str(helpers.f())", above="import helpers\nsetattr(helpers, 'f', lambda: 3)\n",
        edit=("pipeline.py", "lambda: 3", "lambda: 4")),
    "monkeypatching in another module": Trap("str(helpers.f())", above="import helpers\nimport patches\n",
        files={"patches.py": "import helpers\ndef other():\n    return 3\nhelpers.f = other\n"},
        edit=("patches.py", "return 3", "return 4")),
    "monkeypatching in a module that a module imports": Trap("str(f())", above="from helpers import f\nimport outer\n",
        files={"outer.py": "import patches\n", "patches.py": "import helpers\nhelpers.g = lambda: 3\n",
               "helpers.py": HELPERS.replace("return 1", "return g()")},
        edit=("patches.py", "lambda: 3", "lambda: 4")),
    "monkeypatching by a function that is called": Trap("str(helpers.f())", above="import helpers\nimport patches\n",
        files={"patches.py": "import helpers\ndef install():\n    helpers.f = lambda: 3\ninstall()\n"},
        edit=("patches.py", "lambda: 3", "lambda: 4"),
        told=("patches.py:3: helpers.f = ... (changes what others build later)",)),
    "monkeypatching of a method": Trap("str(helpers.Kind().f())", above="import helpers\nimport patches\n",
        files={"helpers.py": "class Kind:\n    def f(self):\n        return 1\n",
               "patches.py": "from helpers import Kind\ndef f(self):\n    return 3\nKind.f = f\n"},
        edit=("patches.py", "return 3", "return 4")),
    "a table that another module fills": Trap("str(helpers.TABLE['a']())", above="import helpers\nimport patches\n",
        files={"patches.py": "from helpers import TABLE\ndef a():\n    return 3\nTABLE['a'] = a\n"},
        edit=("patches.py", "return 3", "return 4")),
    "a table that a decorator fills": Trap("str(helpers.TABLE['a']())", above="import helpers\nimport patches\n",
        files={"helpers.py": "TABLE = {}\ndef register(x):\n    TABLE[x.__name__] = x\n    return x\n",
               "patches.py": "import helpers\n@helpers.register\ndef a():\n    return 3\n"},
        edit=("patches.py", "return 3", "return 4")),
    "a table that a decorator fills, in the same module": Trap("str(TABLE['a']())",
        above="TABLE = {}\ndef register(name):\n    def inner(x):\n        TABLE[name] = x\n        return x\n"
              "    return inner\n@register('a')\ndef b():\n    return 3\n",
        edit=("pipeline.py", "return 3", "return 4")),
    "a registry object": Trap("str(R.items['a']())", above="class Registry:\n    def __init__(self):\n"
        "        self.items = {}\n    def register(self, x):\n        self.items[x.__name__] = x\n        return x\n"
        "R = Registry()\n@R.register\ndef a():\n    return 3\n", edit=("pipeline.py", "return 3", "return 4")),
    "a registry under another name": Trap("str(helpers.TABLE['a']())", above="import helpers\nimport patches\n",
        files={"helpers.py": "TABLE = {}\ndef register(x):\n    TABLE[x.__name__] = x\n    return x\nadd = register\n",
               "patches.py": "import helpers\nput = helpers.add\n@put\ndef a():\n    return 3\n"},
        edit=("patches.py", "return 3", "return 4")),
    "a table under another name": Trap("str(helpers.TABLE['a']())", above="import helpers\nimport patches\n",
        files={"patches.py": "import helpers\nT = helpers.TABLE\nT['a'] = lambda: 3\n"},
        edit=("patches.py", "lambda: 3", "lambda: 4")),
    "a registry that is called": Trap("str(R.items['a']())", above="class Registry:\n    def __init__(self):\n"
        "        self.items = {}\n    def __call__(self, x):\n        self.items[x.__name__] = x\n        return x\n"
        "R = Registry()\n@R\ndef a():\n    return 3\n", edit=("pipeline.py", "return 3", "return 4")),
    "singledispatch": Trap("str(f(1))", above="import functools\n@functools.singledispatch\ndef f(x):\n    return 1\n"
        "@f.register\ndef _(x: int):\n    return 3\n", edit=("pipeline.py", "return 3", "return 4")),
    "singledispatch, the annotation": Trap("str(f(1))", above="import functools\n@functools.singledispatch\n"
        "def f(x):\n    return 1\n@f.register\ndef _(x: int):\n    return 3\n",
        edit=("pipeline.py", "x: int", "x: str")),
    "__init_subclass__": Trap("str(helpers.Base.kinds['A']().f())", above="import helpers\nimport patches\n",
        files={"helpers.py": "class Base:\n    kinds = {}\n    def __init_subclass__(cls):\n"
                             "        Base.kinds[cls.__name__] = cls\n",
               "patches.py": "from helpers import Base\nclass A(Base):\n    def f(self):\n        return 3\n"},
        edit=("patches.py", "return 3", "return 4")),
    "__init_subclass__ of a base's base": Trap("str(Base.kinds['A']().f())",
        above="class Base:\n    kinds = {}\n    def __init_subclass__(cls):\n        cls.kinds[cls.__name__] = cls\n"
              "class Middle(Base):\n    pass\nclass A(Middle):\n    def f(self):\n        return 3\n",
        edit=("pipeline.py", "return 3", "return 4")),
    "__init_subclass__ itself": Trap("str(A.size)", above="class Base:\n    def __init_subclass__(cls):\n"
        "        cls.size = 3\nclass A(Base):\n    pass\n", edit=("pipeline.py", "size = 3", "size = 4")),
    "a metaclass": Trap("str(KINDS['A'].f)", above="KINDS = {}\nclass Meta(type):\n"
        "    def __init__(cls, *rest):\n        KINDS[cls.__name__] = cls\nclass A(metaclass=Meta):\n    f = 3\n",
        edit=("pipeline.py", "f = 3", "f = 4")),
    "a decorator": Trap("str(h())", above="import helpers\ndef twice(x):\n    return lambda: [x(), helpers.f()]\n"
        "@twice\ndef h():\n    return 1\n"),
    "a closure": Trap("str(h())",
        above="import helpers\ndef make(x):\n    def inner():\n        return x()\n"
        "    return inner\nh = make(helpers.f)\n"),
    "a re-export": Trap("str(package.f())", above="import package\n",
        files={"package/__init__.py": "from .inner import *\n",
        "package/inner.py": HELPERS}, edit=("package/inner.py", "return 1", "return 9")),
    "an annotation in a class": Trap("str(Kind.__annotations__)", above="class Kind:\n    a: int\n",
        edit=("pipeline.py", "a: int", "a: str")),
    "f-string with =": Trap("f'{1+1=}'", edit=("pipeline.py", "{1+1=}", "{1 + 1=}")),
    "a conditional import, first": Trap("str(f())", above="try:\n    from helpers import f\nexcept ImportError:\n"
        "    from slow import f\n", files={"slow.py": HELPERS}),
    "a conditional import, second": Trap("str(f())", above="try:\n    from nowhere import f\nexcept ImportError:\n"
        "    from slow import f\n", files={"slow.py": HELPERS}, edit=("slow.py", "return 1", "return 9")),
    "a conditional import in a function": Trap("str(f())", above="", lines="    try:\n        from helpers import f\n"
        "    except ImportError:\n        from slow import f\n", files={"slow.py": HELPERS}),
    "a module's __getattr__": Trap("str(helpers.lazy)", files={"helpers.py": "def __getattr__(name):\n    return 1\n"}),
    "a global that a call sets": Trap("str(helpers.LEVEL)", above="import helpers\nhelpers.configure(3)\n",
        files={"helpers.py": "LEVEL = 0\ndef configure(x):\n    global LEVEL\n    LEVEL = x\n"},
        edit=("pipeline.py", "configure(3)", "configure(4)")),
    "a global that a call in another module sets": Trap("str(helpers.LEVEL)", above="import helpers\nimport patches\n",
        files={"helpers.py": "LEVEL = 0\ndef configure(x):\n    global LEVEL\n    LEVEL = x\n",
               "patches.py": "import helpers\nhelpers.configure(3)\n"},
        edit=("patches.py", "configure(3)", "configure(4)")),
    "the order of a dict's keys": Trap("str(list(T))", above="T = {'a': 1, 'b': 2}\n",
        edit=("pipeline.py", "{'a': 1, 'b': 2}", "{'b': 2, 'a': 1}")),
    "a class in a class method that is captured": Trap("",
        edit=("pipeline.py", "size = 3", "size = 4"),
        files={"pipeline.py": "class Kind:\n    size = 3\n    @classmethod\n    def make(cls):\n"
               "        return cls.size\n"
               "def outer(value):" + builder("str(value())").replace("\n", "\n    ") + "\n    return train\n"
               "train = outer(Kind.make)\n"}),
    **{
        f"{name} that is captured, {where}": Trap("", edit=(f"{where}.py", "= 1", "= 2"), files={
            "conf.py": text if where == "conf" else "",
            "pipeline.py": (f"from conf import {value.partition('.')[0]}\n" if where == "conf" else text)
            + "def outer(value):" + builder("str(value)").replace("\n", "\n    ") + "\n    return train\n"
            f"train = outer({value})\n"})
        for where in ("conf", "pipeline")
        for name, value, text in [
            ("a dataclass", "Conf", "import dataclasses\n@dataclasses.dataclass\nclass Conf:\n    a: int = 1\n"),
            ("an enum", "Kind", "import enum\nclass Kind(enum.Enum):\n    A = 1\n"),
            ("an enum's member", "Kind.A", "import enum\nclass Kind(enum.Enum):\n    A = 1\n"),
            ("a named tuple", "Row", "import typing\nclass Row(typing.NamedTuple):\n    x: int = 1\n"),
            ("a tuple of names", "Row",
             "import collections\nfew = 1\nRow = collections.namedtuple('Row', 'x y', defaults=[few])\n"),
            ("a class with methods of a package", "Kind",
             "import json\nclass Kind(json.JSONEncoder):\n    default = json.JSONEncoder.encode\n    a = 1\n"),
        ]
    },
    "a name that a function binds with global": Trap("str(V)", edit=("pipeline.py", "V = 1", "V = 2"),
        above="def init():\n    global V\n    V = 1\ninit()\n"),
    "a name that a call of a function binds with global": Trap("str(V)", edit=("pipeline.py", "init(1)", "init(2)"),
        above="def init(x):\n    global V\n    V = x\ninit(1)\n"),
    "a name of a module that a function binds with global": Trap("str(helpers.V)",
        edit=("helpers.py", "V = 1", "V = 2"),
        files={"helpers.py": "def init():\n    global V\n    V = 1\ninit()\n"}),
    "a name that globals() is given": Trap("str(V)", edit=("pipeline.py", "= 1", "= 2"),
        above="globals()['V'] = 1\n"),
    "a name of a module that globals() is given": Trap("str(helpers.V)", edit=("helpers.py", "= 1", "= 2"),
        files={"helpers.py": "globals()['V'] = 1\n"}),
    "vars of a module that is updated": Trap("str(helpers.V)", edit=("pipeline.py", "V=5", "V=6"),
        above="import helpers\nvars(helpers).update(V=5)\n", files={"helpers.py": "V = 1\n"}),
    "vars of a module that is written": Trap("str(helpers.V)", edit=("pipeline.py", "= 5", "= 6"),
        above="import helpers\nvars(helpers)['V'] = 5\n", files={"helpers.py": "V = 1\n"}),
    "__dict__ of a module that is updated": Trap("str(helpers.V)", edit=("patches.py", "V=5", "V=6"),
        above="import helpers, patches\n", files={"helpers.py": "V = 1\n",
        "patches.py": "import helpers\nhelpers.__dict__.update(V=5)\n"}),
    "which member of an enum is captured": Trap("", edit=("pipeline.py", "outer(Kind.A)", "outer(Kind.B)"), files={
        "pipeline.py": "import enum\nclass Kind(enum.Enum):\n    A = 1\n    B = 2\ndef outer(value):"
        + builder("str(value)").replace("\n", "\n    ") + "\n    return train\ntrain = outer(Kind.A)\n"}),
    "a default of an inner function": Trap("", edit=("pipeline.py", "outer(3)", "outer(4)"), files={
        "pipeline.py": "def outer(n):\n    def inner(x=n):\n        return x\n" + builder("str(inner())").replace(
            "\n", "\n    ") + "\n    return train\ntrain = outer(3)\n"}),
}  # fmt: skip

#: What these reach cannot be said; the text is what is told, after the file and the line.
FOLLOWED["annotations of a class that become text"] = Trap(
    "str(helpers.Kind.__annotations__)",
    files={"helpers.py": "import json\nclass Kind:\n    a: int\n"},
    edit=("helpers.py", "import json", "from __future__ import annotations"),
)
#: What modules do on import, beside the code of a builder; an edit of it may change what any code does.
FOLLOWED |= {
    f"{what}, on import": Trap("str(helpers.f())", above="import helpers\nimport patches\n",
        files={"patches.py": text, "helpers.py": HELPERS + "CONFIG = type('C', (), {})()\ndef config():\n"
               "    return CONFIG\n" + "def f():\n    return getattr(CONFIG, 'step', 1)\n"},
        edit=("patches.py", *edit))
    for what, text, edit in [
        ("a seed", "import numpy as np\nnp.random.seed(1)\n", ("seed(1)", "seed(2)")),
        ("a seed in a function", "def seed():\n    import numpy as np\n    np.random.seed(1)\nseed()\n",
         ("seed(1)", "seed(2)")),
        ("a function of a package", "import numpy\nnumpy.mean = lambda x: 1\n", (": 1", ": 2")),
        ("a function of a package, with setattr", "import numpy\nsetattr(numpy, 'mean', lambda x: 1)\n",
         (": 1", ": 2")),
        ("a function of the standard library", "import textwrap\ntextwrap.fill = lambda x: '1'\n", ("'1'", "'2'")),
        ("print options", "from numpy import set_printoptions\nset_printoptions(precision=1)\n", ("=1", "=2")),
        ("an error state that is kept", "import numpy as np\nold = np.seterr(all='warn')\n", ("warn", "raise")),
        ("the decimal context", "import decimal\ndecimal.getcontext().prec = 4\n", ("4", "5")),
        ("the decimal context, with a name", "import decimal\nc = decimal.getcontext()\nc.prec = 4\n", ("4", "5")),
        ("a codec", "import codecs\ndef find(name):\n    return None\ncodecs.register(find)\n", ("None", "1")),
        ("a name in builtins", "import builtins\nbuiltins.LIMIT = 1\n", ("= 1", "= 2")),
        ("the environment", "import os\nos.environ['TF_XLA_FLAGS'] = '1'\n", ("'1'", "'2'")),
        ("a loop over objects", "import helpers\nfor c in (helpers.CONFIG,):\n    c.step = 1\n", ("= 1", "= 2")),
        ("another name in a function", "import helpers\ndef go():\n    c = helpers.CONFIG\n    c.step = 1\ngo()\n",
         ("= 1", "= 2")),
        ("what a function gives out", "import helpers\nhelpers.config().step = 1\n", ("= 1", "= 2")),
        ("what a function gives out, with a name", "import helpers\ndef go():\n    c = helpers.config()\n"
         "    c.step = 1\ngo()\n", ("= 1", "= 2")),
        ("a context", "import contextlib, helpers\nwith contextlib.nullcontext(helpers.CONFIG) as c:\n"
         "    c.step = 1\n", ("= 1", "= 2")),
    ]
}  # fmt: skip
#: What modules do on import that changes no result.
ASIDE = {
    "the level of logging": ("import logging\nlogging.getLogger('x').setLevel(30)\n", ("30", "40")),
    "basic logging": ("import logging\nlogging.basicConfig(level=30)\n", ("30", "40")),
    "a filter of warnings": ("import warnings\nwarnings.simplefilter('ignore')\n", ("ignore", "once")),
    "where modules are looked for": ("import sys\nsys.path.append('/a')\n", ("/a", "/b")),
    "an array of its own": ("import numpy as np\ndef go():\n    a = np.zeros(3)\n    a[0] = 1\n    return a\n"
                            "A = go()\n", ("= 1", "= 2")),
    "settings of a test": ("import hypothesis\n@hypothesis.settings(deadline=1)\n@hypothesis.given()\n"
                           "def test(x):\n    pass\n", ("=1", "=2")),
    "a folder": ("import os\nos.makedirs('a', exist_ok=True)\n", ("'a'", "'b'")),
    "a comment": ("import numpy as np\nnp.random.seed(1)\n", (")\n", ")  # one\n")),
    "under a main guard": ("import numpy as np\nif __name__ == '__main__':\n    np.random.seed(1)\n",
                           ("(1)", "(2)")),
}  # fmt: skip

TOLD = {
    "eval": (Trap("str(eval('helpers.f()'))"), "pipeline.py:12: eval"),
    "exec": (Trap("'a'", lines="    exec(str(build))\n"), "pipeline.py:12: exec"),
    "eval under another name": (
        Trap("str(run('1'))", above="from builtins import eval as run\n"),
        "pipeline.py:12: run",
    ),
    "attrgetter through a package": (
        Trap(
            "operator.attrgetter('inner.f')(package)()",
            above="import operator, package.inner, package\n",
            files={"package/__init__.py": "", "package/inner.py": HELPERS},
        ),
        "pipeline.py:12: operator.attrgetter('inner.f')",
    ),
    "eval in a helper": (Trap("str(f())", above="def f():\n    return eval('1')\n"), "pipeline.py:4: eval"),
    "import_module of a computed name": (
        Trap("str(importlib.import_module('h' + 'elpers').f())", above="import importlib\n"),
        "pipeline.py:12: importlib.import_module('h' + 'elpers')",
    ),
    "import_module imported by name": (
        Trap("str(load('h' + 'elpers'))", above="from importlib import import_module as load\n"),
        "pipeline.py:12: load('h' + 'elpers')",
    ),
    "__import__ of a computed name": (Trap("str(__import__('h' + 'x'))"), "pipeline.py:12: __import__('h' + 'x')"),
    "sys.modules of a computed name": (
        Trap("str(sys.modules['h' + 'x'])", above="import sys\n"),
        "pipeline.py:12: sys.modules",
    ),
    "globals that are written": (
        Trap("str(made())", above="for name in ['made']:\n    globals()[name] = dict\n"),
        "pipeline.py:13: made, which nothing in the source binds",
    ),
    "globals that a builder writes": (
        Trap("'a'", lines="    globals()['x'] = 1\n"),
        "pipeline.py:12: globals()['x'] = ...",
    ),
    "__globals__": (Trap("str(helpers.f.__globals__['g']())"), "pipeline.py:12: helpers.f.__globals__"),
    "__subclasses__": (
        Trap("str(Base.__subclasses__())", above="class Base:\n    pass\n"),
        "pipeline.py:13: Base.__subclasses__",
    ),
    "monkeypatching in a builder": (
        Trap("str(helpers.f())", lines="    helpers.f = helpers.g\n"),
        "pipeline.py:12: helpers.f = ... (changes what others build later)",
    ),
    "monkeypatching in a builder with setattr": (
        Trap("str(helpers.f())", lines="    setattr(helpers, 'f', 1)\n"),
        "pipeline.py:12: setattr(helpers, 'f', 1) (changes what others build later)",
    ),
    "monkeypatching of a class in a builder": (
        Trap("str(Kind())", above="class Kind:\n    pass\n", lines="    Kind.f = 1\n"),
        "pipeline.py:13: Kind.f = ... (changes what others build later)",
    ),
    "getattr of a package's modules": (
        Trap(
            "str(getattr(package, 'in' + 'ner'))",
            above="import package.inner\n",
            files={"package/__init__.py": "", "package/inner.py": ""},
        ),
        "pipeline.py:12: getattr(package, 'in' + 'ner') (a package with modules in it)",
    ),
    "mock": (
        Trap("'a'", above="from unittest import mock\n", lines="    mock.patch('helpers.f')\n"),
        "pipeline.py:12: mock.patch",
    ),
    "a docstring": (Trap("str(helpers.f.__doc__)"), "pipeline.py:12: helpers.f.__doc__"),
    "a docstring by getattr": (
        Trap("str(getattr(helpers.f, '__doc__'))"),
        "pipeline.py:12: getattr(helpers.f, '__doc__')",
    ),
    "a docstring of itself": (
        Trap("Kind().text()", above="class Kind:\n    def text(self):\n        return self.__doc__\n"),
        "pipeline.py:5: self.__doc__",
    ),
    "a docstring of the module": (Trap("str(__doc__)"), "pipeline.py:12: __doc__"),
    "a docstring by inspect": (
        Trap("str(inspect.getdoc(helpers.f))", above="import helpers, inspect\n"),
        "pipeline.py:12: inspect.getdoc",
    ),
    "a docstring by a name": (
        Trap("str(text(helpers.f))", above="import helpers\nfrom inspect import getdoc as text\n"),
        "pipeline.py:13: text",
    ),
    "a docstring in a constant": (
        Trap("TEXT", above="import helpers\nTEXT = str(helpers.f.__doc__)\n"),
        "pipeline.py:4: helpers.f.__doc__",
    ),
    "annotations of a function": (
        Trap("str(helpers.f.__annotations__)"),
        "pipeline.py:12: helpers.f.__annotations__",
    ),
    "annotations by typing": (
        Trap("str(get_type_hints(helpers.f))", above="import helpers\nfrom typing import get_type_hints\n"),
        "pipeline.py:13: get_type_hints(helpers.f)",
    ),
    "annotations by inspect": (
        Trap("str([inspect.get_annotations(f) for f in [helpers.f]])", above="import inspect, helpers\n"),
        "pipeline.py:12: inspect.get_annotations(f)",
    ),
    "a signature": (
        Trap("str(inspect.signature(helpers.f))", above="import inspect, helpers\n"),
        "pipeline.py:12: inspect.signature",
    ),
    "source": (
        Trap("str(list(map(inspect.getsource, [helpers.f])))", above="import inspect, helpers\n"),
        "pipeline.py:12: inspect.getsource",
    ),
    "modules that a package finds": (
        Trap(
            "str(plugins.TABLE)",
            above="import plugins\n",
            files={
                "plugins/__init__.py": "import importlib, pkgutil\nTABLE = {}\n"
                "for one in pkgutil.iter_modules(__path__):\n"
                "    importlib.import_module(f'plugins.{one.name}')\n",
                "plugins/a.py": "import plugins\nplugins.TABLE['a'] = 1\n",
            },
        ),
        "plugins/__init__.py:4: importlib.import_module(f'plugins.{one.name}')",
    ),
    "modules that a function of a package finds": (
        Trap(
            "str(1)",
            above="import plugins\n",
            files={
                "plugins/__init__.py": "import importlib\ndef find():\n    importlib.import_module('plu' + 'gins.a')\n"
                "find()\n",
                "plugins/a.py": "",
            },
        ),
        "plugins/__init__.py:3: importlib.import_module('plu' + 'gins.a')",
    ),
    "a name that an exec makes": (
        Trap("str(made)", above="exec('made = 1')\n"),
        "pipeline.py:12: made, which nothing in the source binds",
    ),
    "a name of a module that nothing binds": (
        Trap("str(helpers.made)", files={"helpers.py": HELPERS + "exec('made = 1')\n"}),
        "helpers.py:1: made of helpers, which nothing in its source binds",
    ),
}

#: What these do is seen through, or common and harmless: nothing is told.
QUIET = {
    "sys.modules that is asked": Trap("str('torch' in sys.modules)", above="import sys\n"),
    "methods called eval": Trap("str(model.eval())", above="class Model2:\n    def eval(self):\n        return 1\n",
                                lines="    model = Model2()\n"),
    "a variable called vars": Trap("str(f({}))", above="def f(vars):\n    return vars['x']\n"),
    "attributes of self and of locals": Trap("str(Kind().x)", above="class Kind:\n    def __init__(self):\n"
        "        self.x = 1\n        setattr(self, 'y' + 'z', 2)\n", lines="    kind = Kind()\n    kind.x = 3\n"),
    "docstrings of literals, and those that are written": Trap("str(''.__doc__) + str(f)",
        above="def f():\n    pass\nf.__doc__ = 'a'\n"),
    "attrgetter of a name": Trap("str(sorted([], key=operator.attrgetter('name')))", above="import operator\n"),
    "annotations of a class": Trap("str([get_type_hints(helpers.Kind), helpers.Kind.__annotations__])",
        above="import helpers\nfrom typing import get_type_hints\n", files={"helpers.py": "class Kind:\n    a: int\n"}),
    "docstrings that what is not reached reads": Trap("str(helpers.f())",
        files={"helpers.py": HELPERS + "def usage():\n    return __doc__\nprint(__doc__)\nprint(f.__doc__)\n"}),
    "every kind of binding": Trap("str(f(1))", above="""
import contextlib
class Kind:
    one = 1
    two = one + 1
    three = [_ for _ in range(one)]
def f(a, *b, c=1, **d):
    with contextlib.suppress(KeyError) as e:
        try:
            [g for g in b if (h := g)]
        except (KeyError, ValueError) as i:
            print(i, __name__, __file__)
        match a:
            case [j, *k]:
                return j, k
            case {"x": l, **m}:
                return l, m
    def n():
        nonlocal a
        return a, __class__ if False else super
    return n, e, h, lambda o: o, {p: q for p, q in d.items()}, c
"""),
}  # fmt: skip

UNFOLLOWED = ("answer", "json.dumps([str(place) for place in pipeline.train.code().unfollowed])")


def write(folder: Path, trap: Trap, *edit: str) -> Path:
    """The files of a trap, edited."""
    pipeline = builder(trap.value, trap.lines, trap.above)
    for name, text in {"helpers.py": HELPERS, "pipeline.py": pipeline, **trap.files}.items():
        if edit and edit[0] == name:
            assert edit[1] in text, edit
            text = text.replace(edit[1], edit[2], 1)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def told(workshop: Workshop, folder: Path) -> list[str]:
    """What cannot be followed, without the folder."""
    found = workshop.experiment(folder, ("run", "import json, pipeline"), UNFOLLOWED)
    places: list[str] = json.loads(found[0])
    return [place.replace(f"{folder}/", "") for place in places]


@pytest.mark.parametrize("name", FOLLOWED)
def test_an_edit_of_what_is_followed_changes_the_fingerprint(name: str, workshop: Workshop, tmp_path: Path) -> None:
    trap = FOLLOWED[name]
    (before,) = workshop.experiment(write(tmp_path, trap), TRAIN)
    assert before.startswith("2:"), before
    assert told(workshop, tmp_path) == [*trap.told]
    (after,) = workshop.experiment(write(tmp_path, trap, *trap.edit), TRAIN)
    assert after.startswith("2:"), after
    assert before != after


@pytest.mark.parametrize("name", ASIDE)
def test_what_a_module_does_on_import_without_changing_a_result_is_no_edit(
    name: str, workshop: Workshop, tmp_path: Path
) -> None:
    text, edit = ASIDE[name]
    trap = Trap("str(helpers.f())", above="import helpers\nimport patches\n", files={"patches.py": text})
    (before,) = workshop.experiment(write(tmp_path, trap), TRAIN)
    assert told(workshop, tmp_path) == []
    (after,) = workshop.experiment(write(tmp_path, trap, "patches.py", *edit), TRAIN)
    assert before == after


@pytest.mark.parametrize("name", TOLD)
def test_what_cannot_be_followed_is_told_with_file_and_line(name: str, workshop: Workshop, tmp_path: Path) -> None:
    trap, expected = TOLD[name]
    assert expected in told(workshop, write(tmp_path, trap))


@pytest.mark.parametrize("name", QUIET)
def test_what_only_looks_like_it_is_not_told(name: str, workshop: Workshop, tmp_path: Path) -> None:
    assert told(workshop, write(tmp_path, QUIET[name])) == []


def test_a_strict_stage_is_not_declared_and_every_place_is_listed(workshop: Workshop, tmp_path: Path) -> None:
    trap = Trap("str([eval('1'), f()])", above="def f():\n    return exec('1')\n")
    write(tmp_path, trap)
    text = (tmp_path / "pipeline.py").read_text().replace('name="model"', 'name="model", strict=True')
    (tmp_path / "pipeline.py").write_text(text)
    (answer,) = workshop.experiment(tmp_path, ("dref", "pipeline", "train"))
    assert answer.splitlines() == [
        "UnfollowedCode: the stage train is strict, and its code reaches what no fingerprint covers:",
        f"  {tmp_path}/pipeline.py:4: exec",
        f"  {tmp_path}/pipeline.py:13: eval",
        "  name functions and modules in the source (import them, put them into a dict), or leave out `strict`",
    ]


def test_each_place_is_warned_of_once_in_a_process(workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path, Trap("str(eval('1'))"))
    listen = (
        "import logging\nseen = []\nhandler = logging.Handler()\n"
        "handler.emit = lambda record: seen.append(record.getMessage())\n"
        "logging.getLogger('stagedml').addHandler(handler)"
    )
    declare = ("dref", "pipeline", "train")
    *_, seen = workshop.experiment(tmp_path, ("run", listen), declare, declare, ("answer", "seen"))
    assert seen.count("pipeline.py:12: eval: no fingerprint covers what this reaches") == 1
    assert seen.count("eval") == 1


def test_a_function_that_somebody_replaced_counts_and_is_told(workshop: Workshop, tmp_path: Path) -> None:
    write(tmp_path, Trap("str(helpers.f())"))
    (tmp_path / "third.py").write_text("def other():\n    return 5\n")
    patch = ("run", "import json, helpers, third, pipeline\nhelpers.f = third.other")
    before, after, places = workshop.experiment(tmp_path, TRAIN, patch, TRAIN, UNFOLLOWED)
    assert before != after
    assert after.startswith("2:")
    assert json.loads(places) == [f"{tmp_path}/helpers.py:1: f, in whose place there is other ({tmp_path}/third.py:1)"]


@pytest.mark.parametrize(
    "text",
    [builder("str(TABLE)", above='TABLE = "' + "x" * (1 << 20) + '"\n'), None],
    ids=["a constant", "a captured value"],
)
def test_large_data_in_code_is_refused_with_what_to_do(text: str | None, workshop: Workshop, tmp_path: Path) -> None:
    if text is None:
        inner = builder("str(TABLE)").replace("\n", "\n    ")
        text = f"def make(TABLE):{inner}\n    return train\n\n\ntrain = make('x' * (1 << 20))\n"
    (tmp_path / "pipeline.py").write_text(text)
    (found,) = workshop.experiment(tmp_path, TRAIN)
    assert re.fullmatch(
        rf"OversizedData: {tmp_path}/pipeline.py:\d+: 'TABLE' holds 1,048,\d+ bytes of plain data, and code may hold "
        r"1,048,576; put it into a file and make that an input of the stage, with `fetchlocal`",
        found,
    )


def test_a_capture_that_nothing_covers_is_refused_on_every_road(workshop: Workshop, tmp_path: Path) -> None:
    inner = builder("str(used())").replace("\n", "\n    ")
    roads = {
        "captured": "used = object()",
        "of_a_helper": "value = object()\n    def used():\n        return value",
        "default": "value = object()\n    def used(x=value):\n        return x",
        "keyword_default": "value = object()\n    def used(*, x=value):\n        return x",
        "partial": "import functools\n    used = functools.partial(print, object())",
        "method": "used = Kind().run",
        "in_a_list": "used = [object()]",
    }
    for name, line in roads.items():
        text = f"class Kind:\n    def run(self):\n        return 1\ndef make():\n    {line}{inner}\n    return train\n"
        (tmp_path / f"{name}.py").write_text(text + "train = make()\n")
        (found,) = workshop.experiment(tmp_path, ("fingerprint", name, "train"))
        assert re.match(rf"UncoveredCapture: {tmp_path}/{name}.py:\d+: \S+ captures '(used|value)', an? ", found), found


def test_a_decorator_that_is_a_local_variable_is_told(workshop: Workshop, tmp_path: Path) -> None:
    inner = builder("str(1)", decorators="@wrap\n").replace("\n", "\n    ")
    (tmp_path / "pipeline.py").write_text(f"def make(wrap):{inner}\n    return train\n\n\ntrain = make(lambda f: f)\n")
    assert told(workshop, tmp_path) == ["pipeline.py:10: @wrap"]


def test_code_that_other_cells_put_into_a_table_counts(workshop: Workshop, tmp_path: Path) -> None:
    cells = [
        "TABLE = {}\ndef register(x):\n    TABLE[x.__name__] = x\n    return x",
        "@register\ndef a():\n    return 1",
        builder("str(TABLE['a']())"),
    ]
    steps = [("cell", text) for text in cells]
    cell = ("cell fingerprint", "train")
    before, after = workshop.experiment(tmp_path, *steps, cell, ("cell", cells[1].replace("1", "2")), cell)
    assert before.startswith("2:")
    assert after.startswith("2:")
    assert before != after


def test_nothing_of_our_own_catalogue_is_told(workshop: Workshop, tmp_path: Path) -> None:
    declare = (
        "from stagedml.stages.all import *\nfrom stagedml import instantiate, store_initialize\n"
        "store_initialize('store')\nfound = [instantiate(f) for f in (all_bert_finetune_glue, all_minilm_finetune_glue,"
        " all_quickstart_finetune_glue)]\n"
        "codes = [d.realizer.declaration.code for one in found for d in one.closure.derivations]"
    )
    (places,) = workshop.experiment(
        tmp_path, ("run", declare), ("answer", "[place for code in codes if code for place in code.unfollowed]")
    )
    assert places == "[]"


def test_a_table_that_functions_fill_while_they_run_is_no_edit(workshop: Workshop, tmp_path: Path) -> None:
    above = "import helpers\nCACHE = {}\nCOUNT = 0\n"
    above += "def used():\n    global COUNT\n    COUNT += 1\n    CACHE[1] = COUNT\n"
    above += "    helpers.TABLE['x'] = 1\n    return CACHE\n"
    write(tmp_path, Trap("str([used(), helpers.TABLE])", above=above))
    before, after = workshop.experiment(tmp_path, TRAIN, ("run", "import pipeline\npipeline.used()"), TRAIN)
    assert before.startswith("2:")
    assert before == after


def test_a_module_that_is_imported_on_the_way_and_does_not_parse_is_left_alone(
    workshop: Workshop, tmp_path: Path
) -> None:
    write(
        tmp_path,
        Trap("str(helpers.f())", above="import helpers\ntry:\n    import old\nexcept SyntaxError:\n    pass\n"),
    )
    (tmp_path / "old.py").write_text("print 'Python 2'\n")
    (found,) = workshop.experiment(tmp_path, TRAIN)
    assert found.startswith("2:")


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ("pipeline.main()", True),  # rebinds and fills what the builder uses
        ("pipeline.get('a')", False),  # a cache of the builder's own
        ("pipeline.aside()", False),  # what it does not use
    ],
)
def test_data_that_functions_of_others_change_counts_as_it_is(
    change: str, counts: bool, workshop: Workshop, tmp_path: Path
) -> None:
    above = (
        "ROWS = [1]\nLIMIT = 5\nCACHE = {}\nOTHER = []\n"
        "def main():\n    global LIMIT\n    LIMIT = 6\n    ROWS.append(2)\n"
        "def aside():\n    OTHER.append(1)\n"
        "def get(key):\n    CACHE[key] = 1\n    return CACHE[key]\n"
    )
    trap = Trap("str([ROWS, LIMIT, get('x')])", above=above)
    before, after = workshop.experiment(write(tmp_path, trap), TRAIN, ("run", f"import pipeline; {change}"), TRAIN)
    assert (before != after) is counts
    assert before == workshop.experiment(tmp_path, TRAIN)[0]


@pytest.mark.parametrize("call", ["pipeline.LIMIT", "pipeline.ROWS"])
def test_each_of_them_counts_alone(call: str, workshop: Workshop, tmp_path: Path) -> None:
    above = "ROWS = [1]\nLIMIT = 5\ndef limit():\n    global LIMIT\n    LIMIT = 6\ndef rows():\n    ROWS.append(2)\n"
    name = call.partition(".")[2]
    trap = Trap(f"str({name})", above=above)
    steps = (TRAIN, ("run", f"import pipeline; pipeline.{name.lower()}()"), TRAIN)
    before, after = workshop.experiment(write(tmp_path, trap), *steps)
    assert before.startswith("2:")
    assert after.startswith("2:")
    assert before != after
