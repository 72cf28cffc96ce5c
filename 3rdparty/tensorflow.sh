#!/usr/bin/env bash
# Build TensorFlow from the source that sources.txt pins, and install what was built into the environment.
#
# Usage: 3rdparty/tensorflow.sh build|install [cpu|cuda]
#
# Without cpu or cuda: cuda where nvidia-smi lists a GPU. Everything lies under 3rdparty/build, and all of it may be
# deleted at any time:
# - source-<commit>/ is fetched once. A fetch that was cut off is begun again: HEAD is the commit when all of it is there.
# - bazel/ is Bazel's own output; a build that was interrupted goes on where it stopped.
# - wheels/<commit>-<python>-<cpu or cuda>/ holds one finished wheel: it is moved there last.
# CUDA and cuDNN come through Bazel, in the versions that TensorFlow's release was built with.
# One build at a time: a second call is told so.
set -euo pipefail
unset CDPATH
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
build=$here/build
venv=${STAGEDML_VENV:-$(dirname -- "$here")/.venv}
python=$venv/bin/python
need_gib=40 # an estimate of what Bazel writes, most of it under bazel/

fail() {
    printf 'tensorflow: %s\n' "$@" >&2
    exit 1
}

say() { printf 'tensorflow: %s\n' "$*" >&2; }

usage() {
    echo "Usage: 3rdparty/tensorflow.sh build|install [cpu|cuda]" >&2
    exit 2
}

# The address and the hash of one name in sources.txt.
pin() {
    local name url hash
    while read -r name url hash; do
        if [ "$name" = "$1" ]; then
            echo "$url $hash"
            return
        fi
    done <"$here/sources.txt"
    fail "sources.txt has no $1"
}

# grep reads to the end: one that stops early ends nvidia-smi, and that would count as a failure.
has_gpu() { nvidia-smi --list-gpus 2>/dev/null | grep '^GPU ' >/dev/null; }

# The first clang that is new enough for TensorFlow 2.20; its own release was built with 18.
find_clang() {
    local candidate version seen=()
    for candidate in ${CLANG:+"$CLANG"} clang-18 clang clang-17 clang-19 clang-20; do
        version=$("$candidate" -dumpversion 2>/dev/null) || continue
        if [ "${version%%.*}" -ge 17 ]; then
            command -v "$candidate"
            return
        fi
        seen+=("$candidate is $version")
    done
    fail "needs clang 17 or later: ${seen[*]:-there is none on PATH}" \
        "Install clang-18, or name one: CLANG=/path/to/clang buildtf"
}

check_tools() {
    [ "$(uname -s)" = Linux ] || fail "builds on Linux alone"
    command -v git >/dev/null || fail "git is not on PATH"
    command -v bazel >/dev/null || command -v curl >/dev/null || fail "needs bazel on PATH, or curl to fetch it with"
    clang=$(find_clang)
    [ ! -d "$build/bazel" ] || return 0 # what is there already is part of what a build takes
    local free_gib
    free_gib=$(($(df -Pk "$build" | awk 'NR == 2 { print $4 }') / 1024 / 1024))
    [ "$free_gib" -ge "$need_gib" ] || fail "$build has $free_gib GiB free, and a build takes about $need_gib"
}

# Held on descriptor 9 until this script ends; Bazel's server, which stays, does not get it.
lock() {
    mkdir -p "$build"
    exec 9>"$build/.lock"
    flock --nonblock 9 || fail "another build works in $build"
}

