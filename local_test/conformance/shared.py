"""What a run makes once, and all who ask for it look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from conformance.engine import EngineError
from conformance.finding import BlockedError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Shares:
    """Whoever has `shared` properties."""

    def __init__(self) -> None:
        self.made: dict[str, Any] = {}


class shared(Generic[T]):  # noqa: N801 - a decorator, like functools.cached_property
    """A property that is computed once, and once only where it cannot be: its error is kept."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
        self._name = compute.__name__
        self.__doc__ = compute.__doc__

    @overload
    def __get__(self, owner: None, kind: type[Shares]) -> shared[T]: ...
    @overload
    def __get__(self, owner: Shares, kind: type[Shares]) -> T: ...
    def __get__(self, owner: Shares | None, kind: type[Shares]) -> T | shared[T]:
        """Return the value, or raise the error, of the first time."""
        if owner is None:
            return self
        if self._name not in owner.made:
            try:
                owner.made[self._name] = self._compute(owner)
            except (BlockedError, EngineError) as error:
                owner.made[self._name] = error
        found = owner.made[self._name]
        if isinstance(found, (BlockedError, EngineError)):
            raise found
        return found  # type: ignore[no-any-return]
