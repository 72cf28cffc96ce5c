#!/usr/bin/env bash
# Build the development image and work in it, as yourself, on this working tree and your store.
set -euo pipefail

usage() {
    cat <<'EOF'
Usage: rundocker.sh [DOCKERFILE] [-- COMMAND [ARG...]]

Build DOCKERFILE (default: docker/stagedml_dev.docker) and run COMMAND (default: bash) in it:
- as your user and groups, so that what is written belongs to you, here and there;
- with this working tree and the store at their own paths, read and written in place;
- with the GPUs, where nvidia-smi finds one.

The store is PYLIGHTNIX_ROOT, else STAGEDML_ROOT, else ~/_pylightnix. PYLIGHTNIX_STORAGE, PYLIGHTNIX_TMP and
STAGEDML_EXPERIMENTS are passed on and mounted, STAGEDML_MIRRORS too (its folders read-only).
EOF
}

fail() {
    echo "rundocker.sh: $*" >&2
    exit 2
}

source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dockerfile=$source_dir/docker/stagedml_dev.docker
program=(bash)

case "${1:-}" in
-h | --help) usage && exit ;;
--) ;;
-*) fail "unknown option $1; try --help" ;;
?*) dockerfile=$1 && shift ;;
esac
if [ $# -gt 0 ]; then
    [ "$1" = -- ] || fail "unexpected argument $1; a command stands behind --"
    shift
    [ $# -eq 0 ] || program=("$@")
fi
[ -f "$dockerfile" ] || fail "no docker file at $dockerfile"
command -v docker >/dev/null || fail "docker is not on PATH"

options=(--rm --init --user "$(id -u):$(id -g)" --workdir "$source_dir" --volume "$source_dir:$source_dir")
for group in $(id -G); do options+=(--group-add "$group"); done
# Names for these numbers, so that prompts, git and getpass find the user.
for file in /etc/passwd /etc/group; do
    if [ -f "$file" ]; then options+=(--volume "$file:$file:ro"); fi
done
# Nobody's home is there: caches and histories go where they end with the container.
options+=(--env HOME=/tmp --env "PYTHONPATH=$source_dir/src")

# Made here, since docker would make a missing folder as root.
share() {
    local folder
    folder=$(mkdir -p "$2" && cd "$2" && pwd)
    options+=(--env "$1=$folder" --volume "$folder:$folder")
}
share PYLIGHTNIX_ROOT "${PYLIGHTNIX_ROOT:-${STAGEDML_ROOT:-$HOME/_pylightnix}}"
for name in PYLIGHTNIX_STORAGE PYLIGHTNIX_TMP STAGEDML_EXPERIMENTS; do
    if [ -n "${!name:-}" ]; then share "$name" "${!name}"; fi
done
if [ -n "${STAGEDML_MIRRORS:-}" ]; then
    options+=(--env "STAGEDML_MIRRORS=$STAGEDML_MIRRORS")
    IFS=: read -r -a mirrors <<<"$STAGEDML_MIRRORS"
    for mirror in "${mirrors[@]}"; do
        if [ -d "$mirror" ] && [ "${mirror#/}" != "$mirror" ]; then options+=(--volume "$mirror:$mirror:ro"); fi
    done
fi

if nvidia-smi --list-gpus 2>/dev/null | grep -q '^GPU '; then options+=(--gpus all); fi
if [ -t 0 ] && [ -t 1 ]; then options+=(--interactive --tty); fi

image=stagedml-$(basename "${dockerfile%.docker}" | tr '[:upper:]_' '[:lower:]-')
# The lock files are all that an image needs of this tree, and all that docker gets to see.
docker build --tag "$image" --file "$dockerfile" "$source_dir/3rdparty" >&2
exec docker run "${options[@]}" "$image" "${program[@]}"
