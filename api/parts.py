"""How handlers name what they need: `clock: Part[Clock]`."""

from typing import Annotated, TypeAlias, TypeVar

from litestar.di import Dependency
from litestar.params import SkipValidationMarker

T = TypeVar("T")

# A dependency by its name. We made it ourselves, so nobody validates it on every request.
Part: TypeAlias = Annotated[T, Dependency(kind="named"), SkipValidationMarker()]
