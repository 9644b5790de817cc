"""`gproc key`: issues, lists and revokes certificates, and keeps the cluster's keys safe."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Final

import msgspec

from gproc.cli.cert import check_words
from gproc.cli.key_rotation import rotate
from gproc.cli.options import KeyOptions
from gproc.cli.stderr import complain
from gproc.cli.table import table
from gproc.cli.trace import Trace
from gproc.disk.special import is_written_in_place
from gproc.errors import TrustError, UsageError
from gproc.shown import quoted_text, shown_text
from gproc.trust.authority import Authority, handing_over, has_authority, open_authority
from gproc.trust.backup import BACKUP_BYTES_MAX, PASSPHRASE_MIN, restore, sealed
from gproc.trust.carried import credentials_for, one_file
from gproc.trust.certfile import stamp_in
from gproc.trust.home import SECRET_MODE, check_private, gproc_home, read_file, write_file
from gproc.trust.ledger import IssuedLine, damage, read_ledger
from gproc.trust.names import CertRole
from gproc.trust.revocations import is_revoked, read_revocations, revoke
from gproc.trust.stamp import date_text

STANDARD_OUTPUT: Final = "-"


class KeyRow(msgspec.Struct, frozen=True):
    """A certificate in JSON.  Dates in UTC."""

    name: str
    role: CertRole
    serial: str
    issued: str
    expires: str
    kind: str
    revoked: bool
    expired: bool
    generation: int


def run(options: KeyOptions) -> int:
    verb, *words = options.words
    verbs: dict[str, Callable[[KeyOptions, list[str]], int | None]] = {
        "issue": _issue, "list": _list, "revoke": _revoke, "backup": _backup, "restore": _restore,
        "rotate": rotate,
    }  # fmt: skip
    if verb not in verbs:
        raise UsageError(f"there is no gproc key {quoted_text(verb)}: one of {', '.join(verbs)} is wanted")
    if options.out is not None and verb != "issue":
        raise UsageError(f"--out goes with `gproc key issue`, not with {verb}")
    return verbs[verb](options, words) or 0


def _issue(options: KeyOptions, hosts: list[str]) -> None:
    """Write NAME.keys for each host: all that its slave needs, at ~/.config/gproc/node.keys there."""
    if not hosts:
        raise UsageError("a host is missing: `gproc key issue HOST...`")
    if len(hosts) > 1 and (options.out is not None or options.addresses):
        raise UsageError("--out and --address belong to one host: run `gproc key issue` for each of them")
    check_words(hosts, options.addresses)
    trace = Trace(options.debug)
    home = gproc_home(os.environ)
    is_new = not has_authority(home)
    authority = open_authority(home, create=True)
    if is_new:
        complain([f"made the keys of a new cluster in {home}"])
    trace.step(f"cluster {authority.cluster}, keys in {authority.home}")
    for host in hosts:
        credentials = credentials_for(authority, host, options.addresses, "file")
        content = one_file(credentials)
        if options.out == STANDARD_OUTPUT:
            sys.stdout.write(content.decode())
            continue
        path = options.out or f"{host}.keys"
        trace.step(f"writes a key and a certificate for {', '.join((host, *options.addresses))} to {path}")
        stamp = None if is_written_in_place(path) else stamp_in(credentials.certificate)  # a pipe's reader has a part
        with handing_over(authority, stamp) if stamp else nullcontext():
            write_file(path, content, SECRET_MODE)
        print(path)


def _list(options: KeyOptions, words: list[str]) -> None:
    if words:
        raise UsageError(f"{quoted_text(words[0])} is one word too many: `gproc key list`")
    authority = _authority()
    Trace(options.debug).step(f"reads what was issued, in {authority.home}")
    revoked = read_revocations(authority.home)
    now_s = time.time()

    def row(entry: IssuedLine) -> KeyRow:
        return KeyRow(
            entry.name, entry.role, entry.serial, date_text(entry.issued_s), date_text(entry.expires_s), entry.kind,
            entry.role == "node" and is_revoked(revoked, entry.name, entry.serial, entry.issued_s),
            entry.expires_s < now_s, entry.generation,
        )  # fmt: skip

    entries, damaged = read_ledger(authority.home)
    rows = [row(entry) for entry in entries]
    if why := damage(authority.home, damaged):
        complain([why])
    if options.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(rows)).decode() + "\n")
        return
    cells = [
        (
            each.name, each.role, each.serial, each.issued, each.expires, each.kind,
            "revoked" if each.revoked else "expired" if each.expired else "good",
        )
        for each in rows
    ]  # fmt: skip
    sys.stdout.write(table(("NAME", "ROLE", "SERIAL", "ISSUED", "EXPIRES", "KIND", "STATE"), cells))


def _revoke(options: KeyOptions, words: list[str]) -> int:
    """The status is 1 if a name never had a certificate: usually it is mistyped."""
    if not words:
        raise UsageError("what is to be revoked is missing: `gproc key revoke NAME|SERIAL...`")
    check_words(words)
    authority = _authority()
    Trace(options.debug).step(f"adds to the list of revoked certificates in {authority.home}")
    unknown = []
    for each in revoke(authority.home, words):
        print(shown_text(f"revoked: {each.text}"))
        if not each.is_known:
            meant = f"; did you mean {each.near}?" if each.near else "; `gproc key list` shows all"
            unknown.append(f"{each.word}: no certificate of that name or serial was issued here{meant}")
    complain(unknown)
    return 1 if unknown else 0


def _backup(options: KeyOptions, words: list[str]) -> None:
    path = _one_file(words, "backup")
    authority = _authority()
    passphrase = _passphrase(options, twice=True)
    Trace(options.debug).step(f"seals the keys of {authority.home}")
    write_file(path, sealed(authority.home, passphrase), SECRET_MODE)
    print(
        shown_text(f"{path}: the keys of cluster {authority.cluster}; keep it, and its passphrase, on another machine")
    )


def _restore(options: KeyOptions, words: list[str]) -> None:
    path = _one_file(words, "restore")
    try:
        if os.path.getsize(path) > BACKUP_BYTES_MAX:
            raise TrustError(f"{path} is no backup of gproc's keys: it is too large")
    except OSError as error:
        raise TrustError(f"cannot read {path}: {error.strerror}") from error
    content = read_file(path)
    home = gproc_home(os.environ)
    passphrase = _passphrase(options, twice=False)
    Trace(options.debug).step(f"opens {path}")
    names = restore(content, passphrase, home)
    print(shown_text(f"{home}: {', '.join(names)}"))


def _authority() -> Authority:
    return open_authority(gproc_home(os.environ, make=False), create=False)


def _one_file(words: list[str], verb: str) -> str:
    if len(words) != 1:
        raise UsageError(f"one file is wanted: `gproc key {verb} FILE`")
    return words[0]


def _passphrase(options: KeyOptions, *, twice: bool) -> bytes:
    """Raises: TrustError, UsageError if there is none."""
    if options.passphrase_file is not None:
        try:
            check_private(options.passphrase_file)
        except FileNotFoundError as error:
            raise TrustError(f"cannot read {options.passphrase_file}: it does not exist") from error
        found = read_file(options.passphrase_file).rstrip(b"\r\n")
    else:
        found = _typed("Passphrase: ").encode()
        if twice and _typed("Once more: ").encode() != found:
            raise UsageError("the two passphrases differ")
    if len(found) < PASSPHRASE_MIN:
        raise UsageError(f"a passphrase has at least {PASSPHRASE_MIN} characters")
    return found


def _typed(prompt: str) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask for a passphrase: give it by --passphrase-file FILE")
    from getpass import getpass

    from gproc.client.terminal import as_it_was

    # Ctrl-\ would end us while the terminal shows nothing that is typed, and leave it so.
    quits = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        with as_it_was(0):
            return getpass(prompt)
    except EOFError as error:
        raise UsageError("no passphrase was given") from error
    finally:
        signal.signal(signal.SIGQUIT, quits)
