"""Declaring stages: `@stage` turns a builder into a function from parameters to a typed reference.

    @stage(Model, name="train-{task:lower}")
    def train(build: Build, *, data: Data, task: str = "MRPC", model: RefPath = output("model.npz"),
              workers: Exec[int] = 2) -> None: ...

Keyword parameters of the builder are the fields of the config, except for two kinds: those whose default is
`output(...)` name the files that the builder writes, and those annotated `Exec[...]` say how it runs, are in no hash,
and may be set at `realize`. Calling the stage checks the values, computes the derivation's reference, and returns it;
nothing is built.
"""

from __future__ import annotations

import abc
import contextlib
import contextvars
import difflib
import functools
import inspect
import shutil
import string
import tempfile
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from stagedml.authoring import registry as registries
from stagedml.authoring import schema
from stagedml.authoring.artifact import Artifact, ConfigSource, _typed, bound, check_fields
from stagedml.authoring.build import Build, check_outputs, in_this_process, mark_start, mark_stop
from stagedml.authoring.compare import note_loading
from stagedml.authoring.distributions import POLICIES, UnknownPolicy
from stagedml.authoring.fingerprinted import Fingerprinted
from stagedml.authoring.matchers import StageMatcher, latest
from stagedml.authoring.pylightnix import (
    Context,
    Derivation,
    DRef,
    RefPath,
    Registry,
    StorageSettings,
    current_registry,
)
from stagedml.authoring.pylightnix import Path as PylightnixPath
from stagedml.authoring.registry import Declaration, StageRegistry
from stagedml.authoring.resources import Resources
from stagedml.authoring.session import store_of
from stagedml.authoring.view import plain, view_of
from stagedml.authoring.watching import watching
from stagedml.core import config as configs
from stagedml.core.code import Code
from stagedml.core.config import RESERVED, SELF, Config
from stagedml.core.refs import LONGEST_NAME, RealizationRef, is_valid_name, parse_dref
from stagedml.errors import UsageError
from stagedml.settings import read_settings
from stagedml.store.layout import RESERVED_NAMES, UNHASHED

P = ParamSpec("P")
A = TypeVar("A", bound=Artifact)
T = TypeVar("T")

_EXEC = "stagedml-exec"
_BRACES = frozenset("{}")
_REFERENCES = ("dref:", "rref:")
#: `Exec[T]`: a parameter that says how a builder runs and is not part of what it builds.
Exec = Annotated[T, _EXEC]

_NAMES = f"names are made of letters, digits, `-` and `_`, up to {LONGEST_NAME} of them"


class InvalidStage(UsageError):
    """A builder's signature cannot be that of a stage."""

    def __init__(self, stage: str, where: str, problem: str) -> None:
        super().__init__(stage, where, problem)
        self.stage, self.where, self.problem = stage, where, problem

    def __str__(self) -> str:
        return f"the stage {self.stage} ({self.where}): {self.problem}"


class InvalidArguments(UsageError):
    """A stage was called with arguments that it does not take; every problem is listed."""

    def __init__(self, stage: str, problems: Sequence[str]) -> None:
        super().__init__(stage, tuple(problems))
        self.stage, self.problems = stage, tuple(problems)

    def __str__(self) -> str:
        return "\n  ".join([f"the stage {self.stage} cannot be called so:", *self.problems])


class NotDeclaring(UsageError):
    """A stage was called where nothing collects declarations."""

    def __init__(self, stage: str) -> None:
        super().__init__(stage)
        self.stage = stage

    def __str__(self) -> str:
        return f"{self.stage} is a stage; declare it with `instantiate({self.stage}, ...)` or inside a stage function"


def declaring(name: str) -> StageRegistry:
    """The registry of the `instantiate` that is going on. Raises NotDeclaring."""
    registry = current_registry()
    if not isinstance(registry, StageRegistry):
        raise NotDeclaring(name)
    return registry


class OutputPath(list[str]):
    """The default of a parameter that names an output; see `output`."""

    prefix: bool = False


def output(path: str, *, prefix: bool = False) -> RefPath:
    """Promise a file or folder; the builder gets its path with `build.path`.

    Args:
        path: relative to the realization, parts joined by `/`; `{parameter}` is filled in as in the stage's name.
        prefix: the path stands for all files `<path>.*`, as TensorFlow's checkpoints do.
    """
    value = OutputPath([SELF, *_checked_parts(path)])
    value.prefix = prefix
    return cast(RefPath, value)


