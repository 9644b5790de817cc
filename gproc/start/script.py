"""What the shell of a node is told, and the answers that come back.  A rule.

The script needs a shell and cat, chmod, head (or dd), id, ls, mkdir, mv, rm, uname and wc, which every busybox has.  It
finds or makes a directory that is ours alone and in which programs may be executed, puts the static helper there unless
it is there, and becomes it.  If other users can write there too, it makes a directory with a new name.

It takes an existing directory only if it is this user's and no other user can even look into it: then all in it is
ours.  /tmp is open to all users, and a name below it may be a link, to /tmp itself for example, that its
owner changes while we look.  So the script first goes to the directory, and then asks and uses what is at ".".

To remove what is there it also needs grep, rmdir and tr.
"""

from __future__ import annotations

import ipaddress
import secrets
import shlex
import struct
from typing import Final

import msgspec

from gproc.start.commission import ANSWER

_LINES: Final = """
umask 077; size=$1; h=helper-$2; verb=$3; slave=$4; root=$5; d=; r=; got=; why=; locks=;
say() { echo "gproc-start $*"; };
u=$(id -u); say hello "$(uname -m)" "$u";
case $XDG_CACHE_HOME in /*) cache=$XDG_CACHE_HOME/gproc;; *) cache=$HOME/.cache/gproc;; esac;
if [ "$u" = 0 ]; then own=/var/cache/gproc/runtimes; else own=$cache/runtimes; fi;
ours() { cd -P "$1" 2>/dev/null && [ -O . ] && case $(ls -ld .) in drwx------*) :;; *) false;; esac; };
visit() { for c; do if ours "$c"; then c=$(pwd -P); $f; fi; done; };
each() { f=$1; say doing "looks into $own"; visit "$own"; say doing "looks into /var/tmp, /tmp, /dev/shm and /run";
visit /var/tmp/gproc.* /tmp/gproc.* /dev/shm/gproc.* /run/gproc.*; cd /; };
works() { [ -x "$1" ] && "$1" gpb1 2>/dev/null; };
take() { { head -c "$size" || dd bs=1 count="$size"; } | { cat >"$t"; cat >/dev/null; }; };
clear() { rm -f "$1"; rmdir "${1%/*}" 2>/dev/null; };

end() { [ -n "$slave" ] && [ -e "./$slave.lock" ] && [ "$c" != "$d" ] || return 0; e=;
for e in ./helper-*; do if works "$e"; then say doing "ends the slave there"; break; fi; e=; done;
if [ -z "$e" ]; then say failed "no helper of gproc works in $c, where a slave was started"; exit 1; fi;
if [ "$verb" = stop ]; then "$e" stop "$c" "$slave"; else "$e" stop "$c" "$slave" >/dev/null; fi || exit 1; };
look() { if [ -n "$slave" ] && [ -e "./$slave.lock" ]; then locks=$locks:$c; fi;
if [ -z "$d" ] && works "./$h"; then d=$c; fi; if [ -z "$r" ] && [ "$c" != "$own" ]; then
for e in ./helper-*; do if works "$e"; then r=$c; fi; done; fi; };
halt() { free=; for e in ./helper-*; do if [ -z "$free" ] && works "$e"; then say doing "ends the slave there";
"$e" stop "$c" "$slave" || exit 1; "$e" idle "$c" 2>/dev/null; case $? in 0) free=1;; 3) exit 0;; esac; fi; done;
rm -f "./$slave.lock" "./$slave.log"; if [ -z "$free" ]; then for l in ./s-*.lock; do
if [ -e "$l" ]; then say kept "another slave of this user was started there: $c/${l#./}"; exit 0; fi; done; fi; };
scrub() { for g in "$1"/*/* "$1"; do say doing "removes $g"; rm -rf "$g"; done; };
needed() { for k in "$1.kept"/*; do if [ -s "$k" ] && [ -e "$(cat "$k")/gproc" ]; then return 0; fi; done; return 1; };
spare() { for x in "$1"/* "$1"/.[a-z]*; do if needed "${x%.kept}"; then left=${x%.kept}; else scrub "$x"; fi; done;
rmdir "$1" 2>/dev/null; };
wipe() { for e in ./helper-* ./runtime-*; do if [ -e "$e" ]; then cd /; spare "$c"; break; fi; done; };

if [ "$verb" = remove ]; then each halt; for p in /proc/[0-9]*; do
if [ -O "$p" ] && tr "\\0" " " <"$p/cmdline" | grep -q -e "-[m] gproc " -e "/gproc[ ][a-z]" -e " [_]started"; then
say kept "this user runs gproc there: process ${p#/proc/}"; exit 0; fi; done 2>/dev/null;
left=; each wipe; rmdir "$root" 2>/dev/null; all=1;
if [ "$u" = 0 ]; then cache=/var/cache/gproc; else
for c in "$cache"/*; do case $c in */store|*/runtimes|*/\\*) :;; *) all=;; esac; done; fi;
if [ -n "$all" ]; then for x in "$cache"/*; do [ "$x" = "$own" ] && [ -n "$left" ] || scrub "$x"; done;
rmdir "$cache" 2>/dev/null; fi;
if [ -n "$left" ]; then say kept "the command of copytonodes needs $left"; else say removed; fi; exit 0; fi;

if [ "$verb" = stop ]; then each end; say finished; exit 0; fi; each look;

if [ -e /proc/self/stat ]; then :; else
say failed "no /proc is mounted there, and gproc needs it: mount -t proc proc /proc"; exit 1; fi;

if [ -z "$d" ]; then for c in "$own" "$r" /var/tmp /tmp /dev/shm /run; do
[ -n "$c" ] || continue; say doing "looks for room in $c";
if [ "$c" = "$own" ]; then if [ "$u" = 0 ]; then (umask 022; mkdir -p /var/cache) 2>/dev/null; fi;
e=$(mkdir -p "$c" 2>&1) && [ -O "$c" ] && chmod 700 "$c" || { why=$e; continue; };
elif [ "$c" = "$r" ]; then :;
else c=$c/gproc.$5; e=$(mkdir "$c" 2>&1) || { why=${why:-$e}; continue; }; fi;
t=$c/.$h.$(uname -n).$$;
if [ -z "$got" ]; then say helper need; e=$(take 2>&1); else e=$(cat "$got" 2>&1 >"$t"); fi;
if [ $(($(wc -c 2>/dev/null <"$t" || echo 0))) -ne "$size" ]; then
why=${why:-$c: $e}; rm -f "$t"; rmdir "$c" 2>/dev/null; continue; fi;
got=${got:-$t}; chmod 700 "$t"; if works "$t"; then mv -f "$t" "$c/$h"; d=$c; break; fi;
[ "$got" = "$t" ] || clear "$t"; done; [ -z "$got" ] || clear "$got"; fi;
if [ -z "$d" ]; then no="no directory in which programs may be executed: ";
if [ -n "$why" ]; then say failed "$no$why"; else say failed 13 "$no$own"; fi; exit 1; fi;
case $locks in ""|":$d") :;; *) d=$(cd -P "$d" && pwd -P); each end;; esac;
say helper ready; exec "$d/$h" bootstrap "$d"
"""

