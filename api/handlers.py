"""What handlers say of themselves, beyond what the framework reads from their signatures.

In `opt`: `raw_body` reads the body itself; `only_reads`, though it is a POST; `refusals` are the
statuses that it may answer and others like it do not, for the OpenAPI document.
"""

from litestar.handlers import HTTPRouteHandler


def takes(handler: object, part: str) -> bool:
    """Whether the handler takes the part of this name."""
    return isinstance(handler, HTTPRouteHandler) and part in handler.parsed_fn_signature.parameters


def is_write(handler: object) -> bool:
    """Whether it may append to an org's log for whoever has a key."""
    if not isinstance(handler, HTTPRouteHandler) or not takes(handler, "principal"):
        return False
    return "GET" not in handler.http_methods and not handler.opt.get("only_reads", False)
