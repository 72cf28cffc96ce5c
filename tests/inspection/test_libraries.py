"""Libraries of extras, as they are imported."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from stagedml.ml.libraries import LibraryMissing, imported


def test_what_a_library_warns_of_while_it_is_imported_is_kept_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "warning_library.py").write_text(
        "import warnings\nwarnings.warn('made with another protobuf')\nx = 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert imported("warning_library", "a test").x == 1
        with pytest.raises(UserWarning, match="afterwards"):
            warnings.warn("afterwards", stacklevel=1)


def test_a_library_that_is_missing_is_named_with_its_extra() -> None:
    with pytest.raises(LibraryMissing, match=r"pip install 'stagedml\[plot\]'"):
        imported("no_such_library", "a test")
