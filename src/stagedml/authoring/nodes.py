"""Nodes: derivations of a config and contents, which no builder has to make."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, TypeVar, cast, overload

from stagedml.authoring import schema
from stagedml.authoring.artifact import Artifact, bound, is_artifact_type
from stagedml.authoring.build import Build, check_outputs, mark_start, mark_stop
from stagedml.authoring.matchers import StageMatcher, latest
from stagedml.authoring.pylightnix import Derivation, DRef, RefPath
from stagedml.authoring.registry import Declaration, StageRegistry, caller
from stagedml.authoring.stage import InvalidArguments, OutputPath, OwnRealizer, declaring
from stagedml.authoring.view import plain
from stagedml.core import config as configs
from stagedml.core.config import RESERVED, Config, article
from stagedml.core.refs import LONGEST_NAME, is_valid_name
from stagedml.store.layout import RESERVED_NAMES, UNHASHED

A = TypeVar("A", bound=Artifact)

#: The field of a node's config that holds the SHA-256 of each file, by its path; Pylightnix's nodes have it, too.
ARTIFACTS = "__artifacts__"


@overload
def mknode(
    config: Mapping[str, Any],
    artifacts: Mapping[str, bytes | str] = ...,
    name: str = ...,
    *,
    matcher: StageMatcher | None = ...,
) -> Artifact: ...
@overload
def mknode(
    config: Mapping[str, Any],
    artifacts: Mapping[str, bytes | str] = ...,
    name: str = ...,
    *,
    artifact: type[A],
    matcher: StageMatcher | None = ...,
) -> A: ...
def mknode(
    config: Mapping[str, Any],
    artifacts: Mapping[str, bytes | str] = MappingProxyType({}),
    name: str = "mknode",
    *,
    artifact: type[Artifact] = Artifact,
    matcher: StageMatcher | None = None,
) -> Artifact:
    """A derivation of a config and the contents of files; nothing has to be built for it.

        mknode({"shout": False, "text": output("text.txt")}, {"text.txt": "Hello"}, name="greeting", artifact=Text)

    The config is its identity, and holds the SHA-256 of each file. The contents are kept in memory until it is
    realized, so let them be small; `fetchlocal` takes large files.

    Args:
        config: its fields: JSON values, references to other stages, and at the top `output(path)` for the path of a
            file or folder among the artifacts.
        artifacts: what a realization holds: path, parts joined by `/` -> contents; text is written as UTF-8.
        name: the name of the derivation.
        artifact: what a realization holds, for those that it is an input of; each field must be one of the config.
        matcher: which realizations stand for it; default `latest()`.

    Raises:
        InvalidArguments: something cannot be in a config or a file, or the artifact's fields are not there.
    """
    registry = declaring("mknode")
    problems = [
        *_problems_of_config(config),
        *_problems_of_artifacts(artifacts),
        *_problems_of_the_rest(name, artifact, matcher),
    ]
    if problems:
        raise InvalidArguments("mknode", problems)
    contents = {
        str(PurePosixPath(path)): content.encode() if isinstance(content, str) else content
        for path, content in artifacts.items()
    }
    problems = list(_problems_of_outputs(config, contents))
    parameters, mismatches = _typed_by(artifact, config)
    if problems or mismatches:
        raise InvalidArguments("mknode", [*problems, *mismatches])
    return cast(Artifact, _declare(registry, artifact, name, parameters, contents, matcher or latest()))


def _declare(
    registry: StageRegistry,
    artifact: type[Artifact],
    name: str,
    parameters: dict[str, Any],
    contents: dict[str, bytes],
    matcher: StageMatcher,
) -> Any:
    prefixes = sorted(field for field, value in parameters.items() if isinstance(value, OutputPath) and value.prefix)
    config: Config = {
        **{field: plain(value) for field, value in parameters.items()},
        ARTIFACTS: {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()},
        "name": name,
        "stagedml": {"prefixes": prefixes} if prefixes else {},
    }
    declaration = Declaration(
        stage=None,
        parameters=parameters,
        exec_values={},
        config=config,
        text=configs.canonical(config),
        ref=configs.reference(config),
        inputs=configs.inputs_of(config),
        matcher=matcher,
        caller=caller(),
    )
    realizer = NodeRealizer(declaration, contents)
    registry.declare(declaration, Derivation(DRef(declaration.dref), matcher, realizer))
    return bound(artifact, declaration.dref, registry)


def _problems_of_config(config: object) -> Iterator[str]:
    if not isinstance(config, Mapping):
        yield f"config: wanted a dict, got {schema.describe(config)}"
        return
    for field, value in config.items():
        if not isinstance(field, str):
            yield f"config: the key {field!r} is {article(type(field).__name__)}, keys must be strings"
        elif field == "name":
            yield "name: give it beside the config: `mknode(config, artifacts, name=...)`"
        elif field in RESERVED or field == ARTIFACTS:
            yield f"{field}: a reserved name of configs; choose another one"
        elif not isinstance(value, OutputPath):
            yield from configs.problems_of(value, field)


def _problems_of_artifacts(artifacts: object) -> Iterator[str]:
    if not isinstance(artifacts, Mapping):
        yield f"artifacts: wanted a dict of paths and contents, got {schema.describe(artifacts)}"
        return
    seen: set[PurePosixPath] = set()
    for path, content in artifacts.items():
        place = PurePosixPath(path) if isinstance(path, str) else PurePosixPath()
        if not place.parts or place.is_absolute() or ".." in place.parts or "\0" in str(place):
            yield f"artifacts: {path!r} is no path relative to the realization"
            continue
        if place.parts[0] in UNHASHED | RESERVED_NAMES:
            yield f"artifacts: {path!r}: {place.parts[0]} is a reserved name"
        if any(place == other or place in other.parents or other in place.parents for other in seen):
            yield f"artifacts: {path!r} is there twice, or both a file and a folder"
        seen.add(place)
        if not isinstance(content, (bytes, str)):
            yield f"artifacts: {path!r}: wanted bytes or text, got {schema.describe(content)}"


def _problems_of_the_rest(name: Any, artifact: Any, matcher: Any) -> Iterator[str]:
    if not isinstance(name, str) or not is_valid_name(name):
        yield f"name: {name!r} is no name; names are made of letters, digits, `-` and `_`, up to {LONGEST_NAME} of them"
    if not is_artifact_type(artifact):
        yield f"artifact: wanted a class derived from Artifact, got {schema.describe(artifact)}"
    if matcher is not None and not callable(matcher):
        yield f"matcher: wanted a matcher, such as latest(), got {schema.describe(matcher)}"


def _problems_of_outputs(config: Mapping[str, Any], contents: Mapping[str, bytes]) -> Iterator[str]:
    for field, value in config.items():
        if isinstance(value, OutputPath):
            path = "/".join(value[1:])
            if not any(
                there.startswith(f"{path}.") if value.prefix else there == path or there.startswith(f"{path}/")
                for there in contents
            ):
                there = ", ".join(contents) or "none"
                yield f"{field}: output({path!r}) is not among the artifacts; there are: {there}"


def _typed_by(artifact: type[Artifact], config: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields of the config as the artifact wants them, and what is wrong with them."""
    parameters, problems = dict(config), []
    for field, annotation in artifact.field_types().items():
        if field not in config:
            problems.append(f"{field}: missing; {artifact.__name__} promises it")
        elif isinstance(config[field], OutputPath):
            if annotation != RefPath:
                problems.append(f"{field}: wanted {schema.type_name(annotation)}, got the path of an output")
        else:
            try:
                parameters[field] = schema.compile_check(annotation, f"{artifact.__name__}.{field}")(
                    config[field], field
                )
            except schema.Mismatch as error:
                problems.extend(error.problems)
    return parameters, problems


class NodeRealizer(OwnRealizer):
    """Writes the contents that a node was declared with."""

    def __init__(self, declaration: Declaration, contents: Mapping[str, bytes]) -> None:
        self.declaration = declaration
        self.contents = contents

    def run(self, build: Build) -> tuple[float, float]:
        started = mark_start(build.outpath)
        for path, content in self.contents.items():
            place = build.outpath / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        check_outputs(build)
        return started, mark_stop(build.outpath)