_SCRIPT: Final = " ".join(_LINES.split())
"""In one line, without a quote or "!": so it means the same in any login shell."""


def start_command(helper_bytes: int, helper_digest: str, slave: str = "") -> str:
    """For a login shell.  The helper's bytes are to follow each time that the answer is `helper need`.

    slave: the one that is to be started; one of that name that was started from another directory of ours is ended.
    """
    # Another user of the host cannot have made a directory of this name before: the shell's number could be guessed.
    new_name = secrets.token_hex(8)
    return f"exec /bin/sh -c '{_SCRIPT}' gproc-start {helper_bytes} {helper_digest} start '{slave}' {new_name}"


def stop_command(slave: str) -> str:
    """Ends the slave of that name by a helper that is there, whichever version of gproc has started it.

    The answers are `stopped` or `none` for each place that has its lock, and `finished` at the end.
    """
    return f"exec /bin/sh -c '{_SCRIPT}' gproc-start 0 none stop {slave}"


def remove_command(slave: str, bin_root: str) -> str:
    """Ends the slave of that name, as `stop_command`, and removes all that is ours there.

    Nothing is removed if this user has another slave there.  That may be one of another host with the same home.  The
    store is left if commands of ours keep something beside it: then it may be the front end's, by the same home.
    bin_root: an absolute path; it is removed if it is an empty directory.
    """
    return f"exec /bin/sh -c '{_SCRIPT}' gproc-start 0 none remove {slave} {shlex.quote(bin_root)}"


class Answer(msgspec.Struct, frozen=True):
    """word: hello, helper, need, have, doing, found, joining, ready, ended, abandoned, stopped, none, finished, kept,
    removed or failed."""

    word: str
    rest: str

    @classmethod
    def read(cls, line: bytes) -> Answer | None:
        """None if the line is not one of ours."""
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text.startswith(ANSWER):
            return None
        word, _, rest = text.removeprefix(ANSWER).partition(" ")
        return cls(word, rest)


def header(
    digest: str, archive_bytes: int, slave: str, words: tuple[str, ...], secret_bytes: int, token: bytes
) -> bytes:
    """What the bootstrap reads first, native/bootstrap.h; it replaces a slave of that name."""
    text = b"".join(word.encode() + b"\0" for word in (slave, *words))
    fixed = _HEADER.pack(b"gpb1", len(text), archive_bytes, secret_bytes, 1, bytes.fromhex(digest), token)
    return fixed + text


_HEADER: Final = struct.Struct("<4sIQII32s16s")
_ORDER: Final = struct.Struct("<IIHH16s16s")
_GIVE, _FETCH = range(2)


def order_to_take(offset: int) -> bytes:
    """The archive follows from there on.  native/supply.h."""
    return _ORDER.pack(_GIVE, offset, 0, 0, b"", b"")


def order_to_fetch(address: str, port: int, token: bytes) -> bytes:
    """The rest of the archive is to be had there."""
    number = ipaddress.ip_address(address)
    packed = number.packed if number.version == 6 else b"\0" * 10 + b"\xff\xff" + number.packed
    return _ORDER.pack(_FETCH, 0, port, 0, packed, token)
