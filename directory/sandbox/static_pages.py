"""A static server of known answers over TLS: the least that serving them can cost."""

import socket
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson

_END = b"\r\n\r\n"


def serve(pages: Mapping[bytes, bytes], certificate: Path) -> None:
    """Answer one connection after the other; prints the port first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)  # noqa: T201 read by who started it
        while True:
            connection, _address = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with context.wrap_socket(connection, server_side=True) as secure:
                _answer(secure, pages)


def _answer(secure: ssl.SSLSocket, pages: Mapping[bytes, bytes]) -> None:
    waiting = b""
    while received := secure.recv(65_536):
        waiting += received
        while _END in waiting:
            request, _, waiting = waiting.partition(_END)
            secure.sendall(pages[request.split(b" ", 2)[1]])


def read(folder: Path) -> dict[bytes, bytes]:
    """Read whole answers, head and body, by target from what was kept in a folder."""
    index = orjson.loads((folder / "index.json").read_bytes())
    return {
        target.encode(): (folder / name).read_bytes() for target, name in index.items()
    }


if __name__ == "__main__":
    serve(read(Path(sys.argv[1])), Path(sys.argv[2]))