fetch_source() {
    [ "$(git -C "$source" rev-parse --verify --quiet HEAD 2>/dev/null)" != "$commit" ] || return 0
    say "fetching $url at $commit"
    [ -d "$source/.git" ] || git init --quiet "$source"
    rm -f "$source"/.git/*.lock # of a git that was killed
    # Nothing asks for a password, and a line that went dead is given up.
    GIT_TERMINAL_PROMPT=0 git -C "$source" -c http.lowSpeedLimit=1000 -c http.lowSpeedTime=60 \
        fetch --quiet --depth 1 "$url" "$commit" ||
        fail "could not fetch $commit from $url" "Is there a network, and a proxy in https_proxy if it takes one?"
    git -C "$source" checkout --quiet --force --detach "$commit"
}

# A bazel of the version that TensorFlow names comes from PATH, or is run by the pinned bazelisk.
find_bazel() {
    local version address sum
    version=$(<"$source/.bazelversion")
    export BAZELISK_HOME=$build/bazelisk
    if [ "$(cd "$source" && bazel --version 2>/dev/null)" = "bazel $version" ]; then return; fi
    if [ ! -x "$build/bin/bazel" ]; then
        command -v curl >/dev/null || fail "needs bazel $version on PATH, or curl to fetch it with"
        read -r address sum < <(pin "bazelisk-$(uname -m)")
        say "fetching $address"
        mkdir -p "$build/bin"
        curl --fail --silent --show-error --location --retry 3 --output "$build/bin/bazel.part" "$address" ||
            fail "could not fetch $address; or put bazel $version on PATH"
        echo "$sum  $build/bin/bazel.part" | sha256sum --check --status ||
            fail "$address is not what sources.txt pins: expected sha256 $sum"
        chmod +x "$build/bin/bazel.part"
        mv "$build/bin/bazel.part" "$build/bin/bazel"
    fi
    PATH=$build/bin:$PATH
    (cd "$source" && bazel --version >/dev/null) || fail "bazelisk could not fetch bazel $version; see above"
}

# TensorFlow's own questions, answered; what is not answered here takes its default, for nobody is there to ask.
configure() {
    local capabilities=sm_60,sm_70,sm_80,sm_89,compute_90 # those of the release
    if has_gpu; then
        capabilities=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | sort -u | paste -sd, -)
    fi
    say "configuring for $device"
    (
        cd "$source" || exit
        unset PYTHONPATH # its packages would be compiled in
        export PYTHON_BIN_PATH=$python USE_DEFAULT_PYTHON_LIB_PATH=1 TF_SET_ANDROID_WORKSPACE=0 TF_NEED_ROCM=0
        export TF_NEED_CUDA TF_CUDA_CLANG=1 CLANG_CUDA_COMPILER_PATH=$clang
        export TF_NEED_CLANG=1 CLANG_COMPILER_PATH=$clang CC_OPT_FLAGS=-Wno-sign-compare
        export HERMETIC_CUDA_COMPUTE_CAPABILITIES=$capabilities
        TF_NEED_CUDA=$([ "$device" = cuda ] && echo 1 || echo 0)
        ./configure </dev/null >"$build/configure.log" 2>&1
    ) || fail "configure failed; the end of $build/configure.log:" "$(tail -n 5 "$build/configure.log")"
}

build_wheel() {
    local options=(--config=opt --repo_env=ML_WHEEL_TYPE=release --repo_env=WHEEL_NAME=tensorflow
        --repo_env=USE_PYWRAP_RULES=1 "--repo_env=HERMETIC_PYTHON_VERSION=$version")
    [ "$device" = cpu ] || options+=(--config=cuda_wheel)
    say "building the wheel: hours; interrupt it and run the same again to go on"
    local made=$source/bazel-bin/tensorflow/tools/pip_package/wheel_house
    (
        cd "$source" || exit
        bazel --output_user_root="$build/bazel" build "${options[@]}" //tensorflow/tools/pip_package:wheel
    ) 9>&- || fail "the build failed; see above. The next buildtf goes on from here"
    local found=("$made"/tensorflow-*-"cp${version/./}"-*.whl)
    [ ${#found[@]} -eq 1 ] && [ -f "${found[0]}" ] || fail "bazel ended well, but left no wheel for $version in $made"
    rm -rf "$wheels.part"
    mkdir -p "$wheels.part"
    cp "${found[0]}" "$wheels.part"
    sync "$wheels.part"/*
    mv "$wheels.part" "$wheels"
}

[ $# -ge 1 ] && [ $# -le 2 ] || usage
device=${2:-$(has_gpu && echo cuda || echo cpu)}
case $1-$device in build-cpu | build-cuda | install-cpu | install-cuda) ;; *) usage ;; esac
read -r url commit < <(pin tensorflow)
source=$build/source-$commit
[ -x "$python" ] || fail "no environment at $venv: run make environment first"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
wheels=$build/wheels/$commit-$version-$device

if [ "$1" = build ] && [ ! -d "$wheels" ]; then
    lock
    check_tools
    fetch_source
    find_bazel
    configure
    build_wheel
fi
[ -d "$wheels" ] || fail "no wheel of $commit for Python $version, $device: run buildtf $device first"
if [ "$1" = build ]; then
    echo "$wheels"/*.whl
    exit
fi
[ -w "$venv" ] || fail "$venv is not yours to write to"
"$python" -m pip install --quiet --no-deps --force-reinstall "$wheels"/*.whl
say "installed $(basename "$wheels"/*.whl); make clean-venv environment goes back to the pinned one"
