#!/usr/bin/env bash
# Work in a container, as yourself, on this working tree and your store. See `rundocker.sh --help`.
#
# The command runs in docker's place at the end, so signals reach it and its exit code is the script's.
set -euo pipefail
unset CDPATH

usage() {
    cat <<'EOF'
Usage: rundocker.sh [DOCKERFILE|IMAGE] [-- COMMAND [ARG...]]

Build DOCKERFILE (default: docker/stagedml_dev.docker), or take IMAGE, and run COMMAND in it (default: what the image
runs):
- as your user and groups, so that what is written belongs to you, here and there (under rootless docker: as the root
  of the container, who is you);
- with this working tree and the store at their own paths, read and written in place;
- with the GPUs, where nvidia-smi finds one;
- with two ports of 127.0.0.1, the same inside and outside, on which runtensorboard and runjupyter answer: 6006 and
  8888 plus your user number modulo 1000, or the next ones that are free;
- with a terminal where there is one; what is piped in reaches the command.

STAGEDML_PORTS="TENSORBOARD JUPYTER" chooses other ports, STAGEDML_PORTS=none publishes none. The store is
PYLIGHTNIX_ROOT, else STAGEDML_ROOT, else ~/_pylightnix. PYLIGHTNIX_STORAGE, PYLIGHTNIX_TMP and STAGEDML_EXPERIMENTS are
mounted too, and the folders of STAGEDML_MIRRORS, read-only. These, the other settings of StagedML (STAGEDML_JOBS, ...)
and http_proxy, https_proxy, no_proxy in either case are passed on; the proxies to the build as well.
EOF
}

fail() {
    echo "rundocker.sh: $*" >&2
    exit 2
}

tree=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
what=$tree/docker/stagedml_dev.docker
program=()

