"""The cluster's keys in one file that only a passphrase opens: for the day when the front end's disk is lost.

The passphrase becomes a key by Argon2id (RFC 9106), with what libsodium calls moderate limits: each guess takes 256 MiB
and most of a second.  The content is sealed by XSalsa20 and Poly1305 (NaCl's secretbox).
"""

from __future__ import annotations

import os
from typing import Final

import msgspec
from nacl.exceptions import CryptoError
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from gproc.errors import TrustError
from gproc.trust.certfile import CA_CERTIFICATE, CA_KEY, NEXT_KEYS, TICKET_KEY, TICKET_PUBLIC
from gproc.trust.home import HOME_MODE, PUBLIC_MODE, SECRET_MODE, is_key, locked, read_file, write_file
from gproc.trust.ledger import LEDGER
from gproc.trust.revocations import REVOKED, number_in

BACKUP_BYTES_MAX: Final = 64 << 20
"""The list of 5,000 nodes' certificates has 1 MB."""

PASSPHRASE_MIN: Final = 8
"""Characters.  A good passphrase has five random words."""

_MAGIC: Final = b"gproc backup 1\n"

_NEXT: Final = tuple(f"{NEXT_KEYS}/{name}" for name in (TICKET_KEY, TICKET_PUBLIC, CA_CERTIFICATE, CA_KEY))
"""While the cluster's keys are being exchanged."""

_FILES: Final = (TICKET_KEY, TICKET_PUBLIC, LEDGER, REVOKED, *_NEXT, CA_CERTIFICATE, CA_KEY)
"""The last one is what makes a directory an authority's."""

_PUBLIC: Final = (TICKET_PUBLIC, CA_CERTIFICATE)

_LISTS: Final = (LEDGER, REVOKED)

_decoder = msgspec.msgpack.Decoder(dict[str, bytes])


def sealed(home: str, passphrase: bytes) -> bytes:
    """What `restore` puts back.  Raises: TrustError."""
    files = {name: read_file(path) for name in _FILES if os.path.lexists(path := os.path.join(home, name))}
    salt = os.urandom(argon2id.SALTBYTES)
    box = SecretBox(_key(passphrase, salt))
    return _MAGIC + salt + bytes(box.encrypt(msgspec.msgpack.encode(files)))


def restore(content: bytes, passphrase: bytes, home: str) -> list[str]:
    """Write a backup's files into `home`.  Returns their names.

    The same keys may be there, of which some were lost or are damaged.  Of two lists the later one stays.
    Raises: TrustError if it is none, the passphrase is wrong, or `home` has other keys: then nothing is written.
    """
    files = opened_backup(content, passphrase)
    with locked(home):
        there = {name: read_file(path) for name in files if os.path.lexists(path := os.path.join(home, name))}
        if CA_KEY in there and not is_key(there[CA_KEY]):
            del there[CA_KEY]  # what is damaged is given back
        taken = [name for name, data in there.items() if name not in _LISTS and data != files[name]]
        if taken or len(there) == len(files):
            found = ", ".join(taken or there)
            raise TrustError(f"{home} has keys already ({found}): set GPROC_HOME to an empty directory")
        lists = {name: _merged(name, there[name], files[name]) for name in _LISTS if name in there and name in files}
        files = {name: data for name, data in files.items() if name not in there}
        files = {name: data for name, data in lists.items() if data != there[name]} | files
        if not files.keys().isdisjoint(_NEXT):
            os.makedirs(os.path.join(home, NEXT_KEYS), HOME_MODE, exist_ok=True)
        for name, data in files.items():
            public = os.path.basename(name) in _PUBLIC
            write_file(os.path.join(home, name), data, PUBLIC_MODE if public else SECRET_MODE)
    return list(files)


def _merged(name: str, there: bytes, kept: bytes) -> bytes:
    """A list of which two are there.  Of revoked ones the later, by its number; of what was issued all lines."""
    if name == REVOKED:
        return max(kept, there, key=number_in)
    lines = there.splitlines()
    return b"".join(line + b"\n" for line in dict.fromkeys((*kept.splitlines(), *lines)))


def opened_backup(content: bytes, passphrase: bytes) -> dict[str, bytes]:
    """The files in a backup, by name.  Raises: TrustError."""
    if not content.startswith(_MAGIC):
        raise TrustError("this is no backup of gproc's keys")
    salt = content[len(_MAGIC) : len(_MAGIC) + argon2id.SALTBYTES]
    box = content[len(_MAGIC) + argon2id.SALTBYTES :]
    if len(box) < SecretBox.NONCE_SIZE + SecretBox.MACBYTES:
        raise TrustError("the backup is cut off")
    try:
        files = _decoder.decode(SecretBox(_key(passphrase, salt)).decrypt(box))
    except CryptoError as error:
        raise TrustError("the passphrase is wrong, or the backup is damaged") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TrustError("the backup is of another gproc") from error
    found: dict[str, bytes] = {name: files[name] for name in _FILES if name in files}
    if found.keys() != files.keys() or CA_KEY not in found:
        raise TrustError("the backup is of another gproc")
    return found


def _key(passphrase: bytes, salt: bytes) -> bytes:
    return argon2id.kdf(
        SecretBox.KEY_SIZE, passphrase, salt, opslimit=argon2id.OPSLIMIT_MODERATE, memlimit=argon2id.MEMLIMIT_MODERATE
    )
