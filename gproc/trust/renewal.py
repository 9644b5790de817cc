"""How a node gets its next certificate: it makes a key, asks the master through the tree, and the master answers.

The question is signed twice: by the key of the node's present certificate, so that a node cannot ask in the name of
another, and by the new key, so that a node cannot get a certificate for a key of another.  Both signatures are over the
master's
session.  The answer is signed by the master.  Relays see nothing that is secret, and can only withhold.
"""

from __future__ import annotations

import os
from typing import Annotated, Final

import msgspec
from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError

from gproc.errors import TrustError
from gproc.trust.carried import Credentials, identity_in_memory
from gproc.trust.certfile import generation_in, parsed_name
from gproc.trust.home import read_file
from gproc.trust.identity import Identity
from gproc.trust.keyfile import KEY_BYTES, PUBLIC_HEADER, encode_key, key_pem, seed_in
from gproc.trust.signing import Context, Keys, Session, opened
from gproc.trust.untaken import ForeignSession
from gproc.wire.messages import Reason, Signed

RENEWALS_AT_ONCE: Final = 64
RENEWAL_S: Final = 0.125
"""Questions for certificates that a node passes on for one child and all below it: so many at once, and then one each
time that has passed.  A certificate takes the master 0.4 ms.  Nodes ask at times of their own, and ask again."""

_WHAT: Final = b"gproc renewal\0"

ANSWER_BYTES_MAX: Final = 8192
"""The limit of a certificate with its two lines."""


class RenewalAnswer(msgspec.Struct, frozen=True, array_like=True):
    """What the master signs.  certificate: with its first lines, PEM; b"": there is none, and why."""

    session: Session
    key: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    certificate: Annotated[bytes, msgspec.Meta(max_length=ANSWER_BYTES_MAX)]
    reason: Reason = ""


def subject(session: bytes, key: bytes) -> bytes:
    """What both keys sign."""
    return _WHAT + session + key


def signature_of(seed: bytes, data: bytes) -> bytes:
    _, secret = crypto_sign_seed_keypair(seed)
    return crypto_sign(data, secret)[:crypto_sign_BYTES]


def check_proof(key: bytes, data: bytes, proof: bytes) -> None:
    """Raises: TrustError if the owner of this key has not signed the data."""
    try:
        crypto_sign_open(proof + data, key)
    except (BadSignatureError, ValueError) as error:
        raise TrustError("it does not have the key that it asks a certificate for") from error


class NewKey:
    """A key that has no certificate yet."""

    def __init__(self) -> None:
        self._seed = os.urandom(KEY_BYTES)
        self.public, _ = crypto_sign_seed_keypair(self._seed)

    def proof(self, session: bytes) -> bytes:
        return signature_of(self._seed, subject(session, self.public))

    def identity(
        self, answer: RenewalAnswer, own: Identity, ca: bytes, ticket_public: bytes, generation: int
    ) -> tuple[Credentials, Identity]:
        """The identity with the certificate that the master gave, in memory.

        ca, ticket_public, generation: of the cluster's keys to which the certificate is to belong.
        Raises: TrustError if the master gave none (with the reason), or it is not for this key and name, or belongs to
        other keys.
        """
        if answer.key != self.public:
            raise TrustError("a certificate for another key than the one that was asked for")
        if not answer.certificate:
            raise TrustError(f"the master gives no new certificate: {answer.reason}")
        named = parsed_name(answer.certificate)
        if (named.cluster, named.role, named.name) != (own.cluster, own.role, own.name):
            raise TrustError(f"a certificate for {named}, and this is {own.role} {own.name}")
        if (found := generation_in(answer.certificate)) != generation:
            # Which keys are wanted is not signed: a relay may have changed it on the way to the master.
            raise TrustError(f"a certificate of the cluster's keys {found}, and one of {generation} was asked for")
        public = encode_key(PUBLIC_HEADER, ticket_public)
        credentials = Credentials(ca, public, answer.certificate, key_pem(self._seed))
        return credentials, identity_in_memory(credentials)


def read_answer(signed: Signed, keys: Keys, session: bytes) -> RenewalAnswer:
    """Raises: TrustError if the master did not sign this in this session."""
    answer = opened(Context.CERTIFICATE, signed, keys, _decoder)
    if answer.session != session:
        raise ForeignSession("certificate", answer.session)
    return answer


def own_seed(identity: Identity) -> bytes | None:
    """The key of the present certificate; None if gproc 0.1 made it, for another algorithm.  Raises: TrustError."""
    return seed_in(read_file(identity.key))


_decoder = msgspec.msgpack.Decoder(RenewalAnswer)
