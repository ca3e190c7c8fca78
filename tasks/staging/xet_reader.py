"""Read ranges of a file that the hub keeps in Xet and does not send over plain HTTP, through hf_xet, the hub's own client.

It streams from the hub's content store into memory, without a disk; what it buffers comes on top of ours.
https://huggingface.co/docs/xet/download-protocol
"""

from __future__ import annotations

import threading
from typing import Any

from tasks.records.errors import SlipwayError, StagingFailed
from tasks.staging.link import HubLink
from tasks.staging.ranges import FileRange
from tasks.staging.refusals import unreachable
from tasks.staging.xet import XetPlace


class XetReader:
    """Used from any thread. The hub's token is sent to the hub's host only, for a short-lived token of the store."""

    def __init__(self, link: HubLink) -> None:
        self._session, self._stop = link.session, link.stop
        self._groups: dict[str, Any] = {}
        self._lock = threading.Lock()

    def read(self, place: XetPlace, wanted: FileRange, seconds: float) -> SlipwayError | None:
        """Fill the range within `seconds`. Returns what ended it too early."""
        file, late = wanted.address.file, threading.Event()
        try:
            from hf_xet import XetFileInfo

            stream = self._group(place).download_stream(
                XetFileInfo(place.hash, file.size), start=wanted.at, end=wanted.end
            )
        except ImportError as error:
            raise StagingFailed(
                f"{file.path} is kept in Xet and not sent over plain HTTP, and hf_xet is not installed",
                next_command="pip install hf_xet",
            ) from error
        # what hf_xet raises where the store refuses or does not answer
        except (OSError, RuntimeError) as error:
            return self._failed(file.path, error)

        def cancel() -> None:
            late.set()
            stream.cancel()

        timer = threading.Timer(seconds, cancel)
        timer.daemon = True
        timer.start()
        try:
            for piece in stream:
                self._stop.check()
                data = piece[: wanted.left]
                wanted.room(len(data))[:] = data
                wanted.took(len(data))
        except (OSError, RuntimeError) as error:
            return self._failed(file.path, error)
        finally:
            timer.cancel()
            stream.cancel()
        if not wanted.left:
            return None
        why = f"too slow: not whole after {seconds:.0f} s" if late.is_set() else "it ended too early"
        return self._failed(file.path, f"{why}, {wanted.got} of {wanted.wanted} bytes")

    def _failed(self, path: str, problem: BaseException | str) -> SlipwayError:
        return unreachable(self._session.endpoint, f"{path} through hf_xet", problem)

    def _group(self, place: XetPlace) -> Any:
        """One connection to the store for all files whose token comes from the same URL."""
        with self._lock:
            if place.token_url not in self._groups:
                from hf_xet import XetSession

                self._groups[place.token_url] = XetSession().new_download_stream_group(
                    token_refresh_url=place.token_url,
                    token_refresh_headers=self._session.authorization(place.token_url),
                )
            return self._groups[place.token_url]
