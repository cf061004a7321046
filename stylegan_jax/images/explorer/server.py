"""The page's server: its files, a WebSocket that draws, downloads and uploads."""

import asyncio
import contextlib
import functools
import json
import logging
import pathlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from stylegan_jax.images.explorer import access, uploads
from stylegan_jax.images.explorer import state as states
from stylegan_jax.images.explorer.drawing import Studio
from stylegan_jax.images.explorer.gallery import Networks
from stylegan_jax.runs.text import printable

FOLDER = pathlib.Path(__file__).parent
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
MOST_STATE_BYTES = 2**16
MOST_MESSAGE_BYTES = 2**20  # A longer message closes its socket.
MOST_PAGES = 64
MOST_NUMBER = 2**53 - 1  # The largest that JavaScript counts to.
BODY_SEC = 120.0  # Time that an upload may take to arrive.
PATIENCE_SEC = 60.0  # Time that an upload waits for the one before; a stopped one first compiles its programs.


def application(networks: Networks, own_names: frozenset[str] = frozenset()) -> Starlette:
    """Returns the page's application.

    Args:
        networks: networks that it shows; the first one's programs are compiled when the server starts.
        own_names: names of this machine that it answers to besides localhost.
    """
    server = Server(Studio(networks))
    return Starlette(
        routes=[
            Route("/", functools.partial(_file, "index.html", "text/html")),
            Route("/explorer.js", functools.partial(_file, "explorer.js", "text/javascript")),
            Route("/networks", server.networks),
            Route("/about/{number:int}", server.about),
            Route("/png", server.png, methods=["POST"]),
            Route("/latent", server.latent, methods=["POST"]),
            Route("/upload/{number:int}", server.upload, methods=["POST"]),
            WebSocketRoute("/draw", server.draw),
        ],
        middleware=[Middleware(access.Guard, own_names=own_names)],
        exception_handlers={ValueError: _failed, OSError: _failed, Exception: _failed},
        lifespan=server.lifespan,
    )


async def _file(name: str, kind: str, request: Request) -> Response:
    return FileResponse(FOLDER / name, media_type=kind, headers=HEADERS)


async def _failed(request: Request, error: Exception) -> Response:
    code = 400 if isinstance(error, (ValueError, OSError)) else 500
    return JSONResponse({"error": _sentence(error)}, code, HEADERS)


def _sentence(error: Exception) -> str:
    """Returns what a page shows of an error; one that is not the user's is logged."""
    if isinstance(error, (ValueError, OSError)):
        return printable(" ".join(str(error).split()))
    logging.getLogger(__name__).error("the page's server failed", exc_info=error)
    return f"the server failed ({type(error).__name__}); its terminal says more."


