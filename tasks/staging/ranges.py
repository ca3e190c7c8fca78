"""A range of a hub file on its way into a buffer."""

from __future__ import annotations

from collections.abc import Callable

from tasks.staging.addresses import FileAddress


class FileRange:
    """Bytes of a file from `offset` on, as many as `into` holds; `got` of them have come. `arrived(bytes)` hears of each."""

    def __init__(
        self,
        address: FileAddress,
        offset: int,
        into: memoryview,
        arrived: Callable[[int], None] = lambda count: None,
    ) -> None:
        self.address = address
        self._offset, self._into, self._arrived = offset, into, arrived
        self.got = 0

    @property
    def wanted(self) -> int:
        return len(self._into)

    @property
    def left(self) -> int:
        """Bytes that have not come yet."""
        return len(self._into) - self.got

    @property
    def at(self) -> int:
        """The byte of the file that comes next."""
        return self._offset + self.got

    @property
    def end(self) -> int:
        """The byte of the file after the last."""
        return self._offset + len(self._into)

    def room(self, most: int | None = None) -> memoryview:
        """The part of the buffer that is not filled yet, `most` bytes of it."""
        return self._into[self.got :] if most is None else self._into[self.got : self.got + most]

    def took(self, count: int) -> None:
        """So many bytes more are in the buffer."""
        self.got += count
        self._arrived(count)
