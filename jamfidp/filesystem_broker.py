"""kombu's filesystem transport, with messages that are there whole or not at all.

kombu opens a message's file under its final name and then writes it; a worker that
polls in between reads an empty file, and the decoding error ends the worker (kombu
5.7, `_put` and `_get` of kombu/transport/filesystem.py). Here a message is written
beside its name and moved to it, which is atomic within a folder.
"""

import os
import uuid
from pathlib import Path
from time import monotonic
from typing import Any

from kombu.exceptions import ChannelError
from kombu.transport import TRANSPORT_ALIASES, filesystem
from kombu.utils.encoding import str_to_bytes
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    def _put(  # type: ignore[override]
        self, queue: str, payload: Any, **kwargs: Any
    ) -> None:
        folder = Path(self.data_folder_out)
        name = f"{round(monotonic() * 1000)}_{uuid.uuid4()}.{queue}.msg"
        # No reader takes it: readers look for names that end with a queue's.
        unfinished = folder / f"{name}.unfinished"
        try:
            unfinished.write_bytes(str_to_bytes(dumps(payload)))
            os.replace(unfinished, folder / name)
        except OSError as error:
            raise ChannelError(f"Cannot add a message to {folder}") from error


class Transport(filesystem.Transport):
    Channel = Channel


def install() -> None:
    """Use it wherever a broker address says filesystem://."""
    TRANSPORT_ALIASES["filesystem"] = f"{__name__}:Transport"
