"""Decoders of what is signed, and of certificates and keys, for `targets`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gproc.content.manifest import digest_of
from gproc.errors import GprocError, TrustError
from gproc.nodespec import Place
from gproc.request.acts import SendSignal, SignalNodes
from gproc.request.outcome import Returned
from gproc.request.spec import BundleName, Caller, Request
from gproc.trust.backup import opened_backup
from gproc.trust.carried import Credentials, credentials_in, one_file
from gproc.trust.certfile import certificate_file, stamp_in
from gproc.trust.certificates import certify, check_shown, new_ca
from gproc.trust.identity import Identity
from gproc.trust.keyfile import PUBLIC_HEADER, decode_key, encode_key, key_pem
from gproc.trust.lease import Lease
from gproc.trust.names import CertName, ClusterId
from gproc.trust.orders import JobInput, JobOrders, JobSigner, TreeEnds
from gproc.trust.outcomes import SignedEnd, read_end
from gproc.trust.renewal import NewKey, RenewalAnswer, read_answer
from gproc.trust.revocations import RevocationList
from gproc.trust.signing import SESSION_BYTES, Context, Signer, TicketRefused
from gproc.trust.succession import (
    Succession,
    read_retirement,
    read_succession,
    sign_retirement,
    sign_succession,
)
from gproc.trust.ticket import Grant, Ticket, TicketVerifier
from gproc.trust.turn import Turn, read_turn
from gproc.trust.vetting import Vetting
from gproc.wire import frames, messages
from tests.fuzz.target import Target

REQUEST: Final = Request(
    nodes="1-2/.", argv=(b"/bin/x", b"y"), env=(b"A=1",), bundle=BundleName(b"d" * 32, 3), stdin=True
)


SIGNER: Final = Signer(b"s" * 32)
NONCE: Final = b"n" * 16
SESSION: Final = b"e" * SESSION_BYTES


def _signed(data: bytes) -> None:
    """A message of a relay: any change that it makes is refused.  The first byte says what it is taken for."""
    verifier = TicketVerifier(SIGNER.public_key, NONCE, 0)
    signed = messages.Signed(data[1:-64], data[-64:])
    kind = data[0] % 3 if data else 0
    if kind == 0:
        verifier.admit(signed)
    elif kind == 1:
        verifier.accept_grant(signed, 1)
    else:
        verifier.accept_lease(signed)


JOB_SIGNER: Final = JobSigner(SIGNER, SESSION, 1)


def _orders(data: bytes) -> None:
    """Orders, ends, leases and input of one job.  The first byte says what it is taken for, the second whether the
    signature is genuine: then it is of a master of another version.  What a relay changed is always refused."""
    kind, genuine, data = (data[0] % 4, data[1] % 4 > 0, data[2:]) if len(data) > 1 else (0, False, data)
    payload, signature = data[:-64], data[-64:]
    context = (Context.ORDER, Context.END, Context.LEASE, Context.INPUT)[kind]
    if genuine and kind < 3:
        payload, signature = data, SIGNER.sign_bytes(context, data)
    signed = messages.Signed(payload, signature)
    verifier = _verifier()
    known = signed.signature in GENUINE
    if kind == 0:
        JobOrders(SIGNER.public_key, SESSION, 1, b"n" * 16).open(signed)
    elif kind == 1:
        verifier.check_end(signed, from_master=True)
    elif kind == 2:
        verifier.accept_lease(signed)
    else:
        assert JobInput(SIGNER.public_key, SESSION, 1).open(frames.InputBlock(0, signature, payload)) == payload
    assert genuine or known


def _order_seeds() -> Iterator[bytes]:
    order = JOB_SIGNER.order(SendSignal(15))
    later = JOB_SIGNER.order(SignalNodes(9, "1-2"))
    for signed in (order, later):
        yield b"\0\0" + signed.payload + signed.signature
        yield b"\0\1" + signed.payload
    yield b"\1\1" + SIGNER.sign(Context.END, TreeEnds(SESSION)).payload
    yield b"\2\1" + SIGNER.sign(Context.LEASE, Lease(SESSION, NONCE, 1, 1, (1,), False, 1.0, 0)).payload
    block = JOB_SIGNER.block(b"input")
    yield b"\3\0" + block.data + block.signature


GRANTED: Final = SIGNER.sign(Context.GRANT, Grant(SESSION, NONCE, Place((1,)), 1, 0))


def _verifier() -> TicketVerifier:
    """The verifier of a node that has its place."""
    verifier = TicketVerifier(SIGNER.public_key, NONCE, 0, lambda: 0.0)
    verifier.joining()
    verifier.accept_grant(GRANTED, 1)
    return verifier


def _ours(data: bytes) -> None:
    """A message of a master of another version: a genuine signature over anything."""
    kind = data[0] % 2 if data else 0
    payload = data[1:]
    context = (Context.TICKET, Context.GRANT)[kind]
    verifier = _verifier()
    signed = messages.Signed(payload, SIGNER.sign_bytes(context, payload))
    if kind == 0:
        verifier.check_target(verifier.admit(signed))
    else:
        verifier.accept_grant(signed, 1)


def _key(data: bytes) -> None:
    assert len(decode_key(PUBLIC_HEADER, data, "fuzzed")) == 32


def _revocations(data: bytes) -> None:
    """A list of a master of another version, or of a relay: the first byte says whether the signature is genuine."""
    vetting = Vetting(SIGNER.public_key, lambda: 0.0)
    genuine = bool(data) and data[0] % 4 > 0
    payload = data[1:] if genuine else data[1:-64]
    signature = SIGNER.sign_bytes(Context.REVOCATIONS, payload) if genuine else data[-64:]
    assert vetting.learn(messages.Signed(payload, signature)) == (vetting.number > 0)
    assert genuine


def _renewed(data: bytes) -> None:
    """A master's answer to a question for a certificate, signed, whatever it says."""
    signed = messages.Signed(data, SIGNER.sign_bytes(Context.CERTIFICATE, data))
    own = Identity(CLUSTER, "node", "kn1", "", "", "", SIGNER.public_key)
    NEW_KEY.identity(read_answer(signed, SIGNER.public_key, SESSION), own, CA, SIGNER.public_key, 1)


