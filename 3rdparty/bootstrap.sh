#!/usr/bin/env bash
# Make .venv at the repository's root what the lock files say, and print nothing where it is so already.
#
# Usage: 3rdparty/bootstrap.sh [packages]        PYTHON=/path/to/python chooses the interpreter
#
# `packages` leaves the project itself out: the docker files install what changes seldom first.
#
# Needs nothing but bash and a CPython 3.10-3.13, and asks pip in its ordinary configuration for everything else.
# - The environment stands for the lock files and the Python that made it: when they change, it is made anew; when
#   pyproject.toml alone changes, the project is installed into it again.
# - An interrupted installation is begun again by the next call, since what is installed is stamped last.
# - Of several calls at once one installs, and the others wait for it.
# - A .venv that somebody else made is left alone, with an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
stamp=$venv/.stagedml
locks=(3rdparty/lock-build.txt 3rdparty/lock.txt)

fail() {
    printf 'bootstrap: %s\n' "$@" >&2
    exit 1
}

say() { printf 'bootstrap: %s\n' "$*" >&2; }

# Why the interpreter $1 will not do; prints nothing where it will.
why_not() {
    local answer
    answer=$("$1" - 2>&1 <<'PYTHON'
import sys, sysconfig
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    print("is Python %d.%d.%d" % sys.version_info[:3])
elif sys.implementation.name != "cpython":
    print("is %s, and TensorFlow has wheels for CPython alone" % sys.implementation.name)
elif sysconfig.get_config_var("Py_GIL_DISABLED"):
    print("is a free-threaded build, and TensorFlow has no wheels for it")
else:
    try:
        import ensurepip, venv
    except ImportError as error:
        print("cannot make a virtual environment: %s (on Debian: apt install python3-venv)" % error)
PYTHON
    ) || answer="does not run: $(printf '%s\n' "$answer" | head -n 1)"
    printf '%s' "$answer"
}

find_python() {
    local candidates=(python3 python3.13 python3.12 python3.11 python3.10 python)
    [ -z "${PYTHON:-}" ] || candidates=("$PYTHON")
    local candidate path reason seen=()
    for candidate in "${candidates[@]}"; do
        path=$(command -v "$candidate") || continue
        reason=$(why_not "$path")
        if [ -z "$reason" ]; then
            # Not the interpreter of an environment that is entered, which may be the one about to be made anew.
            "$path" -c 'import sys; print(sys._base_executable)'
            return
        fi
        seen+=("  $path $reason")
    done
    fail "no suitable Python: StagedML needs CPython 3.10, 3.11, 3.12 or 3.13, for which TensorFlow 2.20" \
        "and everything else in 3rdparty/lock.txt exist. Looked at:" \
        "${seen[@]:-  nothing, for there is no ${candidates[0]} on PATH}" \
        "Install one of them, or name it: make PYTHON=/path/to/python3.12"
}

checksum() { cat "$@" | cksum | tr -d '\n'; }

# The two lines of a stamp: what the packages come from and where (an environment cannot be moved), and what the project
# comes from.
wanted_packages() { printf 'packages %s in %s' "$(checksum "${locks[@]}")" "$PWD"; }

wanted_project() { printf 'project %s' "$(checksum pyproject.toml setup.py)"; }

put_stamp() {
    printf '%s\n' "$@" >"$stamp.new"
    mv "$stamp.new" "$stamp"
}

stamped() { [ -x "$venv/bin/python" ] && grep -qxF -- "$1" "$stamp" 2>/dev/null; }

right_python() { [ -z "${PYTHON:-}" ] || [ "$("$PYTHON" --version 2>&1)" = "$("$venv/bin/python" --version)" ]; }

packages_are_there() { stamped "$(wanted_packages)" && right_python; }

project_is_there() { [ "$what" = packages ] || stamped "$(wanted_project)"; }

# Hold an exclusive lock on descriptor 9 until this script and everything it started have ended.
lock() {
    exec 9>.venv.lock
    "$1" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX | fcntl.LOCK_NB)' 2>/dev/null && return
    say "another make works on $PWD/$venv; waiting for it"
    "$1" -c 'import fcntl; fcntl.flock(9, fcntl.LOCK_EX)'
}

install_packages() {
    local python=$1
    if [ -e "$venv" ] && [ ! -e "$stamp" ]; then
        fail "$PWD/$venv was not made by this script; move it out of the way and try again"
    fi
    say "making $venv with $("$python" --version) ($python): about 3 GB, several minutes"
    # Moved, not made and deleted in place: at no moment is there a .venv without the stamp that says whose it is.
    rm -rf "$venv.new" "$venv.old"
    mkdir "$venv.new"
    : >"$venv.new/${stamp##*/}"
    if [ -e "$venv" ]; then mv "$venv" "$venv.old"; fi
    mv "$venv.new" "$venv"
    rm -rf "$venv.old"
    "$python" -m venv "$venv"
    # Everything is pinned by sum, dependencies included, so nothing is left for pip to resolve; packages that come as
    # source are built with the pinned tools, not with whatever is newest.
    "$venv/bin/python" -m pip install --quiet --require-hashes --no-deps --only-binary :all: -r "${locks[0]}"
    "$venv/bin/python" -m pip install --quiet --require-hashes --no-deps --no-build-isolation -r "${locks[1]}"
    put_stamp "$(wanted_packages)"
}

install_project() {
    "$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
    put_stamp "$(wanted_packages)" "$(wanted_project)"
    say "$venv is ready"
}

what=$*
[ -z "$what" ] || [ "$what" = packages ] || fail "takes nothing, or the word packages; not: $what"

# Without a home folder pip would put its cache into the root of the file system.
[ -n "${HOME:-}" ] || export PIP_NO_CACHE_DIR=1

if packages_are_there && project_is_there; then exit; fi
python=$(find_python)
lock "$python"
packages_are_there || install_packages "$python"
project_is_there || install_project
