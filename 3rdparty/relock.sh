#!/usr/bin/env bash
# Resolve all lock files anew from pyproject.toml, for Python 3.10-3.13 at once, with the sums of every file.
#
# Usage: 3rdparty/relock.sh [--upgrade | --upgrade-package NAME]...
#
# Pins that still fit stay as they are; the options, passed on to `uv pip compile`, let all or some of them move.
# Commit what comes out only after `make clean-venv test` on every supported Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command -v uv >/dev/null || {
    echo "relock: needs uv on PATH, to resolve for four versions of Python at once (pip install uv)" >&2
    exit 1
}

# No header, no index address: the files say what to install, not from where.
compile=(uv pip compile --quiet --universal --python-version 3.10 --no-python-downloads
    --generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links "$@")

# Every extra but torch, which few need and which is several GB: it has a lock of its own, beside the same versions.
extras=(--extra tf --extra wiki --extra plot --extra notebook --extra docs --extra dev)

"${compile[@]}" pyproject.toml "${extras[@]}" --constraints 3rdparty/constraints.txt --output-file 3rdparty/lock.txt >/dev/null
"${compile[@]}" pyproject.toml --extra torch --constraints 3rdparty/lock.txt --output-file 3rdparty/lock-torch.txt >/dev/null
"${compile[@]}" 3rdparty/lock-build.in --constraints 3rdparty/lock.txt --output-file 3rdparty/lock-build.txt >/dev/null
