"""The front door: a session typed into a real IPython under a terminal reads as the README prints it."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pexpect
import pytest


@pytest.mark.parametrize("extension", [[], ["--ext=stagedml"]], ids=["plain", "with the extension"])
def test_a_session_reads_as_printed(tmp_path: Path, extension: list[str]) -> None:
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent / "src"),
        "TERM": "dumb",
    }
    shell = pexpect.spawn(
        sys.executable,
        ["-m", "IPython", "--simple-prompt", "--no-banner", "--colors=NoColor", *extension],
        env=environment,
        encoding="utf-8",
        timeout=120,
        dimensions=(50, 200),
    )

    def type_in(number: int, line: str) -> str:
        """What the session shows between the line and the next prompt."""
        shell.expect_exact(f"In [{number}]: ")
        shell.sendline(line)
        shell.expect_exact(line)
        shell.expect(rf"(?=In \[{number + 1}\]: )")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shell.before or "").strip()

    assert type_in(1, "from stagedml.stages.all import *; from stagedml.testing.toys import all_counted") == ""
    assert type_in(2, "store_initialize()") == ""
    first = type_in(3, "realize(instantiate(all_counted, 'words'))")
    found = re.search(r"Out\[3\]: '(rref:([0-9a-f]{32})-([0-9a-f]{32}-count))'", first)
    assert found, first
    assert type_in(4, "rref = _") == ""
    assert type_in(5, "print(rref2path(rref))") == f"{tmp_path}/_pylightnix/store-v0/{found[3]}/{found[2]}"
    assert type_in(6, "mklens(rref).scale.val") == "Out[6]: 1.0"
    assert type_in(7, "mklens(rref).source.source.content.val") == "Out[7]: 'words'"
    assert type_in(8, "realize(instantiate(all_counted, 'words')) == rref") == "Out[8]: True"
    refused = type_in(9, "mklens(rref).scales")
    assert "has no field 'scales'; did you mean 'scale'?" in refused
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
