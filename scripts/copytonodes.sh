#!/bin/sh
# Usage: sh scripts/copytonodes.sh FIRST LAST
#
# Copy gproc's runtime to the nodes numbered FIRST to LAST by scp, with each node's own certificate and key. A node needs
# sshd, a shell and a kernel, but no Python. What it has is not sent again. Then gproc is run there to try it. At the end
# the script prints the next command. If a node cannot be reached or cannot run gproc, the script says why, goes on
# with the others, and exits with status 1. Run it on the machine on which `gproc m` is to run. It is also installed, as
# gproc-copytonodes. Environment (with defaults):
#
#   GPROC_PATTERN      the nodes' names, with %d, or %02d for two digits, at the number's place (kn%d)
#   GPROC_PREFIX       the part of a node's name before the number, instead of a pattern
#   GPROC_USER         the user on the nodes (as ssh decides)
#   GPROC_DEST         the directory for the command gproc, relative to the user's home directory (.local/share/gproc)
#   GPROC_PARALLEL     the number of nodes copied to at a time (16)
#   GPROC_SSH_OPTIONS  options for both ssh and scp: "-o Port=2222", but not -p, which differs between the two
#   GPROC_RUNTIME      a directory that `gproc runtime --out` made earlier (a new one is made)
#   GPROC              the gproc command of this machine (the one beside this script or in the checkout's .venv, else
#                      the one on PATH)

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
most=20000 # their names are one command line, and each has a key made for it
[ $((last - first)) -lt $most ] ||
    fail "$first to $last are $((last - first + 1)) nodes, more than $most: name fewer at once" 2
parallel=${GPROC_PARALLEL:-16}
is_number "$parallel" || fail "GPROC_PARALLEL is '$parallel', but must be a number above 0" 2
dest=${GPROC_DEST:-.local/share/gproc}
case $dest in
    *\'*) fail "GPROC_DEST has a quote in it: $dest" 2 ;;
esac
pattern=${GPROC_PATTERN:-${GPROC_PREFIX-kn}%d}
before=${pattern%%%*}
digits=${pattern#"$before"}
after=${digits#%*d}
digits=${digits%"$after"}
case $digits in
    %d | %0[1-9]d) ;;
    *) fail "GPROC_PATTERN is '$pattern', but must have %d once, or %02d for two digits" 2 ;;
esac
case $before$after in
    -* | *[!A-Za-z0-9._-]*) fail "GPROC_PATTERN is '$pattern', but a host's name has letters, digits, '.', '_' and '-'" 2 ;;
esac

scripts=$(cd "$(dirname "$0")" && pwd)
gproc=${GPROC:-}
for beside in "$scripts/gproc" "$scripts/../.venv/bin/gproc"; do
    if [ -z "$gproc" ] && [ -x "$beside" ]; then
        gproc=$beside
    fi
done
gproc=${gproc:-gproc}

umask 077 # the files below include keys
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A first Ctrl-C lets the copies that run come to their end, so no node keeps half a copy. A second one ends them.
stopping=
trap '[ -z "$stopping" ] || exit 130; stopping=yes; echo "copytonodes: begins no further node; Ctrl-C again ends it at once" >&2' INT TERM
mkdir "$work/identity" "$work/stage" "$work/failed" "$work/had" "$work/done"

# 1. What every node gets.
if [ -n "${GPROC_RUNTIME:-}" ]; then
    [ -r "$GPROC_RUNTIME/machine" ] && [ -r "$GPROC_RUNTIME/place" ] ||
        fail "GPROC_RUNTIME=$GPROC_RUNTIME: no runtime is there: make one by gproc runtime --out $GPROC_RUNTIME"
    cp -R "$GPROC_RUNTIME" "$work/runtime"
else
    "$gproc" runtime --out "$work/runtime" 2>"$work/runtime.log" ||
        fail "the runtime could not be made: $(cat "$work/runtime.log")"
fi
machine=$(cat "$work/runtime/machine")
place=$(cat "$work/runtime/place")

