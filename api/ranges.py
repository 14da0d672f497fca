"""Which bytes of a file a request is for: one range, or all of it (RFC 9110, 14)."""

import re

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


def asked_for(text: str | None, *, byte_count: int) -> range | None:
    """What a `Range` header asks for; None where that is the whole, or not understood.

    Empty where the file has none of it. Several ranges are not understood, on purpose: whoever asks
    for them is given the whole, and nobody makes us read a file many times in one answer.
    """
    found = _RANGE.fullmatch((text or "").replace(" ", ""))
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return range(max(byte_count - int(last), 0), byte_count)
    if last and int(last) < int(first):
        return None
    end = min(int(last) + 1, byte_count) if last else byte_count
    return range(int(first), max(end, int(first)))
