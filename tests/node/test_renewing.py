"""A slave that has its keys in memory only, as from `gproc start`, renews them; and which keys it refuses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from gproc.errors import TrustError
from gproc.node.renewing import Renewing
from gproc.trust import home as homes
from gproc.trust.authority import Authority, issue_for, open_authority
from gproc.trust.carried import credentials_for, identity_in_memory
from gproc.trust.endpoint import Endpoint
from gproc.trust.lease import Lease
from gproc.trust.renewal import RenewalAnswer
from gproc.trust.signing import Context, Signer
from gproc.wire.credentials import AskCertificate
from gproc.wire.messages import Signed

SESSION = b"e" * 16
DAY_S = 86400


class Node:
    """A slave's renewal, and a master that answers as it is told."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.signer = Signer(authority.ticket_seed())
        self.endpoint = Endpoint(identity_in_memory(credentials_for(authority, "kn1", ["10.0.0.1"])))
        self.asked: list[AskCertificate] = []
        self.renewing = Renewing(self.endpoint, self.asked.append)
        assert self.endpoint.identity.stamp is not None
        self.expires_s = self.endpoint.identity.stamp.expires_s

    async def hear(self, left_days: int, revocations: int = 0) -> str:
        """A lease comes when so many days are left."""
        date_s = float(self.expires_s - left_days * DAY_S)
        said = self.renewing.heard(Lease(SESSION, b"n" * 16, 1, 1, (), True, date_s, revocations))
        await asyncio.sleep(0)  # its task runs
        return said

    def answer(self, **changed: object) -> Signed:
        question = self.asked[-1]
        certificate, _ = issue_for(self.authority, "node", "kn1", ["10.0.0.1"], question.key, "renewed")
        return self.signer.sign(
            Context.CERTIFICATE, replace(RenewalAnswer(SESSION, question.key, certificate), **changed)
        )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return open_authority(homes.gproc_home({"GPROC_HOME": str(tmp_path / "home")}), create=True)


def run(test: Callable[[Node], object], authority: Authority) -> None:
    async def whole() -> None:
        result = test(Node(authority))
        assert asyncio.iscoroutine(result)
        await result

    asyncio.run(whole())


def test_a_new_certificate_is_shown_from_then_on_and_the_former_ones_memory_is_given_back(authority: Authority) -> None:
    async def test(node: Node) -> None:
        assert await node.hear(left_days=40) == ""
        assert node.asked == []
        for turn in range(3):
            first, context = node.endpoint.identity, node.endpoint.server
            before = len(os.listdir("/proc/self/fd"))
            await node.hear(left_days=20)
            assert len(node.asked) == turn + 1
            await node.hear(left_days=20)
            assert len(node.asked) == turn + 1  # not before the answer had its time
            node.renewing.accept(node.answer(), SESSION)
            assert node.endpoint.identity.stamp != first.stamp
            assert node.endpoint.identity.name == "kn1"
            assert node.endpoint.server is not context
            assert len(os.listdir("/proc/self/fd")) == before
            node.renewing = Renewing(node.endpoint, node.asked.append)  # its pause is over

    run(test, authority)


def test_an_answer_for_another_session_key_or_name_changes_nothing(authority: Authority) -> None:
    async def test(node: Node) -> None:
        await node.hear(left_days=1)
        first, open_files = node.endpoint.identity, len(os.listdir("/proc/self/fd"))
        other_name, _ = issue_for(authority, "node", "kn2", [], node.asked[0].key, "renewed")
        other_key, _ = issue_for(authority, "node", "kn1", [], Signer(b"o" * 32).public_key, "renewed")
        changes: tuple[dict[str, object], ...] = (
            {"session": b"x" * 16}, {"key": b"k" * 32}, {"certificate": other_name}, {"certificate": b"gproc://"},
            {"certificate": other_key}, {"certificate": b"", "reason": "too early"},
        )  # fmt: skip
        for changed in changes:
            with pytest.raises(TrustError):
                node.renewing.accept(node.answer(**changed), SESSION)
        forged = Signer(os.urandom(32)).sign(Context.CERTIFICATE, RenewalAnswer(SESSION, node.asked[0].key, b"x"))
        with pytest.raises(TrustError, match="forged"):
            node.renewing.accept(forged, SESSION)
        assert node.endpoint.identity is first
        assert len(os.listdir("/proc/self/fd")) == open_files
        node.renewing.accept(node.answer(), SESSION)
        assert node.endpoint.identity is not first

    run(test, authority)


def test_a_parent_that_twice_does_not_pass_a_list_on_is_to_be_left(authority: Authority) -> None:
    async def test(node: Node) -> None:
        assert await node.hear(left_days=80, revocations=7) == ""
        assert "does not pass on" in await node.hear(left_days=80, revocations=7)
        assert await node.hear(left_days=80, revocations=7) == ""

    run(test, authority)