# This runs on the node, from the directory in which it was copied, with GPROC_DEST and the runtime's name.
cat >"$work/install" <<'INSTALL'
set -eu
umask 077
came=$(cd "$(dirname "$0")" && pwd)
trap 'rm -rf "$came"' EXIT
# Remove what a broken connection has left: there is a key in it.
find "$(dirname "$came")" -maxdepth 1 -name '.gproc-tmp.*' -mtime +0 -exec rm -rf {} + 2>/dev/null || :
dest=$1
place=$2
# As the command does: a relative one counts as unset.
case ${XDG_CONFIG_HOME:-} in /*) identity=$XDG_CONFIG_HOME/gproc ;; *) identity=$HOME/.config/gproc ;; esac
identity=${GPROC_HOME:-$identity}
case ${XDG_CACHE_HOME:-} in /*) cache=$XDG_CACHE_HOME ;; *) cache=$HOME/.cache ;; esac
cd "$HOME"

said_why() {
    # The answers' errors have a number of errno(3), then words.
    sed -n 's/^gproc-start failed //p' "$came/answers" | while read -r number words; do
        case $number in
            *[!0-9]*)
                echo "$number $words"
                continue
                ;;
            12) reason='Cannot allocate memory' ;;
            13) reason='Permission denied' ;;
            28) reason='No space left on device' ;;
            30) reason='Read-only file system' ;;
            122) reason='Disk quota exceeded' ;;
            *) reason="error $number" ;;
        esac
        echo "${words#-: }: $reason"
    done >&2
}

if [ -e "$came/send" ]; then
    # The helper first, alone: head(1), which takes it, may read on. The input's end tells it to start nothing.
    if [ -e "$came/helper" ]; then
        sh "$came/command" <"$came/helper" >"$came/answers" 2>"$came/errors" || :
        grep -q '^gproc-start helper ready' "$came/answers" || { said_why; exit 1; }
    fi
    sh "$came/command" <"$came/send" >"$came/answers" 2>"$came/errors" || :
    if ! grep -q '^gproc-start have' "$came/answers"; then
        cat "$came/errors" >&2
        said_why
        exit 1
    fi
fi

# The place in which the command found room for it.
if [ "$(id -u)" = 0 ]; then own=/var/cache/gproc/runtimes; else own=$cache/gproc/runtimes; fi
found=
for each in "$own" /var/tmp/gproc.* /tmp/gproc.* /dev/shm/gproc.* /run/gproc.*; do
    if [ -z "$found" ] && [ ! -L "$each" ] && [ -O "$each" ] && [ -d "$each/$place" ]; then
        case $(ls -ld "$each") in drwx------*) found=$each/$place ;; esac
    fi
done
[ -n "$found" ] || { echo "the runtime that was there is gone" >&2; exit 1; }

if [ -e "$dest/gproc" ] && [ ! -d "$dest/lib/gproc" ] && ! grep -q '^# By copytonodes' "$dest/gproc"; then
    echo "$dest/gproc exists already and is not gproc's" >&2
    exit 1
fi
mkdir -p "$dest"
rm -rf "$dest/lib/gproc" # an earlier gproc came as Python modules
cat >"$dest/gproc.new" <<RUN
#!/bin/sh
# By copytonodes.
r='$found'
exec "\$r/ld.so" --library-path "\$r/lib" "\$r/bin/python3" -I -S -X utf8 -m gproc "\$@"
RUN
chmod 755 "$dest/gproc.new"
mv -f "$dest/gproc.new" "$dest/gproc"
# A later start keeps the runtimes that commands need (native/retention.h): each has a file, whose content is its place.
keep() {
    mkdir -p "$found.kept" && echo "$HOME/$dest" >"$found.kept/$(echo "$HOME/$dest" | tr / % | cut -c 1-200)"
}
keep 2>/dev/null || keep # again: another copy may just have removed the directory, which was empty
for kept in "${found%/*}"/runtime-*.kept/*; do
    if [ -e "$kept" ] && ! grep -q -F "r='${kept%.kept/*}'" "$(cat "$kept")/gproc" 2>/dev/null; then
        rm -f "$kept"
        rmdir "${kept%/*}" 2>/dev/null || : # others need it
    fi
done

mkdir -p "$identity"
chmod 700 "$identity"
for file in ca.crt ticket.pub node.crt node.key; do
    chmod 600 "$came/identity/$file"
    mv -f "$came/identity/$file" "$identity/$file"
done

if ! sh "$dest/gproc" --version >"$came/version" 2>&1 || ! grep -q '^gproc [0-9]' "$came/version"; then
    echo "gproc does not run there: $(tail -n 1 "$came/version")" >&2
    exit 1
fi
INSTALL

# 2. What each node gets.
nodes=
number=$first
while [ "$number" -le "$last" ]; do
    # shellcheck disable=SC2059  # the pattern is checked above
    nodes="$nodes $(printf "$before$digits$after" "$number")"
    number=$((number + 1))
done
# shellcheck disable=SC2086  # one word for each node
"$gproc" cert --out "$work/identity" $nodes >"$work/cert.log" 2>&1 ||
    fail "the nodes' certificates could not be made: $(cat "$work/cert.log")"

# 3. Copying. The user's options come first, because ssh takes the first value of an option.
shell_s=30
options="${GPROC_SSH_OPTIONS:-} -o BatchMode=yes -o ConnectTimeout=10 -o ServerAliveInterval=5"

# A login shell that says nothing is given up; ssh's own limits are for the time before it.
bounded() {
    if command -v timeout >/dev/null; then timeout "$@"; else shift && "$@"; fi
}

# What the node answers says what it lacks. ssh's own words go to the node's log.
# shellcheck disable=SC2086  # one word for each option
copy_to() {
    there=${GPROC_USER:+$GPROC_USER@}$1
    stage=$work/stage/$1
    came=.gproc-${work##*/}-$1 # homes may be shared
    mkdir "$stage" && mv "$work/identity/$1" "$stage/identity" && ln "$work/install" "$stage" || return 1
    answers=$(bounded $shell_s ssh $options "$there" "$(cat "$work/runtime/command")" <"$work/runtime/ask") || {
        status=$?
        if [ $status -eq 124 ]; then
            echo "no answer within $shell_s s from its login shell"
        elif [ ! -s "$work/failed/$1" ]; then
            echo "its login shell ended without a word, with status $status"
        fi
    }
    node=$(printf '%s\n' "$answers" | sed -n 's/^gproc-start hello \([A-Za-z0-9_]*\).*/\1/p')
    [ -n "$node" ] || return 1
    if [ "$node" != "$machine" ]; then
        echo "it is an $node machine, and this runtime is for $machine"
        return 1
    fi
    lacking=
    case $answers in
        *"gproc-start have"*) : >"$work/had/$1" ;;
        *"gproc-start helper need"*) lacking="command helper send" ;;
        *"gproc-start helper ready"*) lacking="command send" ;;
        *)
            printf '%s\n' "$answers" | sed -n 's/^gproc-start failed \([0-9][0-9]* \)\{0,1\}//p'
            return 1
            ;;
    esac
    for file in $lacking; do
        ln "$work/runtime/$file" "$stage" || return 1
    done
    # A node with busybox alone has neither scp nor sftp-server.
    if ! scp $options -q -r -p "$stage" "$there:$came"; then
        tar -C "$stage" -cf - . |
            ssh $options "$there" "umask 077; rm -rf $came; mkdir $came && tar -xf - -C $came || { rm -rf $came; exit 1; }" ||
            return 1
    fi
    ssh $options -n "$there" "sh $came/install '$dest' $place"
}

