"""The keys with which nodes sign how programs end, as far as a certificate of the cluster vouches for them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from msgspec.structs import replace

from gproc.errors import TrustError
from gproc.shown import shown_text
from gproc.trust.authority import Authority, next_authority
from gproc.trust.certificates import Presented, check_shown
from gproc.trust.outcomes import run_key_subject
from gproc.wire.messages import NodeInfo
from gproc.wire.proofs import KeyProof

REMEMBERED_MAX: Final = 20_000
"""Runs of slaves whose proofs need not be checked once more: 1 kB each.  A check takes 0.25 ms."""


class NodeKeys:
    """One master's."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._cas: tuple[bytes, ...] = ()
        self.look()
        self._proved: OrderedDict[tuple[bytes, KeyProof], Presented] = OrderedDict()

    def look(self) -> None:
        """The cluster's keys have changed: certificates of the present keys and of the next ones count."""
        following = next_authority(self._authority)
        each = (self._authority,) if following is None else (self._authority, following)
        self._cas = tuple(one.ca_certificate() for one in each)

    def objection(self, node: NodeInfo) -> str:
        """Why the name of a node cannot be believed; "" if it can."""
        try:
            shown = self._shown(node)
        except TrustError as error:
            return shown_text(f"it does not prove that it is {node.name}: {error}")
        if (shown.name.cluster, shown.name.role) != (self._authority.cluster, "node"):
            return f"its certificate is of {shown.name}"
        if shown.name.name != node.name:
            return shown_text(f"its certificate is of {shown.name.name}, and it is announced as {node.name}")
        return ""

    def proved(self, node: NodeInfo) -> NodeInfo:
        """A node that has no `objection`, without its proof, and with the serial number of the certificate that it has
        shown: the number that the node above has sent need not be true."""
        return replace(node, proof=None, serial=self._shown(node).stamp.serial)

    def _shown(self, node: NodeInfo) -> Presented:
        """What the certificate of a node says.  Raises: TrustError."""
        proof = node.proof
        if proof is None:
            raise TrustError("it shows no certificate")
        known = self._proved.get((node.nonce, proof))
        if known is None:
            subject = run_key_subject(node.nonce, proof.key)
            known = check_shown(self._cas, proof.certificate, subject, proof.signature)
            self._proved[node.nonce, proof] = known
        self._proved.move_to_end((node.nonce, proof))
        while len(self._proved) > REMEMBERED_MAX:
            self._proved.popitem(last=False)
        return known