class Server:
    """What the page's addresses answer. The event loop only waits: the studio's threads do the work."""

    def __init__(self, studio: Studio) -> None:
        self._studio, self._num_pages, self._uploading = studio, 0, asyncio.Lock()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Begins to compile the first network's programs."""
        self._studio.drawing.submit(self._studio.about, 0)
        yield
        self._studio.drawing.shutdown(wait=False, cancel_futures=True)
        self._studio.projecting.shutdown(wait=False, cancel_futures=True)

    async def _drawn(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._studio.drawing, work, *arguments)

    async def networks(self, request: Request) -> Response:
        """Names of all networks."""
        known = {"networks": self._studio.networks.names, "most": states.MOST_SIDE_BY_SIDE}
        return JSONResponse(known, headers=HEADERS)

    async def about(self, request: Request) -> Response:
        """What one network takes, once its programs are compiled."""
        return JSONResponse(await self._drawn(self._studio.about, request.path_params["number"]), headers=HEADERS)

    async def png(self, request: Request) -> Response:
        """The pictures of a state as a PNG."""
        return Response(await self._of_state(self._studio.png, request), media_type="image/png", headers=HEADERS)

    async def latent(self, request: Request) -> Response:
        """The latent of a state as safetensors."""
        content = await self._of_state(self._studio.latent_file, request)
        return Response(content, media_type="application/octet-stream", headers=HEADERS)

    async def _of_state(self, work: Callable[[states.State], bytes], request: Request) -> bytes:
        content = await _body(request, MOST_STATE_BYTES)
        return await self._drawn(work, states.parse(states.read_json(content)))

    # ---- the socket

    async def draw(self, websocket: WebSocket) -> None:
        """Answers states with pictures.

        A message is {"number": 7, "state": {...}}. Its answer is binary: the length of a JSON text, 4 bytes, the upper
        first; that text, {"number": 7, "sizes": bytes of each picture, ...}; the pictures. An error is answered with
        the text {"number": 7, "error": "..."}. While one state is drawn, of those that arrive only the newest is kept.
        """
        if self._num_pages >= MOST_PAGES:
            why = f"at most {MOST_PAGES} pages can be open, and they are; close one of them."
            return await websocket.send_denial_response(PlainTextResponse(why, 503))
        await websocket.accept()
        self._num_pages += 1
        newest: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
        reader = asyncio.create_task(_read_newest(websocket, newest))
        try:
            while (message := await newest.get())["type"] != "websocket.disconnect":
                answer = await self._answer(message)
                await (websocket.send_bytes if isinstance(answer, bytes) else websocket.send_text)(answer)
        except (OSError, RuntimeError):  # The page went away while it was answered.
            pass
        finally:
            self._num_pages -= 1
            reader.cancel()

    async def _answer(self, message: dict[str, Any]) -> bytes | str:
        number = None
        try:
            text = message.get("text")
            if text is None or len(text) > MOST_STATE_BYTES:
                raise ValueError(f"the message is no text of at most {MOST_STATE_BYTES} characters.")
            values = states.read_json(text)
            if not isinstance(values, dict) or set(values) != {"number", "state"}:
                raise ValueError('the message is of another kind; send {"number": 7, "state": {...}}.')
            if type(values["number"]) is not int or not 0 <= values["number"] <= MOST_NUMBER:
                raise ValueError(f"the message's number is no whole number from 0 to {MOST_NUMBER}.")
            number = values["number"]
            about, pictures = await self._drawn(self._studio.draw, states.parse(values["state"]))
        except Exception as error:
            return json.dumps({"number": number, "error": _sentence(error)})
        about |= {"number": number, "sizes": [len(picture) for picture in pictures]}
        head = json.dumps(about).encode()
        return b"".join([len(head).to_bytes(4, "big"), head, *pictures])

    # ---- uploads

    async def upload(self, request: Request) -> Response:
        """Keeps an uploaded latent, or projects an uploaded picture; lines of JSON tell how far that is.

        The last line is {"latent": name} or {"error": "..."}, those before it {"done": 7, "all": 300}.
        """
        try:
            await asyncio.wait_for(self._uploading.acquire(), PATIENCE_SEC)
        except TimeoutError:
            raise ValueError("another upload is being worked on; try again when it is done.") from None
        try:
            content = await asyncio.wait_for(_body(request, uploads.MOST_BYTES), BODY_SEC)
            number = request.path_params["number"]
            if content[8:9] == b"{":  # A .safetensors, whose header begins after 8 bytes.
                name = await self._drawn(self._studio.keep_latent_file, number, content)
                self._uploading.release()
                return JSONResponse({"latent": name}, headers=HEADERS)
            opened = await self._drawn(self._studio.networks.open, number)
            lines, is_left = self._begin_projection(opened, content)
        except BaseException as error:
            self._uploading.release()
            if isinstance(error, TimeoutError):
                raise ValueError("the upload did not arrive in time; try again.") from None
            raise
        return StreamingResponse(_streamed(lines, is_left), media_type="application/x-ndjson", headers=HEADERS)

    def _begin_projection(self, opened: Any, content: bytes) -> tuple[asyncio.Queue[dict[str, Any]], threading.Event]:
        """Returns a queue of the lines to send, and what ends the projection when it is set."""
        loop, is_left = asyncio.get_running_loop(), threading.Event()
        lines: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        def show(done: int, total: int) -> None:
            if is_left.is_set():
                raise ConnectionAbortedError("the page went away.")
            loop.call_soon_threadsafe(lines.put_nowait, {"done": done, "all": total})

        async def project() -> None:
            work = functools.partial(self._studio.project, opened, content, show)
            try:
                last = {"latent": await loop.run_in_executor(self._studio.projecting, work)}
            except Exception as error:
                last = {"error": _sentence(error)}
            self._uploading.release()
            lines.put_nowait(last)

        self._projection = asyncio.create_task(project())  # A task that nobody holds may vanish.
        return lines, is_left


async def _read_newest(websocket: WebSocket, newest: asyncio.Queue[dict[str, Any]]) -> None:
    """Reads messages as fast as they come, and leaves the newest in a queue of one."""
    message: dict[str, Any] = {"type": ""}
    while message["type"] != "websocket.disconnect":
        message = await websocket.receive()
        while not newest.empty():
            newest.get_nowait()
        newest.put_nowait(message)


async def _streamed(lines: asyncio.Queue[dict[str, Any]], is_left: threading.Event) -> AsyncIterator[bytes]:
    try:
        line: dict[str, Any] = {"done": 0}
        while "done" in line:
            line = await lines.get()
            yield json.dumps(line).encode() + b"\n"
    finally:
        is_left.set()


async def _body(request: Request, most: int) -> bytes:
    """Returns what was sent. Raises ValueError as soon as it is more than `most` bytes."""
    parts, num_bytes = [], 0
    try:
        async for part in request.stream():
            num_bytes += len(part)
            if num_bytes > most:
                raise ValueError(f"what was sent has more than {most} bytes; send less.")
            parts.append(part)
    except ClientDisconnect:
        raise ValueError("the page went away before all was sent.") from None  # Nobody reads this.
    return b"".join(parts)


def _is_told(record: logging.LogRecord) -> bool:
    """Returns whether the terminal shows a log line; not that a socket sent no UTF-8, for which it is closed."""
    return not (record.exc_info and isinstance(record.exc_info[1], UnicodeDecodeError))


def serve(networks: Networks, host: str, port: int, ready_fn: Callable[[str], None]) -> None:
    """Serves the page until it is interrupted.

    Args:
        networks: networks that it shows.
        host: name or address of this machine to listen at.
        port: number of the port; 0 for a free one.
        ready_fn: called with the page's address once it can be opened.

    Raises:
        ValueError: the port is taken, or the host is none of this machine's.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family)
    except OSError as error:
        raise ValueError(
            f"the page cannot be served at --host={host} --port={port} ({error.strerror or error}); choose another."
        ) from None
    shown = f"[{host}]" if ":" in host else host
    ready_fn(f"http://{shown}:{listener.getsockname()[1]}")
    config = uvicorn.Config(
        application(networks, access.names_of(host)),
        log_level="warning",
        ws_max_size=MOST_MESSAGE_BYTES,
        timeout_graceful_shutdown=1,
        proxy_headers=False,
        server_header=False,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_told)
    uvicorn.Server(config).run(sockets=[listener])
