"""Following a chain of Graph's pages faster than they are parsed.

Each page names the next one, so that a chain takes as long as its answers do, one after
the other; all else that is done with a page has its time meanwhile.
"""

import queue
import re
import threading
from collections.abc import Callable

import requests

Found = tuple[requests.Response, str | None]

# Pages that are here and not parsed yet.
WAITING = 1
# How often a thread that waits looks whether it is still wanted.
LOOK_SECONDS = 0.1

# A quote that is a character of some text is written with a backslash before it, so
# that only a key can look like this.
_NEXT_LINK = re.compile(rb'"@odata\.nextLink"\s*:\s*"([^"\\]+)"')


def next_link_of(content: bytes) -> str | None:
    """Return what looks like the next link of a page, without parsing it.

    It is a guess: whoever follows it compares it with that of the parsed page.
    """
    found = _NEXT_LINK.search(content)
    return found.group(1).decode(errors="replace") if found else None


class Ahead:
    """Asks for one page after the other in a thread, as far as links are found.

    `ask` returns an answer and the link that was found in it, or none to end there.
    The end of the process does not wait for the thread.
    """

    def __init__(self, ask: Callable[[str], Found], link: str) -> None:
        self._ask = ask
        self._found: queue.Queue[Found | BaseException] = queue.Queue(WAITING)
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._follow, args=(link,), name="graph-ahead", daemon=True
        )
        self._thread.start()

    def take(self) -> Found:
        """Wait for the next answer and return it; raises what asking for it raised."""
        found = self._found.get()
        if isinstance(found, BaseException):
            raise found
        return found

    def stop(self) -> None:
        """Ask for nothing more; what is on its way ends by itself."""
        self._stopped.set()

    def wait(self) -> None:
        """Wait, after `stop`, until nothing is on its way."""
        self._thread.join()

    def _follow(self, link: str | None) -> None:
        try:
            while link is not None and not self._stopped.is_set():
                response, link = self._ask(link)
                self._put((response, link))
        except BaseException as error:  # noqa: BLE001 - raised where it is taken
            self._put(error)

    def _put(self, found: Found | BaseException) -> None:
        while not self._stopped.is_set():
            try:
                self._found.put(found, timeout=LOOK_SECONDS)
            except queue.Full:
                continue
            return
