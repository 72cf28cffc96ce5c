"""A local web server, and no proxy between the tests and it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from remotes.web import Web, local_web


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def web() -> Iterator[Web]:
    with local_web() as web:
        yield web
