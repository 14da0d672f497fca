"""A server process that buys through Stripe; with `fresh-keys` the cure is switched off."""

import secrets
import sys
from typing import Any

import httpx

from adapters.stripe.client import StripePayments
from api.cli import main

if "fresh-keys" in sys.argv:
    sys.argv.remove("fresh-keys")
    ask = StripePayments._request

    def with_a_fresh_key(
        self: StripePayments,
        method: str,
        path: str,
        fields: dict[str, Any] | None = None,
        *,
        key: str = "",
    ) -> httpx.Request:
        return ask(self, method, path, fields, key=secrets.token_hex(8) if key else "")

    StripePayments._request = with_a_fresh_key  # type: ignore[method-assign]

main()
