"""Who may talk to the page: a browser that was pointed at it, and no other site that is open there."""

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket


def refusal(host: str | None, origin: str | None, own_names: frozenset[str]) -> str | None:
    """Returns why a request is refused, in a sentence; None if it is not.

    A site can make its own name point at this machine (DNS rebinding), but not at the name localhost, nor at an
    address in digits. A page of another site names that site as its origin.

    Args:
        host: header Host: the name and port that the browser was pointed at.
        origin: header Origin: scheme, name and port of the page that asks; browsers send it where it matters.
        own_names: other names that this machine is known by.
    """
    name = _name(host)
    if name is None or not (name == "localhost" or _address(name) or name in own_names):
        return (
            f"this page answers to localhost and to addresses in digits, not to the name {(host or '')[:80]!r} (Host)."
        )
    if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
        return f"another page, {origin[:80]!r}, may not use this one (Origin); open http://{host} itself."
    return None


def names_of(host: str) -> frozenset[str]:
    """Returns the names that a server bound to `host` answers to besides localhost."""
    name, own, address = host.lower(), socket.gethostname().lower(), _address(host)
    return frozenset() if name == "localhost" or (address and address.is_loopback) else frozenset({name, own})


def _name(host: str | None) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname if host else None
    except ValueError:
        return None


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


class Guard:
    """Answers what `refusal` refuses with its sentence, and hands on the rest."""

    def __init__(self, app: ASGIApp, own_names: frozenset[str]) -> None:
        self._app, self._own_names = app, own_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles a request or a WebSocket."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        why = refusal(headers.get(b"host"), headers.get(b"origin"), self._own_names)
        if why is None:
            return await self._app(scope, receive, send)
        answer = PlainTextResponse(f"{why}\n", status_code=403)
        if scope["type"] == "websocket":
            return await WebSocket(scope, receive, send).send_denial_response(answer)
        return await answer(scope, receive, send)
