"""The decoders with every branch counted, under libFuzzer: `campaign.py` starts this."""

import shlex
import sys

import atheris

with atheris.instrument_imports(include=["adapters"]):
    from tests.fuzz.laws import check
    from tests.fuzz.mutation import mutated


def change(body: bytes, size_max: int, seed: int) -> bytes:
    """A body changed as JSON, three times of four, or as bytes."""
    changed = mutated(body, seed=seed) if seed % 4 else None
    if changed is None or len(changed) > size_max:
        return bytes(atheris.Mutate(body, size_max))
    return changed


def main() -> None:
    """The platform, then what libFuzzer wants to know."""
    platform = sys.argv.pop(1)
    # As what libFuzzer starts itself again to merge, through a shell.
    sys.argv[0] = f"{shlex.quote(sys.executable)} -m tests.fuzz.instrumented {platform}"
    atheris.Setup(sys.argv, lambda body: check(platform, body), custom_mutator=change)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