def _checked_parts(path: object) -> tuple[str, ...]:
    if not isinstance(path, str):
        raise UsageError(f"output({path!r}): give a path relative to the realization, as a str")
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        raise UsageError(f"output({path!r}): give a path relative to the realization, without `..`")
    if parts[0] in UNHASHED | RESERVED_NAMES:
        raise UsageError(f"output({path!r}): {parts[0]} is a reserved name")
    return parts


class _NameFormatter(string.Formatter):
    """Names of stages: `{task:lower}` lowers, and what no name may hold is refused later."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec == "lower":
            return str(value).lower()
        return str(super().format_field(value, format_spec))


@dataclass
class Override:
    """How a stage is declared differently for the length of a `redefine`."""

    new_config: Callable[[dict[str, Any]], Any] | None
    new_matcher: StageMatcher | None

    used: bool = False


#: The overrides of stages deep inside a composed function, innermost `redefine(..., at=...)` first.
overrides: contextvars.ContextVar[Mapping[int, tuple[Override, ...]]] = contextvars.ContextVar(
    "stagedml_overrides", default=types.MappingProxyType({})
)


@dataclass(frozen=True, slots=True)
class _Constants:
    """What all configs have in common that a stage makes with the same code: fields, and their texts."""

    code: Code | None
    fields: Config
    texts: Mapping[str, str]


class Stage(Generic[P, A]):
    """A stage: called with parameters and references it declares a derivation and returns its typed reference.

    `matcher`, `deterministic` and `name_template` are as given to `@stage`; `builder` is the decorated function.
    """

    __name__: str

    def __init__(
        self,
        builder: Callable[Concatenate[Build, P], None],
        artifact: type[A],
        name_template: str,
        matcher: StageMatcher,
        deterministic: bool,
        fixed_output: bool | Sequence[str],
        strict: bool = False,
        packages: str | None = None,
        resources: Resources | None = None,
        check: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        if not inspect.isfunction(inspect.unwrap(builder)):
            raise InvalidStage(repr(builder), name_template, "a builder is a function")
        self.builder = builder
        self.artifact = artifact
        self.name_template = name_template
        self.matcher = matcher
        self.deterministic = deterministic
        self.fixed_output = fixed_output
        self.strict = strict
        self.packages = packages
        self.resources = resources or Resources()
        self.check = check
        note_loading(builder)
        functools.update_wrapper(self, builder)
        self._read_signature()

    # -- what the signature says ---------------------------------------------------------------------------------

    def _read_signature(self) -> None:
        function = self.builder
        if any(is_kind(function) for is_kind in (inspect.iscoroutinefunction, inspect.isgeneratorfunction)):
            self._refuse("calling it would not run it; a builder neither awaits nor yields")
        signature = inspect.signature(function)
        if not signature.parameters:
            self._refuse("its first parameter must be the build")
        first, *rest = signature.parameters.values()
        try:
            hints = typing.get_type_hints(function, include_extras=True)  # which say what is Exec, and bounds
        except NameError as error:
            raise schema.UnresolvedType(f"the stage {self.__name__}", str(error.name)) from None
        wanted = hints.get(first.name, Build)
        positional = first.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if not positional or not (isinstance(wanted, type) and issubclass(Build, wanted)):
            self._refuse("its first parameter must be the build")
        self.__signature__ = signature.replace(parameters=rest, return_annotation=self.artifact)
        self.checks: dict[str, schema.Check] = {}
        self.annotations: dict[str, Any] = {}
        self.outputs: dict[str, OutputPath] = {}
        self.exec_checks: dict[str, schema.Check] = {}
        self.exec_annotations: dict[str, Any] = {}
        self.type_names: dict[str, str] = {}
        self.defaults: dict[str, Any] = {}
        self.exec_defaults: dict[str, Any] = {}
        for parameter in rest:
            self._read_parameter(parameter, hints)
        check_fields(self.artifact, self.annotations, self.__name__)
        for path in self.outputs.values():
            self._read_template("/".join(path[1:]))
        self._prefixes = sorted(name for name, path in self.outputs.items() if path.prefix)
        self._filled_outputs = {name for name, path in self.outputs.items() if _BRACES & set("/".join(path[1:]))}
        self._constants: _Constants | None = None
        self._is_name_filled = bool(_BRACES & set(self.name_template))
        if unknown := [name for name in self.telling if name not in self.checks]:
            self._refuse(f"fixed_output speaks of {', '.join(unknown)}, no parameter of it")
        if not self.name_template:
            self._refuse("give it a name: `@stage(..., name=...)`")
        for literal in self._read_template(self.name_template):
            if not is_valid_name(literal):
                self._refuse(f"its name {self.name_template!r}: {_NAMES}")

    def _read_template(self, template: str) -> list[str]:
        """Check the fields of a name or an output's path; returns the text between them."""
        try:
            parts = list(string.Formatter().parse(template))
        except ValueError as error:
            self._refuse(f"{template!r} is no template: {error}")
        for _, field, _, _ in parts:
            if field is not None and field not in self.checks:
                self._refuse(f"{template!r} speaks of {field!r}, which is no parameter of it")
        return [literal for literal, *_ in parts if literal]

    def _read_parameter(self, parameter: inspect.Parameter, hints: Mapping[str, Any]) -> None:
        name = parameter.name
        if parameter.kind not in (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD):
            self._refuse(f"{name}: parameters must be named one by one, there is no * or **")
        if name in RESERVED:
            self._refuse(f"{name}: a reserved name of configs; choose another one")
        if name not in hints:
            self._refuse(f"{name}: annotate it with its type")
        where = f"the stage {self.__name__}, parameter {name}"
        annotation = hints[name]
        self.type_names[name] = schema.type_name(annotation)
        default = parameter.default
        if typing.get_origin(annotation) is Annotated and _EXEC in typing.get_args(annotation)[1:]:
            self.exec_annotations[name] = schema.plain(annotation)
            self.exec_checks[name] = schema.compile_check(annotation, where)
            if default is parameter.empty:
                self._refuse(f"{name}: an Exec parameter needs a default")
            self.exec_defaults[name] = default
        elif isinstance(default, OutputPath):
            if annotation != RefPath:
                self._refuse(f"{name}: an output is annotated `RefPath`")
            self.outputs[name] = default
            self.annotations[name] = annotation
        else:
            self.checks[name] = schema.compile_check(annotation, where)
            self.annotations[name] = schema.plain(annotation)
            if default is not parameter.empty:
                self.defaults[name] = default

    def _refuse(self, problem: str) -> typing.NoReturn:
        code = inspect.unwrap(self.builder).__code__
        raise InvalidStage(self.__name__, f"{code.co_filename}:{code.co_firstlineno}", problem)

    @property
    def telling(self) -> Collection[str]:
        """The parameters of a fixed output that say what the bytes are."""
        return (
            self.fixed_output if not isinstance(self.fixed_output, bool) else self.checks if self.fixed_output else ()
        )

    # -- declaring -----------------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> A:
        registry = cast("Registry | None", kwargs.pop("r", None)) or current_registry()
        if registry is None:
            raise NotDeclaring(self.__name__)
        given = self._named(args, kwargs)
        return self.declare(registry, given, *overrides.get().get(id(self), ()))

    def declare(self, registry: Registry, given: Mapping[str, Any], *changes: Override) -> A:
        """Declare the stage with the given arguments, changed so, in a registry, ours or Pylightnix's own."""
        parameters, exec_values = self.check_arguments(given)
        matcher = self.matcher
        for override in changes:
            override.used = True
            matcher = override.new_matcher or matcher
            if override.new_config is not None:
                changed = _mutable(parameters)
                returned = override.new_config(changed)
                if isinstance(returned, Mapping) and returned is not changed:
                    raise InvalidArguments(
                        self.__name__,
                        ("new_config returned a dict, which nobody looks at; change the one it is given",),
                    )
                parameters, more = self.check_arguments(changed)
                exec_values |= more
        own = registry if isinstance(registry, StageRegistry) else None
        fingerprinted = own.fingerprinted(self) if own else self.fingerprinted()
        if fingerprinted is not None and fingerprinted.code.unfollowed:
            fingerprinted.tell(self.__name__, strict=self.strict)
        config, text = self.config(parameters, fingerprinted.code if fingerprinted else None)
        declaration = Declaration(
            stage=self,
            parameters=parameters,
            exec_values=exec_values,
            config=config,
            text=text,
            ref=configs.reference(config, text),
            inputs=configs.inputs_of(config),
            matcher=matcher,
            caller=registries.caller(),
            fingerprinted=fingerprinted,
        )
        derivation = Derivation(DRef(declaration.dref), declaration.matcher, StageRealizer(self, declaration))
        origin: ConfigSource
        if isinstance(registry, StageRegistry):
            registry.declare(declaration, derivation)
            origin = registry
        else:
            self.check_together(parameters)
            origin = store_of(registry.S)
            origin.add_config(text, declaration.ref, config)
            registry.builders[DRef(declaration.dref)] = derivation
        return cast(A, bound(self.artifact, declaration.dref, origin))

    def check_together(self, parameters: Mapping[str, Any]) -> None:
        """Make sure that parameters go together, which are right each by itself. Raises InvalidArguments."""
        if self.check is None:
            return
        try:
            self.check(parameters)
        except UsageError as error:
            raise InvalidArguments(self.__name__, [str(error)]) from error

    def _named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if not args:
            return dict(kwargs)
        try:
            return dict(self.__signature__.bind_partial(*args, **kwargs).arguments)
        except TypeError as error:
            raise InvalidArguments(self.__name__, [str(error)]) from None

    def check_arguments(self, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """The checked parameters, defaults included, and the Exec values given. Raises InvalidArguments."""
        problems: list[str] = []
        parameters: dict[str, Any] = {}
        exec_values: dict[str, Any] = {}
        for name, check in self.checks.items():
            if name not in given and name not in self.defaults:
                problems.append(f"{name}: missing")
                continue
            try:
                value = check(given[name] if name in given else self.defaults[name], name)
            except schema.Mismatch as error:
                problems.extend(error.problems)
            else:
                kind = type(value)
                if not (kind is int or kind is bool or value is None or (kind is str and value[:5] not in _REFERENCES)):
                    problems.extend(configs.problems_of(value, name))
                parameters[name] = value
        for name, value in given.items():
            if name in self.outputs:
                problems.append(f"{name}: an output, which the stage itself names")
            elif name in self.exec_checks:
                try:
                    exec_values[name] = self.exec_checks[name](value, name)
                except schema.Mismatch as error:
                    problems.extend(error.problems)
            elif name not in self.checks:
                problems.append(f"{name}: no such parameter; {self._suggestion(name)}")
        if problems:
            raise InvalidArguments(self.__name__, problems)
        return parameters, exec_values

    def _suggestion(self, name: str) -> str:
        known = [*self.checks, *self.exec_checks]
        close = difflib.get_close_matches(name, known, n=1)
        return f"did you mean {close[0]!r}?" if close else "there are: " + ", ".join(known)

    def fingerprinted(self) -> Fingerprinted | None:
        """The code behind the stage as it is now; None where the parameters say what the bytes are."""
        return None if self.fixed_output else Fingerprinted(self.builder, self.packages or read_settings().packages)

    def code(self) -> Code | None:
        """What is behind the stage's fingerprint; None where the parameters say what the bytes are."""
        fingerprinted = self.fingerprinted()
        return fingerprinted.code if fingerprinted is not None else None

    def config(self, parameters: Mapping[str, Any], code: Code | None) -> tuple[Config, str]:
        """The config that checked parameters and code make, and its text.

        Raises InvalidStage where they give no proper name.
        """
        if self._constants is None or self._constants.code is not code:
            self._constants = self._constants_with(code)
        config: Config = dict(self._constants.fields)
        for name, value in parameters.items():
            config[name] = plain(value)
        for name in self._filled_outputs:
            config[name] = [SELF, *_checked_parts(self._filled("/".join(self.outputs[name][1:]), parameters))]
        if self._is_name_filled:
            name = config["name"] = self._filled(self.name_template, parameters)
            if not is_valid_name(name):
                self._refuse(f"its name comes out as {name!r}; {_NAMES}")
        texts = self._constants.texts
        return config, configs.joined(
            texts[name] if name in texts else configs.field_text(name, config[name]) for name in sorted(config)
        )

    def _constants_with(self, code: Code | None) -> _Constants:
        own: dict[str, Any] = {} if code is None else {"code": code.digest}
        if code is not None and code.packages:
            own["packages"] = dict(code.packages)
        if self._prefixes:
            own["prefixes"] = list(self._prefixes)
        fields: Config = {"stagedml": own}
        for name, path in self.outputs.items():
            if name not in self._filled_outputs:
                fields[name] = list(path)
        if not self._is_name_filled:
            if not is_valid_name(self.name_template):
                self._refuse(f"its name comes out as {self.name_template!r}; {_NAMES}")
            fields["name"] = self.name_template
        return _Constants(code, fields, {name: configs.field_text(name, value) for name, value in fields.items()})

    def _filled(self, template: str, parameters: Mapping[str, Any]) -> str:
        try:
            return _NameFormatter().vformat(template, (), parameters)
        except (ValueError, TypeError) as error:
            self._refuse(f"{template!r} cannot be filled in: {error}")

    # -- running -------------------------------------------------------------------------------------------------

    def arguments(self, build: Build) -> dict[str, Any]:
        """What the builder is called with, read back from the config of the derivation being built."""
        config = build.config
        values = {
            name: _typed(config[name], annotation, build.config_source) for name, annotation in self.annotations.items()
        }
        return {**values, **build.rarg}

    def run(self, build: Build) -> tuple[float, float]:
        """Run the builder in `build.outpath`, which must exist and be empty; returns its start and stop times.

        Raises:
            MissingOutputs: it did not write what the stage promises.
        """
        started = mark_start(build.outpath)
        with in_this_process(), watching(build.note):
            self.builder(build, **self.arguments(build))  # type: ignore[call-arg]
        check_outputs(build)
        return started, mark_stop(build.outpath)

    def __repr__(self) -> str:
        return f"<stage {self.__name__}{self.__signature__}>"


class OwnRealizer(abc.ABC):
    """The realizer of a derivation of ours: our engine calls `run`, Pylightnix's the object itself."""

    declaration: Declaration
    #: Realizations whose files it links instead of copying them.
    links_to: tuple[RealizationRef, ...] = ()
    #: Whether a rebuild gives the same bytes, as far as the stage's author knows.
    deterministic: bool = True

    @property
    def bound_here(self) -> str:
        """Why it must be built in the process in which it was declared; "" if it need not."""
        return "it runs no code of a user"

    @abc.abstractmethod
    def run(self, build: Build) -> tuple[float, float]:
        """Fill `build.outpath`, which exists and is empty; returns start and stop, seconds since the epoch."""

    @property
    def code(self) -> Code | None:
        """The code behind it, as it was when it was declared; None where no code is in the config."""
        return None

    def view(self, source: ConfigSource) -> Any:
        """What the builder is given, as `core.adoption.key_of` takes it; None if nothing of it may be adopted."""
        return None

    def beyond(self, build: Build) -> tuple[str, ...]:
        """What the builder read, after it ran, that is not in the view."""
        return build.reads

    def exec_arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The Exec values of a build: given at `realize` over declared over default. Raises InvalidArguments."""
        if given:
            raise InvalidArguments(self.declaration.dref, [f"{name}: it takes no Exec parameters" for name in given])
        return {}

    def __call__(
        self, S: StorageSettings | None, dref: DRef, context: Context, arguments: Mapping[str, Any]
    ) -> list[PylightnixPath]:
        settings = read_settings()
        folder = Path(tempfile.mkdtemp(prefix=f"{parse_dref(dref).folder[:64]}-", dir=store_of(S).layout.tmp))
        build = Build(
            storage=S,
            dref=dref,
            context={str(ref): rrefs for ref, rrefs in context.items()},
            outpath=folder,
            scratch=folder.with_name(f"{folder.name}.scratch"),
            arguments=self.exec_arguments(arguments),
            offline=settings.offline,
            mirrors=settings.mirrors,
        )
        try:
            self.run(build)
        finally:
            shutil.rmtree(folder.with_name(f"{folder.name}.scratch"), ignore_errors=True)
        return [PylightnixPath(str(folder))]


class StageRealizer(OwnRealizer):
    """Runs the builder of a stage."""

    def __init__(self, stage: Stage[..., Any], declaration: Declaration) -> None:
        self.stage = stage
        self.deterministic = stage.deterministic
        self.declaration = declaration

    def run(self, build: Build) -> tuple[float, float]:
        """Run the builder, and see to it that it is the code that was declared. Raises ChangedSinceDeclared."""
        fingerprinted = self.declaration.fingerprinted
        if fingerprinted is None:
            return self.stage.run(build)
        fingerprinted.check_unchanged()
        times = self.stage.run(build)
        fingerprinted.check_ran()
        return times

    @property
    def code(self) -> Code | None:
        return self.declaration.code

    @property
    def bound_here(self) -> str:
        fingerprinted = self.declaration.fingerprinted
        return fingerprinted.bound_here if fingerprinted is not None else ""

    def check_declared(self) -> None:
        """Before a run that may build it: refuse code that is not the declared one. Raises ChangedSinceDeclared."""
        if self.declaration.fingerprinted is not None:
            self.declaration.fingerprinted.check_declared()

    def view(self, source: ConfigSource) -> Any:
        return view_of(self.stage, self.declaration.config, source)

    def beyond(self, build: Build) -> tuple[str, ...]:
        return () if self.stage.fixed_output else build.reads

    def exec_arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        unknown = [name for name in given if name not in self.stage.exec_checks]
        if unknown:
            known = ", ".join(self.stage.exec_checks) or "none"
            problems = [f"{name}: no Exec parameter of it; there are: {known}" for name in unknown]
            raise InvalidArguments(self.stage.__name__, problems)
        _, checked = self.stage.check_arguments({**self.declaration.parameters, **given})
        return {**self.stage.exec_defaults, **self.declaration.exec_values, **checked}


def stage(
    artifact: type[A],
    *,
    name: str,
    matcher: StageMatcher | None = None,
    deterministic: bool = True,
    fixed_output: bool | Sequence[str] = False,
    strict: bool = False,
    packages: str | None = None,
    resources: Resources | None = None,
    check: Callable[[Mapping[str, Any]], None] | None = None,
) -> Callable[[Callable[Concatenate[Build, P], None]], Stage[P, A]]:
    """Make a builder a stage.

    Args:
        artifact: the type of what it makes; every field must be a parameter or an output of the builder.
        name: the name of its derivations; `{parameter}` and `{parameter:lower}` are filled in.
        matcher: which realizations stand for it; default `latest()`.
        deterministic: whether a rebuild gives the same bytes; False warns whoever would delete a realization.
        fixed_output: the parameters say what the bytes are, as the checksum of a download does; the code is in no hash.
            The names of those that say it, if others, such as a URL, only help to get there.
        strict: refuse to declare code that reaches what cannot be followed, instead of warning of it.
        packages: how installed packages that the code imports count: `none`; `direct`: these, by major and minor
            version; `lock`: these and all that they require, by exact version. Default is `STAGEDML_PACKAGES`.
        resources: what its build may use of the machine; in no hash.
        check: called with all parameters, by name, when the stage is declared, as they are after all that `redefine`
            changes; it raises a UsageError where they do not go together. In no hash.

    Raises:
        UnknownPolicy: `packages` is none of these.
        InvalidStage, InvalidArtifactType, UnsupportedType: the builder's signature cannot be a stage's.
    """

    if not isinstance(name, str):
        raise UsageError(f"stage(name={name!r}): give the name of its derivations, as a str")
    made: object = artifact
    if not (isinstance(made, type) and issubclass(made, Artifact)):
        raise UsageError(f"stage({artifact!r}): give the type of what it makes, a subclass of Artifact")
    if not isinstance(resources, (Resources, types.NoneType)):
        raise UsageError(
            f"stage(resources={resources!r}): give Resources(cpus=..., memory=..., gpus=..., timeout_s=...)"
        )
    if packages is not None and packages not in POLICIES:
        raise UnknownPolicy(packages)

    def decorate(builder: Callable[Concatenate[Build, P], None]) -> Stage[P, A]:
        return Stage(
            builder,
            artifact,
            name,
            matcher or latest(),
            deterministic,
            fixed_output,
            strict,
            packages,
            resources,
            check,
        )

    return decorate


def _mutable(value: Any) -> Any:
    """A copy in which lists and dicts may be changed, and references are the same objects."""
    if isinstance(value, list):
        return [_mutable(item) for item in value]
    if isinstance(value, dict):
        return {key: _mutable(item) for key, item in value.items()}
    return value


@contextlib.contextmanager
def overriding(stage: Stage[..., Any], override: Override) -> Iterator[None]:
    """Let calls of one stage declare differently inside the block."""
    outer = overrides.get()
    token = overrides.set({**outer, id(stage): (override, *outer.get(id(stage), ()))})
    try:
        yield
    finally:
        overrides.reset(token)
