"""A web server for tests, in a process of its own: rasterio holds the interpreter's lock while GDAL opens a file.

It serves a folder with range requests and prints its port. The first part of an address says how it behaves: ``good``,
``whole`` (it ignores ranges), or ``cut`` (it breaks off in the middle of an answer that begins behind `HEADER`).
``/log`` gives the bytes sent since it was last asked for, as a JSON list with a number for each request.
"""

import json
import re
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

HEADER = 2**16


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = Path()
    sent: ClassVar[list[int]] = []

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        if self.path == "/log":
            body = json.dumps(self.sent).encode()
            self.sent.clear()
            self._send(200, body)
        else:
            self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        mode, _, name = self.path.lstrip("/").partition("/")
        path = self.folder / name
        if not path.is_file():
            return self._send(404, b"")
        content = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if wanted is None or mode == "whole":
            return self._send(200, content, with_body)
        first, last = int(wanted[1]), min(int(wanted[2]), len(content) - 1)
        part = content[first : last + 1]
        is_cut = mode == "cut" and first >= HEADER
        return self._send(206, part, with_body, f"bytes {first}-{last}/{len(content)}", len(part) // 2 * is_cut)

    def _send(self, status: int, body: bytes, with_body: bool = True, extent: str = "", missing: int = 0) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if extent:
            self.send_header("Content-Range", extent)
        self.end_headers()
        if with_body:
            self.wfile.write(body[: len(body) - missing])
            self.sent.append(len(body) - missing)
        self.close_connection = missing > 0

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    Handler.folder = Path(sys.argv[1])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        sys.stdout.write(f"{server.server_port}\n")
        sys.stdout.flush()
        server.serve_forever()
