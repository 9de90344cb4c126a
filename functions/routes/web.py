"""What runs in browsers: the files of functions/web, by an allow-list that is read once. No other name is looked for on the disk."""

import gzip
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request, Response

from core.digest import digest
from core.errors import NoSuchPath
from core.values import dataclass

# Not of the API: what is served here is not told in OpenAPI.
router = APIRouter(include_in_schema=False)

_HERE: Final = Path(__file__).parent.parent / "web"
_KINDS: Final = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
}
# A file of the folder itself, or of one folder in it.
FILES: Final = {
    path.relative_to(_HERE).as_posix(): _KINDS[path.suffix]
    for pattern in ("*", "*/*")
    for path in sorted(_HERE.glob(pattern))
    if path.suffix in _KINDS
}
# What a page may do: nothing but load its own modules, styles and pictures from here, and call the service that it came from. No exception:
# text of people and models is shown by these pages, and must not come to life in them, whatever mistake a page makes.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    headers: dict[str, str]


@router.api_route("/", methods=["GET", "HEAD"])
async def chat(request: Request) -> Response:
    return _served("chat.html", request)


@router.api_route("/console", methods=["GET", "HEAD"])
async def console(request: Request) -> Response:
    return _served("console.html", request)


@router.api_route("/web/{name:path}", methods=["GET", "HEAD"])
async def serve(name: str, request: Request) -> Response:
    return _served(name, request)


def _served(name: str, request: Request) -> Response:
    """A browser asks each time whether it has changed, so a page and its modules are of one release."""
    if name not in FILES:
        raise NoSuchPath
    file = _read(name, "gzip" in request.headers.get("accept-encoding", ""))
    seen = request.headers.get("if-none-match", "")
    if file.headers["ETag"] in [tag.strip().removeprefix("W/") for tag in seen.split(",")]:
        return Response(status_code=304, headers=file.headers)
    return Response(file.content, headers=file.headers, media_type=FILES[name])


@cache
def _read(name: str, packed: bool) -> _File:
    content = (_HERE / name).read_bytes()
    headers = {
        "ETag": f'"{digest(content.decode())[:32]}{"-gzip" if packed else ""}"',
        "Cache-Control": "no-cache",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    if name.endswith(".html"):
        headers["Content-Security-Policy"] = POLICY
    if packed:
        headers["Content-Encoding"] = "gzip"
        content = gzip.compress(content, mtime=0)
    return _File(content, headers)
