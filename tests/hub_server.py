"""A hub on loopback: what huggingface_hub asks for, and what goes wrong with one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import socket
import struct
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_secretsecretsecret"


def git_sha1(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    """files: name → content; those that end in .bin are large ones (LFS)."""

    files: dict[str, bytes]
    commit: str = COMMIT
    former: tuple[str, ...] = ()  # commits that are no longer main's
    licence: object = "mit"
    gated: bool = False


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class Hub:
    """What it has, what it does wrong, and what it was asked."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    # name → what becomes of its next answers: ("close" | "reset" | "stall", after so many bytes)
    faults: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    corrupt: set[str] = field(default_factory=set)
    announce: dict = field(default_factory=dict)  # name → changed keys of its announcement
    raw_info: dict[str, bytes] = field(default_factory=dict)  # instead of an announcement
    status: int | None = None  # instead of any answer
    redirect_to: Hub | None = None
    go_on: threading.Event = field(default_factory=threading.Event)

    def start(self):
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def stop(self):
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fetched(self, name=""):
        """The requests for contents since the last clear()."""
        return [one for one in self.requests if "/resolve/" in one.path and name in one.path]

    def refusal(self, name, revision, token, for_file):
        """Status, code and message of an answer that is none."""
        repository = self.repositories.get(name)
        if self.status:
            return self.status, "Whatever", token or ""
        if name in self.raw_info:
            return None
        if repository is None:
            return (401 if token is None else 404), "RepoNotFound"
        if token not in (None, TOKEN):
            return 401, None, "Invalid credentials in Authorization header"
        if revision not in ("main", "a/branch", repository.commit, *repository.former):
            return 404, "RevisionNotFound"
        if for_file and repository.gated and token is None:
            return 401, "GatedRepo"
        return None

    def info(self, name):
        if name in self.raw_info:
            return self.raw_info[name]
        repository = self.repositories[name]
        siblings = []
        for file, content in repository.files.items():
            one = {"rfilename": file, "size": len(content), "blobId": git_sha1(content)}
            if file.endswith(".bin"):
                sha256 = hashlib.sha256(content).hexdigest()
                one["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(one | self.announce.get(file, {}))
        return json.dumps(
            {"id": name, "sha": repository.commit, "gated": repository.gated and "auto",
             "cardData": {"license": repository.licence}, "siblings": siblings}
        ).encode()  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        hub = self.server.hub
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ") or None
        hub.requests.append(Request(self.command, path, self.headers.get("Range"), token))
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if not info and not file:
            return self.refuse(404, None)
        name, revision = (info or file).group(1, 2)
        refusal = hub.refusal(name, revision, token, for_file=file is not None)
        if refusal:
            return self.refuse(*refusal)
        if info:
            assert parse_qs(parts.query)["blobs"]
            return self.answer(hub.info(name), {"Content-Type": "application/json"})
        return self.file(hub.repositories[name], file.group(3))

    def file(self, repository, name):
        content = repository.files.get(name)
        if content is None:
            return self.refuse(404, "EntryNotFound")
        if self.server.hub.redirect_to is not None:
            return self.answer(b"", {"Location": self.server.hub.redirect_to.url + self.path}, 302)
        etag = hashlib.sha256(content).hexdigest() if name.endswith(".bin") else None
        etag = etag or git_sha1(content)
        if name in self.server.hub.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": repository.commit}
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked.group(1)) if asked else 0
        if asked:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        fault = self.server.hub.faults[name].pop(0) if self.server.hub.faults.get(name) else None
        return self.answer(content[start:], headers, 206 if asked else 200, fault)

    def refuse(self, status, code, message=""):
        headers = {"X-Error-Message": message or "no"} | ({"X-Error-Code": code} if code else {})
        self.answer(json.dumps({"error": message}).encode(), headers, status)

    def answer(self, body, headers, status=200, fault=None):
        if fault == ("reset", 0):
            return self.reset()
        self.send_response(status)
        for key, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        if fault is None:
            self.wfile.write(body)
            return None
        kind, count = fault
        self.wfile.write(body[:count])
        if kind == "stall":
            self.server.hub.go_on.wait(30)
        self.close_connection = True
        return self.reset() if kind == "reset" else None

    def reset(self):
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close_connection = True
        self.connection.close()

    def finish(self):
        with contextlib.suppress(OSError, ValueError):  # the connection was reset
            super().finish()