ENDED: Final = SIGNER.sign(
    Context.OUTCOME, SignedEnd(SESSION, 1, 0, 1, Returned(3), (1, 2), (digest_of(b"a"), digest_of(b"bc")))
)


def _turn_or_end(data: bytes) -> None:
    """The turn of a node, or how a rank has ended, signed, whatever they say.  The first byte chooses."""
    kind, payload = data[:1], data[1:]
    if kind > b"\x7f":
        read_end(messages.Signed(payload, SIGNER.sign_bytes(Context.OUTCOME, payload)), SIGNER.public_key)
    else:
        signed = messages.Signed(payload, SIGNER.sign_bytes(Context.TURN, payload))
        assert read_turn(signed, SIGNER.public_key, SESSION, 1, Place((1,))).session == SESSION


def _succession(data: bytes) -> None:
    """New keys of a cluster, or the end of its old ones, signed, whatever they say.  The first byte chooses."""
    context, read = ((Context.NEW_KEYS, read_succession), (Context.OLD_KEYS_END, read_retirement))[data[:1] > b"\x7f"]
    read(messages.Signed(data[1:], SIGNER.sign_bytes(context, data[1:])), SIGNER.public_key)


def _certificate(data: bytes) -> None:
    """What a node shows with its question, and what it says to have signed."""
    check_shown([CA], data[64:], b"data", data[:64])


def _keys(data: bytes) -> None:
    """A file of `gproc key issue`, or a certificate's file."""
    stamp = stamp_in(data)
    assert stamp is None or stamp_in(b"\n" + stamp.line().encode()) == stamp
    credentials_in(data, "fuzzed")


def _backup(data: bytes) -> None:
    opened_backup(data[:30], b"passphrase")  # all of it would be the work of a key derivation each


CLUSTER: Final = ClusterId("0123456789abcdef" * 2)
CA, CA_KEY = new_ca(CLUSTER)
CERTIFICATE, STAMP = certify(CA, CA_KEY, CertName(CLUSTER, "node", "kn1"), SIGNER.public_key, ("::1",), 1, 9)
CREDENTIALS: Final = Credentials(
    f"gproc://{CLUSTER}\n".encode() + CA, encode_key(PUBLIC_HEADER, SIGNER.public_key),
    certificate_file(CertName(CLUSTER, "node", "kn1"), STAMP, CERTIFICATE), key_pem(b"s" * 32),
)  # fmt: skip
NEW_KEY: Final = NewKey()


def _signed_seeds() -> Iterator[bytes]:
    ticket = Ticket(session=SESSION, sequence=2, job=1, start_by_ms=9, caller=Caller(0, 0, ()), request=REQUEST)
    grant = Grant(SESSION, NONCE, Place((1,)), 2, 0)
    for kind, context, value in ((0, Context.TICKET, ticket), (1, Context.GRANT, grant)):
        signed = SIGNER.sign(context, value)
        yield bytes([kind]) + signed.payload + signed.signature


ORDERS: Final = tuple(_order_seeds())
GENUINE: Final = {seed[-64:] for seed in ORDERS if seed[1] == 0}


TRUST: Final = {
    "relayed": Target(_signed, (TicketRefused,), tuple(_signed_seeds())),
    "signed": Target(_ours, (TicketRefused,), tuple(seed[:-64] for seed in _signed_seeds())),
    "revocations": Target(
        _revocations, (TicketRefused,),
        (b"\x01" + SIGNER.sign(Context.REVOCATIONS, RevocationList(7, (("kn1", 5),), (("AB", 9),))).payload,),
    ),
    "renewed": Target(
        _renewed, (TrustError,),
        (SIGNER.sign(Context.CERTIFICATE, RenewalAnswer(SESSION, b"k" * 32, b"gproc://", "no")).payload,),
    ),
    "turn or end": Target(
        _turn_or_end, (TicketRefused,),
        (b"\0" + SIGNER.sign(Context.TURN, Turn(SESSION, 3, 1, "1-2", 9)).payload, b"\xff" + ENDED.payload),
    ),
    "succession": Target(
        _succession, (TicketRefused,),
        (
            b"\0" + sign_succession(SIGNER, Succession(2, CA, b"k" * 32)).payload,
            b"\xff" + sign_retirement(SIGNER, 2).payload,
        ),
    ),
    "certificate": Target(_certificate, (TrustError,), (b"s" * 64 + CERTIFICATE,)),
    "keys": Target(_keys, (TrustError,), (one_file(CREDENTIALS),)),
    "backup": Target(_backup, (TrustError,), (b"gproc backup 1\n" + b"s" * 16,)),
    "key": Target(_key, (GprocError,), (encode_key(PUBLIC_HEADER, b"k" * 32),)),
    "orders": Target(_orders, (TrustError,), ORDERS),
}  # fmt: skip
