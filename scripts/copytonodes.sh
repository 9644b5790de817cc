#!/bin/sh
# Usage: sh scripts/copytonodes.sh FIRST LAST
#
# Copy what a node needs (gproc, its certificate and its keys) to the nodes numbered FIRST to LAST. Run it on the
# machine on which `gproc m` runs: `gproc cert` makes the nodes' certificates there. If a node cannot be reached, the
# script names it, goes on with the others, and exits with status 1. Afterwards, `~/.local/share/gproc/gproc s` starts
# a slave on a node. Environment (with defaults):
#
#   GPROC_PREFIX       the part of a node's name before the number (kn)
#   GPROC_USER         the user on the nodes (as ssh decides)
#   GPROC_DEST         the directory for gproc, relative to the user's home directory (.local/share/gproc)
#   GPROC_PARALLEL     the number of nodes copied to at a time (16)
#   GPROC_SSH_OPTIONS  options for both ssh and scp: "-o Port=2222", but not -p, which differs between the two
#   GPROC_PACKAGE      an archive that node-package.sh made earlier (a new one is made)
#   GPROC_PYTHON       the Python that node-package.sh packs for (python3)
#   GPROC              the gproc command of this machine (the one in the checkout's .venv, else the one on PATH)

set -eu

usage() {
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

fail() {
    echo "copytonodes: $1" >&2
    exit "${2:-1}"
}

is_number() {
    case $1 in
        '' | *[!0-9]* | 0* | ??????????*) return 1 ;;
    esac
}

if [ $# -ne 2 ] || ! is_number "$1" || ! is_number "$2"; then
    usage
fi
first=$1
last=$2
[ "$first" -le "$last" ] || fail "the first node, $first, is above the last, $last" 2
parallel=${GPROC_PARALLEL:-16}
is_number "$parallel" || fail "GPROC_PARALLEL is '$parallel', but must be a number above 0" 2
dest=${GPROC_DEST:-.local/share/gproc}
case $dest in
    *\'*) fail "GPROC_DEST has a quote in it: $dest" 2 ;;
esac

scripts=$(cd "$(dirname "$0")" && pwd)
gproc=${GPROC:-$scripts/../.venv/bin/gproc}
if [ -z "${GPROC:-}" ] && [ ! -x "$gproc" ]; then
    gproc=gproc
fi

umask 077 # the files below include keys
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
mkdir "$work/identity" "$work/stage" "$work/failed"

# 1. The files for every node.
if [ -n "${GPROC_PACKAGE:-}" ]; then
    cp "$GPROC_PACKAGE" "$work/gproc.tar"
else
    sh "$scripts/node-package.sh" "$work/gproc.tar" || fail "gproc could not be packed for the nodes"
fi

# This runs on the node, from the directory in which it was copied, with GPROC_DEST as its argument.
cat >"$work/install" <<'INSTALL'
set -eu
umask 077
came=$(cd "$(dirname "$0")" && pwd)
trap 'rm -rf "$came"' EXIT
dest=$1
identity=${GPROC_HOME:-${XDG_CONFIG_HOME:-$HOME/.config}/gproc}
cd "$HOME"

# The directory is replaced as a whole, so it must be gproc's: GPROC_DEST=/usr/local would delete /usr/local.
if [ -e "$dest" ] && [ ! -d "$dest/lib/gproc" ]; then
    echo "$dest exists already and is not gproc's" >&2
    exit 1
fi
mkdir -p "$(dirname "$dest")"
rm -rf "$dest.new" "$dest.old"
mkdir "$dest.new"
tar -C "$dest.new" -xf "$came/gproc.tar"
if [ -e "$dest" ]; then
    mv "$dest" "$dest.old"
fi
mv "$dest.new" "$dest"
rm -rf "$dest.old"

mkdir -p "$identity"
chmod 700 "$identity"
for file in ca.crt ticket.pub node.crt node.key; do
    chmod 600 "$came/identity/$file"
    mv -f "$came/identity/$file" "$identity/$file"
done
INSTALL

# 2. The files for each single node.
nodes=
number=$first
while [ "$number" -le "$last" ]; do
    nodes="$nodes ${GPROC_PREFIX-kn}$number"
    number=$((number + 1))
done
# shellcheck disable=SC2086  # one word for each node
"$gproc" cert --out "$work/identity" $nodes >"$work/cert.log" 2>&1 ||
    fail "the nodes' certificates could not be made: $(cat "$work/cert.log")"

# 3. Copying. The user's options come first, because ssh takes the first value of an option.
options="${GPROC_SSH_OPTIONS:-} -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5"

# shellcheck disable=SC2086  # one word for each option
copy_to() {
    there=${GPROC_USER:+$GPROC_USER@}$1
    came=.gproc-${work##*/}
    mkdir "$work/stage/$1" &&
        mv "$work/identity/$1" "$work/stage/$1/identity" &&
        ln "$work/gproc.tar" "$work/install" "$work/stage/$1" &&
        scp $options -q -r -p "$work/stage/$1" "$there:$came" &&
        ssh $options -n "$there" "sh $came/install '$dest'"
}

serve() {
    if ! copy_to "$1" >"$work/failed/$1.log" 2>&1; then
        echo "copytonodes: $1: $(tail -n 1 "$work/failed/$1.log")" >&2
        return
    fi
    rm -f "$work/failed/$1.log"
}

# The pipe holds a line for each node that may be served now. A node takes a line and puts it back afterwards.
mkfifo "$work/turns"
exec 3<>"$work/turns"
turn=0
while [ "$turn" -lt "$parallel" ]; do
    echo >&3
    turn=$((turn + 1))
done
for node in $nodes; do
    read -r _ <&3
    {
        serve "$node"
        echo >&3
    } &
done
wait

failed=$(find "$work/failed" -type f | wc -l)
[ "$failed" -eq 0 ] || fail "$((failed)) of $((last - first + 1)) nodes failed"
