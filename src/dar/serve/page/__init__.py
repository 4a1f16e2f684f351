"""The page at ``/``: three files that need nothing from elsewhere."""

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""By address: the file and its type."""

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}


def router() -> APIRouter:
    """Make the routes."""
    routes = APIRouter()
    for address, (name, kind) in FILES.items():
        content = (files(__package__) / name).read_bytes()
        routes.add_api_route(address, _answer(content, kind), methods=["GET"])
    return routes


def _answer(content: bytes, kind: str):  # type: ignore[no-untyped-def]
    async def answer() -> Response:
        return Response(content, media_type=kind, headers=HEADERS)

    return answer
