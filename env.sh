# shellcheck shell=bash
# The development environment, for bash and zsh: `. ./env.sh`, or by its path from any folder.
#
# Makes or renews .venv from the lock files (`make environment`), enters it, and defines the functions that `envhelp`
# lists. STAGEDML_ROOT and STAGEDML_EXPERIMENTS keep the values that they have. `deactivate` leaves the environment:
# variables are what they were before, and the functions are gone.

if [ -z "${BASH_VERSION:-}${ZSH_VERSION:-}" ]; then
    echo "env.sh: works in bash and zsh" >&2
    return 1
elif [ -n "${ZSH_VERSION:-}" ]; then
    # These are zsh's words for the file being read and for how it came to be, which bash could not parse.
    eval '_stagedml_file=${(%):-%x}'
    case $ZSH_EVAL_CONTEXT in *file*) ;; *) _stagedml_file='' ;; esac
else
    _stagedml_file=${BASH_SOURCE[0]:-}
    if [ "$_stagedml_file" = "$0" ]; then _stagedml_file=''; fi
fi
if [ -z "$_stagedml_file" ]; then
    echo "env.sh: is read by the shell that you work in, not run: type '. ./env.sh' in bash or zsh" >&2
    exit 2
fi

# Read once more, it starts from what was there before.
if [ -n "${_stagedml_before:-}" ]; then deactivate; fi

_stagedml_tree=$(CDPATH='' cd -- "$(dirname -- "$_stagedml_file")" && pwd)
_stagedml_activate=${STAGEDML_VENV:-$_stagedml_tree/.venv}/bin/activate
unset _stagedml_file
if ! make --no-print-directory -C "$_stagedml_tree" environment || [ ! -f "$_stagedml_activate" ]; then
    echo "env.sh: there is no environment at ${_stagedml_activate%/bin/activate}; see above" >&2
    unset _stagedml_tree _stagedml_activate
    return 1
fi

# The commands that bring variables back to what they are now.
_stagedml_remember() {
    local name value
    for name in "$@"; do
        if eval "[ -n \"\${$name+set}\" ]"; then
            eval "value=\$$name"
            printf 'export %s=%q; ' "$name" "$value"
        else
            printf 'unset %s; ' "$name"
        fi
    done
}

envhelp() {
    cat <<'EOF'
runipython [ARG...]             IPython with the catalogue: from stagedml.stages.all import *
runjupyter [ARG...]             JupyterLab on a free port of this machine; prints its address, opens no browser
runtensorboard [SELECTOR|DIR]   TensorBoard on the logs of realizations, or of a folder
runtests [ARG...]               pytest without the slow tests; arguments go to pytest
typecheck                       mypy --strict, as `make test` does it
stagedml_gc [ARG...]            lists what nothing keeps, as stagedml gc; --delete deletes it
buildtf [cpu|cuda]              build TensorFlow from the pinned source (hours; docs/how-to/dev-shell.md)
installtf [cpu|cuda]            install what buildtf built into the environment
envhelp                         this list
deactivate                      leave the environment
EOF
}

runipython() {
    ipython --ext=stagedml --InteractiveShellApp.exec_lines='from stagedml.stages.all import *' "$@"
}

# In rundocker.sh's container the ports are those that it published.
runjupyter() {
    if [ -n "${STAGEDML_JUPYTER_PORT:-}" ]; then
        set -- --ip=0.0.0.0 --port="$STAGEDML_JUPYTER_PORT" --port-retries=0 --allow-root "$@"
    fi
    jupyter lab --no-browser "$@"
}

runtensorboard() {
    if [ -n "${STAGEDML_TENSORBOARD_PORT:-}" ]; then
        set -- "$@" --host 0.0.0.0 --port "$STAGEDML_TENSORBOARD_PORT"
    fi
    if [ $# -gt 0 ] && [ -d "$1" ]; then
        tensorboard --logdir "$@"
    else
        stagedml tensorboard "$@"
    fi
}

runtests() { (cd "$STAGEDML_SOURCE" && python -m pytest -m "not slow" "$@"); }

typecheck() { (cd "$STAGEDML_SOURCE" && mypy "$@"); }

stagedml_gc() { stagedml gc "$@"; }

buildtf() { "$STAGEDML_SOURCE/3rdparty/tensorflow.sh" build "$@"; }

installtf() { "$STAGEDML_SOURCE/3rdparty/tensorflow.sh" install "$@"; }

# Completion of `stagedml` with the tab key, at a prompt.
_stagedml_complete() {
    local shell=bash script
    case $- in *i*) ;; *) return 0 ;; esac
    if [ -n "${ZSH_VERSION:-}" ]; then
        typeset -f compdef >/dev/null || return 0 # this zsh completes nothing
        shell=zsh
    fi
    script=$(stagedml completion $shell 2>/dev/null) || return 0
    eval "$script"
}

_stagedml_before=$(_stagedml_remember PYTHONPATH STAGEDML_SOURCE STAGEDML_ROOT STAGEDML_EXPERIMENTS)
# shellcheck source=/dev/null
. "$_stagedml_activate"
# The environment's own goes by another name from here on.
eval "$(typeset -f deactivate | sed '1s/deactivate/_stagedml_leave/')"
deactivate() {
    _stagedml_leave # undefines deactivate, too
    eval "$_stagedml_before"
    unset _stagedml_before
    unset -f _stagedml_leave _stagedml_remember _stagedml_complete envhelp runipython \
        runjupyter runtensorboard runtests typecheck stagedml_gc buildtf installtf
}
export STAGEDML_SOURCE=$_stagedml_tree
unset _stagedml_tree _stagedml_activate
# This working tree comes first, in programs that other environments start, too.
case ":${PYTHONPATH:-}:" in
*":$STAGEDML_SOURCE/src:"*) ;;
*) export PYTHONPATH="$STAGEDML_SOURCE/src${PYTHONPATH:+:$PYTHONPATH}" ;;
esac
export STAGEDML_ROOT="${STAGEDML_ROOT:-${PYLIGHTNIX_ROOT:-$HOME/_pylightnix}}"
export STAGEDML_EXPERIMENTS="${STAGEDML_EXPERIMENTS:-$STAGEDML_ROOT/roots}"
_stagedml_complete
if [ -t 1 ]; then
    echo "StagedML at $STAGEDML_SOURCE, store under $STAGEDML_ROOT"
    envhelp
fi
