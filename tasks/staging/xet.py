"""Ranges of a file the hub keeps in Xet and does not send over plain HTTP, through hf_xet: the hub's own client.

It streams from the hub's content store into memory, so there is no disk here either; what it holds on the way is its own
and comes on top of the buffers. https://huggingface.co/docs/xet/download-protocol
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from tasks.records.errors import SlipwayError, StagingFailed
from tasks.staging.refusals import unreachable
from tasks.staging.session import HubSession
from tasks.staging.stop import Stop

# What huggingface_hub refuses to fetch over plain HTTP (its MAX_HTTP_DOWNLOAD_SIZE), in bytes.
PLAIN_AT_MOST = 50_000_000_000
_AUTH_LINK = re.compile(r'<([^>]+)>\s*;\s*rel="xet-auth"')


@dataclass(frozen=True)
class XetPlace:
    """What the hub says of a file it keeps in Xet: its hash there, and where a token for the store comes from."""

    hash: str
    token_url: str


def xet_place(headers: Mapping[str, str], asked: str) -> XetPlace | None:
    """As huggingface_hub reads an answer of /resolve (`asked`: its URL); None for a file that is not in Xet."""
    found = headers.get("X-Xet-Hash", "")
    link = _AUTH_LINK.search(headers.get("Link", ""))
    route = link[1] if link else headers.get("X-Xet-Refresh-Route", "")
    return XetPlace(found, urljoin(asked, route)) if found and route else None


class XetReader:
    """Used from any thread. The hub's token goes to the hub's own host alone, for a short-lived one of the store."""

    def __init__(self, session: HubSession, stop: Stop) -> None:
        self._session, self._stop = session, stop
        self._groups: dict[str, Any] = {}
        self._lock = threading.Lock()

    def read(
        self,
        place: XetPlace,
        path: str,
        size: int,
        offset: int,
        into: memoryview,
        arrived: Callable[[int], None],
        seconds: float,
    ) -> tuple[int, SlipwayError | None]:
        """(bytes of `into` that are filled, what ended it too early), within `seconds`. `size`: the file's bytes."""
        got, late = 0, threading.Event()
        try:
            from hf_xet import XetFileInfo

            stream = self._group(place).download_stream(
                XetFileInfo(place.hash, size), start=offset, end=offset + len(into)
            )
        except ImportError as error:
            raise StagingFailed(
                f"{path} is kept in Xet and not sent over plain HTTP, and hf_xet is not installed",
                next_command="pip install hf_xet",
            ) from error
        except (
            OSError,
            RuntimeError,
        ) as error:  # what hf_xet raises where the store refuses or does not answer
            return got, self._failed(path, error)

        def cancel() -> None:
            late.set()
            stream.cancel()

        timer = threading.Timer(seconds, cancel)
        timer.daemon = True
        timer.start()
        try:
            for piece in stream:
                self._stop.check()
                taken = piece[: len(into) - got]
                into[got : got + len(taken)] = taken
                got += len(taken)
                arrived(len(taken))
        except (OSError, RuntimeError) as error:
            return got, self._failed(path, error)
        finally:
            timer.cancel()
            stream.cancel()
        if got < len(into):
            why = (
                f"too slow: {got} bytes in {seconds:.0f} s"
                if late.is_set()
                else f"it ended after {got} bytes"
            )
            return got, self._failed(path, why)
        return got, None

    def _failed(self, path: str, problem: BaseException | str) -> SlipwayError:
        return unreachable(self._session.endpoint, f"{path} through hf_xet", problem)

    def _group(self, place: XetPlace) -> Any:
        """One connection to the store for all files whose token comes from the same place."""
        with self._lock:
            if place.token_url not in self._groups:
                from hf_xet import XetSession

                self._groups[place.token_url] = XetSession().new_download_stream_group(
                    token_refresh_url=place.token_url,
                    token_refresh_headers=self._session.authorization(place.token_url),
                )
            return self._groups[place.token_url]
