"""What a slave signs: how programs ended, and, by the key of its certificate, its own identity."""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import Final

from gproc import interpreter
from gproc.errors import TrustError
from gproc.relay.delivery import EMPTY
from gproc.request.outcome import Refused
from gproc.trust.certificates import pem_in
from gproc.trust.home import read_file
from gproc.trust.identity import Identity
from gproc.trust.keyfile import seed_in
from gproc.trust.outcomes import RunKey, SignedEnd, run_key_subject
from gproc.trust.renewal import NewKey, own_seed, signature_of, subject
from gproc.trust.signing import NONCE_BYTES, SESSION_BYTES
from gproc.wire.credentials import AskCertificate
from gproc.wire.endings import OutputGone, RankEnded
from gproc.wire.messages import Route, Run, Signed
from gproc.wire.proofs import KeyProof

SIGN_S: Final = 30.0

_SIGN: Final = """
import sys
from gproc.trust.certificates import sign_with
from gproc.trust.home import read_file
sys.stdout.buffer.write(sign_with(read_file(sys.argv[1]), bytes.fromhex(sys.argv[2])))
"""


class Voice:
    """The signature of one run of a slave, and the proof that it is that of its host."""

    def __init__(self) -> None:
        self.nonce = os.urandom(NONCE_BYTES)
        """The nonce of this run: grants and acknowledgements are bound to it."""
        self._key = RunKey()
        self._proved: tuple[Identity, KeyProof] | None = None

    def proof(self, identity: Identity) -> KeyProof:
        """A proof by the key of the certificate that is shown now.  Raises: TrustError if that key cannot sign."""
        if self._proved is None or self._proved[0] is not identity:
            words = run_key_subject(self.nonce, self._key.public)
            content = read_file(identity.certificate)  # once: another slave of this machine may renew it
            seed = seed_in(content if identity.key == identity.certificate else read_file(identity.key))
            # A key of gproc 0.1 takes 0.3 s, once: it is replaced as soon as the node has joined.
            signature = signature_of(seed, words) if seed else sign_apart(identity.key, words)
            self._proved = (identity, KeyProof(pem_in(content), self._key.public, signature))
        return self._proved[1]

    def sign(self, end: SignedEnd) -> Signed:
        return self._key.sign(end)

    def output_gone(self, session: bytes, job: int, rank: int, stream: int, size: int) -> OutputGone:
        return self._key.output_gone(session, job, rank, stream, size)

    def refused(self, session: bytes | None, run: Run, reason: str) -> RankEnded:
        """This node does not take its own part of a job.  session: None if it is in none."""
        nothing = SignedEnd(
            session or bytes(SESSION_BYTES), run.job, run.branch.rank, run.size, Refused(reason), (0, 0), (EMPTY, EMPTY)
        )
        return RankEnded(run.job, run.branch.rank, self.sign(nothing))


async def question(identity: Identity, key: NewKey, session: bytes, *, following: bool = False) -> AskCertificate:
    """Asks for a certificate of a new key, by the present one's.  following: of the cluster's next keys.

    Raises: TrustError if the present key cannot sign.
    """
    data = subject(session, key.public)
    seed = own_seed(identity)
    signature = signature_of(seed, data) if seed else await asyncio.to_thread(sign_apart, identity.key, data)
    pem = pem_in(read_file(identity.certificate))
    return AskCertificate(Route(()), pem, key.public, signature, key.proof(session), following=following)


def sign_apart(key_path: str, data: bytes) -> bytes:
    """A signature by a key of gproc 0.1: `cryptography` would take more memory than the whole slave.

    Raises: TrustError.
    """
    words = [*interpreter.command(), "-c", _SIGN, key_path, data.hex()]
    try:
        done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, timeout=SIGN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TrustError("the old key cannot sign: its process failed") from error
    if done.returncode != 0:
        raise TrustError("the old key cannot sign: `gproc key issue` on the front end makes another")
    return done.stdout
