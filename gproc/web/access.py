"""Which requests may look: those that show the token in a header.  Pure.

A browser keeps no cookie.  It would send one to every port of the same host name, so also to another user's page.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping
from typing import Final

TOKEN_BYTES: Final = 24

HEADERS: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none';"
        " form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
"""The headers of every answer: nothing from elsewhere, nothing inline, in no frame."""


def new_token() -> str:
    return secrets.token_urlsafe(TOKEN_BYTES)


class TokenCheck:
    """token: "" if every client that can connect may look, as with a Unix socket, which only its owner may open."""

    def __init__(self, token: str) -> None:
        self.token = token

    def allows(self, headers: Mapping[str, str]) -> bool:
        if not self.token:
            return _is_address(headers.get("host", ""))
        kind, _, shown = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._is_token(shown)

    def _is_token(self, shown: str) -> bool:
        return hmac.compare_digest(shown.encode("utf-8", "replace"), self.token.encode())

    @staticmethod
    def is_from_our_page(headers: Mapping[str, str]) -> bool:
        """Whether a request that changes something comes from our own page, or from no browser.

        A page from elsewhere cannot send JSON without asking first (CORS), and every browser says where it comes from.
        """
        if not headers.get("content-type", "").startswith("application/json"):
            return False
        origin = headers.get("origin")
        return origin is None or origin.partition("://")[2] == headers.get("host")


def _is_address(host: str) -> bool:
    """Whether a request names this machine by an address, as localhost, or not at all.

    A name of another owner may lead to 127.0.0.1.  A browser then takes their page for ours and lets it read ours,
    if a port of this machine leads to our Unix socket (`ssh -L`).
    """
    name = host.rpartition(":")[0] if re.search(r":[0-9]*$", host) else host
    if name in ("", "localhost"):
        return True
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