case "${1:-}" in
-h | --help) usage && exit ;;
--) ;;
-*) fail "unknown option $1; try --help" ;;
?*) what=$1 && shift ;;
esac
if [ $# -gt 0 ]; then
    [ "$1" = -- ] || fail "unexpected argument $1; a command stands behind --"
    shift
    program=("$@")
fi
if [ ! -f "$what" ]; then
    case $what in
    /* | ./* | ../* | *.docker | *Dockerfile*) fail "no docker file at $what" ;;
    esac
fi
command -v docker >/dev/null || fail "docker is not on PATH"
case "$(docker --version)" in
podman*) engine=podman question='rootless={{.Host.Security.Rootless}}' gpus=(--device nvidia.com/gpu=all) ;;
*) engine=docker question='{{.SecurityOptions}}' gpus=(--gpus all) ;;
esac
about=$(docker info --format "$question" 2>&1) || fail "docker does not answer: $about"

options=(--rm --init --interactive --workdir "$tree")
if [ -t 0 ] && [ -t 1 ]; then options+=(--tty); fi

share() { # PATH [PATH_INSIDE [ro]]
    case $1 in *:*) fail "docker cannot mount $1: there is a colon in it" ;; esac
    options+=(--volume "$1:${2:-$1}${3:+:$3}")
}

# Names for the numbers of the user and the groups, wherever the host has them from, so that prompts, git and getpass
# find the user. They are written at each start and stay: the container may outlive this script.
name_the_user() {
    local names=${XDG_CACHE_HOME:-$HOME/.cache}/stagedml/docker group file
    mkdir -p "$names"
    {
        echo "root:x:0:0:root:/root:/bin/bash"
        echo "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin"
        [ "$(id -u)" = 0 ] || echo "$(id -un):x:$(id -u):$(id -g)::/tmp:/bin/bash"
    } >"$names/passwd.$$"
    for group in 0 65534 $(id -G); do
        getent group "$group" 2>/dev/null | cut -d: -f1-3 | sed 's/$/:/' | grep . || echo "group$group:x:$group:"
    done | sort -u >"$names/group.$$"
    for file in passwd group; do
        mv "$names/$file.$$" "$names/$file"
        share "$names/$file" "/etc/$file" ro
    done
}

case $engine-$about in
docker-*name=rootless*) options+=(--user 0:0) ;; # which is the host's user
podman-*rootless=true*)
    options+=(--userns keep-id --user "$(id -u):$(id -g)" --group-add keep-groups)
    name_the_user
    ;;
*)
    case $about in *name=userns*) options+=(--userns host) ;; esac # other numbers inside would own what is written
    options+=(--user "$(id -u):$(id -g)")
    for group in $(id -G); do options+=(--group-add "$group"); done
    name_the_user
    ;;
esac
if nvidia-smi --list-gpus 2>/dev/null | grep '^GPU ' >/dev/null; then options+=("${gpus[@]}"); fi

# Nobody's home is there: caches and histories go where they end with the container.
options+=(--env HOME=/tmp --env "PYTHONPATH=$tree/src")
share "$tree"

# Made here, since docker would make a missing folder as root.
share_folder() {
    local folder
    folder=$(mkdir -p "$2" && cd "$2" && pwd)
    options+=(--env "$1=$folder")
    share "$folder"
}
share_folder PYLIGHTNIX_ROOT "${PYLIGHTNIX_ROOT:-${STAGEDML_ROOT:-$HOME/_pylightnix}}"
for name in PYLIGHTNIX_STORAGE PYLIGHTNIX_TMP STAGEDML_EXPERIMENTS; do
    if [ -n "${!name:-}" ]; then share_folder "$name" "${!name}"; fi
done
IFS=: read -r -a mirrors <<<"${STAGEDML_MIRRORS:-}"
for mirror in ${mirrors[@]+"${mirrors[@]}"}; do
    if [ -d "$mirror" ] && [ "${mirror#/}" != "$mirror" ]; then share "$mirror" "$mirror" ro; fi
done

# By name alone: docker takes the values from the environment, and `ps` shows nobody a proxy's password.
arguments=()
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
    if [ -n "${!name:-}" ]; then options+=(--env "$name") && arguments+=(--build-arg "$name"); fi
done
for name in CATALOGUE DURABLE JOBS KEEP MIRRORS OFFLINE PACKAGES; do
    name=STAGEDML_$name
    if [ -n "${!name:-}" ]; then options+=(--env "$name"); fi
done

busy() { (: >"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

publish() {
    options+=(--publish "127.0.0.1:$2:$2" --env "STAGEDML_$1_PORT=$2")
    echo "rundocker.sh: port $2 for $3" >&2
}
read -r -a ports <<<"${STAGEDML_PORTS:-$((6006 + $(id -u) % 1000)) $((8888 + $(id -u) % 1000))}"
if [ "${ports[*]}" != none ]; then
    [[ ${ports[*]} =~ ^[0-9]{1,5}\ [0-9]{1,5}$ ]] || fail "STAGEDML_PORTS=$STAGEDML_PORTS: give two ports, or none"
    if [ -z "${STAGEDML_PORTS:-}" ]; then
        for i in 0 1; do while busy "${ports[i]}"; do ports[i]=$((ports[i] + 1)); done; done
    fi
    publish TENSORBOARD "${ports[0]}" runtensorboard
    publish JUPYTER "${ports[1]}" runjupyter
fi

image=$what
if [ -f "$what" ]; then
    # One for each user: two who work on one machine do not take each other's.
    image=$(basename "${what%.docker}" | tr '[:upper:]' '[:lower:]' | tr -c '[:alnum:]\n' -)
    image=stagedml-${image#stagedml-}:$(id -u)
    docker build ${arguments[@]+"${arguments[@]}"} --tag "$image" --file "$what" "$tree" >&2
fi
# The command takes the place of an image's own, entry point included.
if [ ${#program[@]} -gt 0 ]; then options+=(--entrypoint "${program[0]}"); fi
exec docker run "${options[@]}" "$image" ${program[@]+"${program[@]:1}"}
