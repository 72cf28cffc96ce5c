"""Artifact types: what a realization of a stage holds.

An artifact is a derivation reference whose annotated fields are fields of the derivation's config. It is a plain
`str` in every other respect: copies, pickles, JSON, hashing and equality are those of the string.
"""

from __future__ import annotations

import difflib
import inspect
import types
import typing
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from stagedml.authoring import schema
from stagedml.authoring.pylightnix import DRef, RefPath
from stagedml.authoring.watching import tell
from stagedml.core import config as configs
from stagedml.core.config import RESERVED, Config
from stagedml.core.refs import is_dref, parse_dref
from stagedml.errors import UsageError

A = TypeVar("A", bound="Artifact")


class InvalidArtifactType(UsageError):
    """An artifact class declares fields that cannot be."""

    def __init__(self, artifact: str, field: str, reason: str) -> None:
        super().__init__(artifact, field, reason)
        self.artifact, self.field, self.reason = artifact, field, reason

    def __str__(self) -> str:
        return f"{self.artifact}.{self.field}: {self.reason}"


class ConfigSource(Protocol):
    """Who knows the config of a derivation: a store, or a registry in which it was just declared."""

    def config_of(self, dref: str) -> Config: ...


class Artifact(DRef):
    """A reference to a derivation, with the fields that its consumers may rely on.

    Subclasses annotate the fields; each must be a parameter or an output of every stage that makes the artifact:

        class BertCP(Artifact):
            bert_vocab: RefPath
            cased: bool

    Reading a field reads the config: values as declared, paths as `RefPath` to be given to `build.path` or `mklens`.
    """

    #: Of each declared field, those of base classes included, its annotation, which may still be text.
    artifact_fields: ClassVar[Mapping[str, Any]] = {}
    _field_types: ClassVar[dict[str, Any]]
    _source: ConfigSource | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = {
            name: annotation
            for name, annotation in inspect.get_annotations(cls).items()
            if not str(annotation).startswith(("ClassVar", "typing.ClassVar"))
        }
        for name in own:
            if name.startswith("_"):
                raise InvalidArtifactType(cls.__name__, name, "fields are public: let it begin with a letter")
            if name in cls.__dict__:
                raise InvalidArtifactType(cls.__name__, name, "fields have no default; the value comes from the stage")
            if name in RESERVED:
                raise InvalidArtifactType(cls.__name__, name, "a reserved name of configs")
            if hasattr(Artifact, name):
                raise InvalidArtifactType(cls.__name__, name, "an attribute of str; choose another name")
        fields: dict[str, Any] = {}
        for base in reversed(cls.__bases__):
            fields |= base.artifact_fields if issubclass(base, Artifact) else {}
        cls.artifact_fields = {**fields, **own}

    @classmethod
    def field_types(cls) -> dict[str, Any]:
        """The declared fields with their annotations as types."""
        known: dict[str, Any] | None = cls.__dict__.get("_field_types")
        if known is None:
            try:
                hints = typing.get_type_hints(cls)
            except NameError as error:
                raise schema.UnresolvedType(cls.__name__, str(error.name)) from None
            known = cls._field_types = {name: hints[name] for name in cls.artifact_fields}
        return known

    if not TYPE_CHECKING:  # a type checker knows the fields by their annotations, and no other name is one

        def __getattr__(self, name: str) -> Any:
            if name not in type(self).artifact_fields:
                close = difflib.get_close_matches(name, type(self).artifact_fields, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise AttributeError(f"{type(self).__name__} has no field {name!r}{hint}")
            config = self._config()
            if name not in config:
                kind = type(self).__name__
                raise AttributeError(f"the config of {self} has no field {name!r}, which {kind} promises")
            value = configs.resolve(config[name], Artifact(str(self)))  # whose order is told, as its own
            return _typed(value, type(self).field_types()[name], self.__dict__.get("_source"))

    def _config(self) -> Config:
        source = self.__dict__.get("_source")
        if source is None:
            from stagedml.authoring import session

            source = session.current_source()
        return source.config_of(str(self))

    def __lt__(self, other: str) -> bool:
        tell("an order of references")
        return str.__lt__(self, other)

    def __le__(self, other: str) -> bool:
        tell("an order of references")
        return str.__le__(self, other)

    def __gt__(self, other: str) -> bool:
        tell("an order of references")
        return str.__gt__(self, other)

    def __ge__(self, other: str) -> bool:
        tell("an order of references")
        return str.__ge__(self, other)

    def __copy__(self: A) -> A:
        return self  # as immutable as the string that it is, and still of the same store

    def __deepcopy__(self: A, memo: dict[int, Any]) -> A:
        return self

    def __reduce__(self) -> tuple[type, tuple[str]]:
        return type(self), (str(self),)

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *type(self).artifact_fields]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How IPython shows it: the type beside the reference."""
        printer.text(f"{type(self).__name__}({str(self)!r})")


def is_artifact_type(value: object) -> bool:
    """Whether something is a class of artifacts; whoever checks no types passes other things, too."""
    return isinstance(value, type) and issubclass(value, Artifact)


def bound(artifact: type[Artifact], dref: str, source: ConfigSource) -> Any:
    """An artifact that reads its fields from the given source."""
    parse_dref(dref)
    value = artifact(dref)
    value.__dict__["_source"] = source
    return value


def _typed(value: Any, annotation: Any, source: ConfigSource | None) -> Any:
    """References inside a field's value, as the artifacts that the annotation says they are."""
    if isinstance(annotation, type) and issubclass(annotation, Artifact):
        if not is_dref(value):  # of a union that takes other texts, too
            return value
        return bound(annotation, value, source) if source is not None else annotation(value)
    if annotation == RefPath:
        return value
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for option in arguments:
            typed = _typed(value, option, source)
            if typed is not value:
                return typed
        return value
    if isinstance(value, list) and len(arguments) == 1:
        return [_typed(item, arguments[0], source) for item in value]
    if isinstance(value, dict) and len(arguments) == 2:
        return {key: _typed(item, arguments[1], source) for key, item in value.items()}
    return value


def check_fields(artifact: type[Artifact], offered: Mapping[str, Any], stage: str) -> None:
    """Make sure that a stage offers every field of its artifact, with the same type. Raises InvalidArtifactType."""
    for name, wanted in artifact.field_types().items():
        if name not in offered:
            raise InvalidArtifactType(
                artifact.__name__, name, f"the stage {stage} has neither a parameter nor an output of that name"
            )
        if offered[name] != wanted:
            got, want = schema.type_name(offered[name]), schema.type_name(wanted)
            raise InvalidArtifactType(artifact.__name__, name, f"is {want}, but the stage {stage} has {got}")
