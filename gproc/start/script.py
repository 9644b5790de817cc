"""What the shell of a node is told, and the answers that come back.  A rule.

The script needs a shell and cat, chmod, head (or dd), id, mkdir, mv, rm, uname and wc, which every busybox has.  It
finds or makes a directory that is ours alone and in which programs may be executed, puts the static helper there unless
it is there, and becomes it.  Where other users can write too it makes a directory with a new name, and uses none that
was there before unless the helper of our own is in it.
"""

from __future__ import annotations

from typing import Final

import msgspec

ANSWER: Final = "gproc-start "
"""Every answer begins so: a login shell may say something of its own."""

_LINES: Final = """
umask 077; say() { echo "gproc-start $*"; };
u=$(id -u); say hello "$(uname -m)" "$u";
if [ "$u" = 0 ]; then own=/var/cache/gproc/runtimes; else own=${XDG_CACHE_HOME:-$HOME/.cache}/gproc/runtimes; fi;
h=helper-$2; d=; got=;
for c in "$own" /var/tmp/gproc.* /tmp/gproc.* /dev/shm/gproc.* /run/gproc.*; do
if [ -O "$c" ] && [ -x "$c/$h" ] && "$c/$h" gpb1 2>/dev/null; then d=$c; break; fi; done;
if [ "$3" = stop ]; then if [ -z "$d" ]; then say none; exit 0; fi; exec "$d/$h" stop "$d" "$4"; fi;
if [ -z "$d" ]; then for c in "$own" /var/tmp /tmp /dev/shm /run; do
if [ "$c" = "$own" ]; then mkdir -p "$c" && [ -O "$c" ] || continue;
else c=$c/gproc.$$; mkdir "$c" || continue; fi;
t=$c/.$h.$$;
if [ -z "$got" ]; then say helper need; got=$t; head -c "$1" >"$t" || dd bs=1 count="$1" >"$t";
else cat "$got" >"$t"; fi;
if [ "$(wc -c <"$t")" -ne "$1" ]; then say failed 28 "cannot write: $c"; rm -f "$t"; exit 1; fi;
chmod 700 "$t"; if "$t" gpb1; then mv -f "$t" "$c/$h"; d=$c; [ "$got" = "$t" ] || rm -f "$got"; break; fi;
done; fi;
if [ -z "$d" ]; then rm -f "$got"; say failed 13 "no directory in which programs may be executed: $own"; exit 1; fi;
say helper ready; exec "$d/$h" bootstrap "$d"
"""

_SCRIPT: Final = " ".join(_LINES.split())
"""In one line, without a quote or "!": so it means the same in any login shell."""


def start_command(helper_bytes: int, helper_digest: str) -> str:
    """For a login shell.  The helper's bytes are to follow if the answer is `helper need`."""
    return f"exec /bin/sh -c '{_SCRIPT}' gproc-start {helper_bytes} {helper_digest} start"


def stop_command(helper_bytes: int, helper_digest: str, slave: str) -> str:
    """Ends the slave of that name."""
    return f"exec /bin/sh -c '{_SCRIPT}' gproc-start {helper_bytes} {helper_digest} stop {slave}"


class Answer(msgspec.Struct, frozen=True):
    """word: hello, helper, need, have, found, ready, ended, abandoned, stopped, none or failed."""

    word: str
    rest: str

    @classmethod
    def read(cls, line: bytes) -> Answer | None:
        """None if the line is somebody else's."""
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text.startswith(ANSWER):
            return None
        word, _, rest = text.removeprefix(ANSWER).partition(" ")
        return cls(word, rest)


def header(digest: str, archive_bytes: int, slave: str, words: tuple[str, ...], secret_bytes: int) -> bytes:
    """What the bootstrap reads first, native/bootstrap.h; it replaces a slave of that name."""
    import struct

    text = b"".join(word.encode() + b"\0" for word in (slave, *words))
    fixed = struct.pack("<4sIQII32s", b"gpb1", len(text), archive_bytes, secret_bytes, 1, bytes.fromhex(digest))
    return fixed + text
