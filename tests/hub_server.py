"""A small stand-in for the Hugging Face hub: the endpoints that weights/hub.py makes huggingface_hub ask for."""

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator

COMMIT = "0123456789" * 4


@dataclasses.dataclass
class Hub:
    """What the server holds, and what it was asked."""

    models: dict[str, dict[str, bytes]]  # Files by name, of each model by name.
    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)  # Method and path.
    address: str = ""


@contextlib.contextmanager
def serving(models: dict[str, dict[str, bytes]]) -> Iterator[Hub]:
    """Yields a hub with these models, which serves on this machine until the block ends."""
    hub = Hub(models)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def _reply(self, status: int, body: bytes, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _reply_json(self, value: object, status: int = 200, **headers: str) -> None:
            self._reply(status, json.dumps(value).encode(), **{"Content-Type": "application/json"}, **headers)

        def _answer(self) -> None:
            hub.requests.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0].removeprefix("/")
            if path == "api/repos/create":
                return self._create(json.loads(body))
            if path == "api/validate-yaml":
                return self._reply_json({"errors": [], "warnings": []})
            name = "/".join(path.removeprefix("api/models/").split("/")[:2])
            rest = path.removeprefix("api/models/").removeprefix(name)
            files = hub.models.get(name)
            if files is None:
                return self._reply_json({"error": "no such model"}, 404, **{"X-Error-Code": "RepoNotFound"})
            if rest.startswith("/resolve/main/"):
                return self._file(files, rest.removeprefix("/resolve/main/"))
            if rest.startswith("/preupload/"):
                asked = json.loads(body)["files"]
                modes = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in asked]
                return self._reply_json({"files": modes})
            if rest.startswith("/commit/"):
                return self._commit(name, files, body)
            if rest in ("", "/revision/main"):
                siblings = [{"rfilename": each} for each in files]
                return self._reply_json({"id": name, "sha": COMMIT, "siblings": siblings})
            return self._reply_json({"error": "no such revision"}, 404, **{"X-Error-Code": "RevisionNotFound"})

        do_GET = do_HEAD = do_POST = _answer  # noqa: N815

        def _create(self, asked: dict) -> None:
            name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
            hub.models.setdefault(name, {})
            self._reply_json({"url": f"{hub.address}/{name}"})

        def _file(self, files: dict[str, bytes], file: str) -> None:
            if file not in files:
                return self._reply_json({"error": "no such file"}, 404, **{"X-Error-Code": "EntryNotFound"})
            etag = hashlib.sha256(files[file]).hexdigest()
            self._reply(200, files[file], **{"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'})

        def _commit(self, name: str, files: dict[str, bytes], body: bytes) -> None:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            url = f"{hub.address}/{name}/commit/{COMMIT}"
            self._reply_json({"success": True, "commitOid": COMMIT, "commitUrl": url, "hookOutput": ""})

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        hub.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield hub
        finally:
            server.shutdown()
