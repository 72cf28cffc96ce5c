# shellcheck shell=bash
# The development environment, for bash and zsh: `. env.sh`, from any folder.
#
# Makes or renews .venv from the lock files (`make environment`), enters it, and defines the functions that `envhelp`
# lists. Variables that are set already keep their values. `deactivate` leaves the environment.

if [ -n "${ZSH_VERSION:-}" ]; then
    # This is zsh's name for the file being read, which bash could not parse.
    eval 'STAGEDML_SOURCE=${(%):-%x}'
elif [ "${BASH_SOURCE[0]:-}" = "$0" ] || [ -z "${BASH_SOURCE[0]:-}" ]; then
    echo "env.sh: is read by the shell that you work in, not run: type '. env.sh' in bash or zsh" >&2
    exit 2
else
    STAGEDML_SOURCE=${BASH_SOURCE[0]}
fi
STAGEDML_SOURCE=$(cd "$(dirname "$STAGEDML_SOURCE")" && pwd)
export STAGEDML_SOURCE

envhelp() {
    cat <<'EOF'
runipython [ARG...]       IPython with the catalogue: from stagedml.stages.all import *
runtests [ARG...]         pytest without the slow tests; arguments go to pytest
typecheck                 mypy --strict, as `make test` does it
runtensorboard REF|DIR    TensorBoard on the logs of a realization, or of a folder
envhelp                   this list
EOF
}

runipython() { ipython --InteractiveShellApp.exec_lines='from stagedml.stages.all import *' "$@"; }

runtests() { (cd "$STAGEDML_SOURCE" && python -m pytest -m "not slow" "$@"); }

typecheck() { (cd "$STAGEDML_SOURCE" && mypy); }

runtensorboard() {
    if [ $# -ne 1 ]; then
        echo "runtensorboard: name one realization (stagedml ls lists them) or one folder" >&2
        return 2
    fi
    local logs=$1
    [ -d "$logs" ] || logs=$(stagedml path "$1") || return
    tensorboard --logdir "$logs"
}

if make --no-print-directory -C "$STAGEDML_SOURCE" environment; then
    # shellcheck source=/dev/null
    . "$STAGEDML_SOURCE/.venv/bin/activate"
    # This working tree comes first, in programs that other environments start, too.
    case ":${PYTHONPATH:-}:" in
    *":$STAGEDML_SOURCE/src:"*) ;;
    *) export PYTHONPATH="$STAGEDML_SOURCE/src${PYTHONPATH:+:$PYTHONPATH}" ;;
    esac
    export STAGEDML_ROOT="${STAGEDML_ROOT:-${PYLIGHTNIX_ROOT:-$HOME/_pylightnix}}"
    export STAGEDML_EXPERIMENTS="${STAGEDML_EXPERIMENTS:-$STAGEDML_ROOT/roots}"
    if [ -t 1 ]; then
        echo "StagedML at $STAGEDML_SOURCE, store under $STAGEDML_ROOT"
        envhelp
    fi
else
    echo "env.sh: the environment could not be made; see above" >&2
    return 1
fi