# The last line of what was said that is no program's farewell; a node's words may not move the terminal's cursor.
why() {
    if grep -q 'HOST IDENTIFICATION HAS CHANGED' "$1"; then
        printf 'its host key is another one than known_hosts has: '
    fi
    grep -v -e '^[[:space:]]*$' -e '^scp: Connection closed' -e '^lost connection' "$1" |
        tail -n 1 | tr -d '\000-\037\177' | cut -c 1-300
}

serve() {
    if (copy_to "$1") >"$work/failed/$1" 2>&1; then
        mv "$work/failed/$1" "$work/done/$1"
        return
    fi
    rm -f "$work/had/$1"
    reason=$(why "$work/failed/$1")
    echo "copytonodes: $1: ${reason:-ssh ended without a word}" >&2
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
    read -r _ <&3 || :
    [ -z "$stopping" ] || break
    {
        serve "$node"
        echo >&3
    } &
done
# A signal ends one wait.
while :; do
    wait && break
done

# 4. What came of it. The next command names the nodes that have gproc, as kn[1-7,9].
failed=$(find "$work/failed" -type f | wc -l)
good=$(find "$work/done" -type f | wc -l)
had=$(find "$work/had" -type f | wc -l)
ranges=
from=
number=$first
for node in $nodes end; do
    if [ -e "$work/done/$node" ]; then
        from=${from:-$number}
    elif [ -n "$from" ]; then
        # shellcheck disable=SC2059  # as above
        ranges=$ranges,$(printf "$digits" "$from")
        # shellcheck disable=SC2059
        [ "$from" -eq $((number - 1)) ] || ranges=$ranges-$(printf "$digits" $((number - 1)))
        from=
    fi
    number=$((number + 1))
done
ranges=${ranges#,}
case $ranges in
    *[,-]*) hosts="'${GPROC_USER:+$GPROC_USER@}$before[$ranges]$after'" ;;
    *) hosts=${GPROC_USER:+$GPROC_USER@}$before$ranges$after ;;
esac
if [ "$good" -gt 0 ]; then
    echo "$((good)) of $((last - first + 1)) nodes have gproc; $((had)) had its runtime already. Next:"
    echo "    gproc start -w $hosts${GPROC_SSH_OPTIONS:+ --ssh-command='ssh $GPROC_SSH_OPTIONS'}"
    echo "Or, if ssh is not to start it: gproc m here, and on each node ~/$dest/gproc s"
fi
[ -z "$stopping" ] || exit 130
[ "$failed" -eq 0 ] || fail "$((failed)) of $((last - first + 1)) nodes failed"
