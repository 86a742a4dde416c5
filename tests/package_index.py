"""A package index on loopback, and packages in the shape of AMD's, made here byte by byte."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import http.server
import io
import tarfile
import threading
import zipfile
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

VERSION = "2.14.0+rocm10.1.0"
SDK = "10.1.0"
TARGETS = ("gfx1101", "gfx1151")


@dataclass
class Index:
    """PEP 503 pages of files that are held in memory. asked: every path that was fetched."""

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)  # project → name → content
    asked: list[str] = field(default_factory=list)

    def add(self, *files):
        for name, content in files:
            project = name.partition("-")[0].replace("_", "-").lower()
            self.files.setdefault(project, {})[name] = content

    def page(self, project):
        links = (
            f'<a href="{quote(name)}#sha256={hashlib.sha256(content).hexdigest()}">'
            f"{html.escape(name)}</a>"
            for name, content in self.files[project].items()
        )
        return f"<!DOCTYPE html><html><body>{'<br>'.join(links)}</body></html>".encode()

    def answer(self, path):
        """Status, type and body."""
        self.asked.append(path)
        project, _, name = path.strip("/").partition("/")
        if project not in self.files:
            return 404, "text/plain", b"no such project"
        if not name:
            return 200, "text/html", self.page(project)
        if name not in self.files[project]:
            return 404, "text/plain", b"no such file"
        return 200, "application/octet-stream", self.files[project][name]


class Server:
    """Several indexes at one port, each below a folder of its own."""

    def __init__(self):
        self.indexes: dict[str, Index] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                place, _, path = unquote(self.path).lstrip("/").partition("/")
                index = outer.indexes.get(place)
                status, kind, body = (
                    index.answer(path) if index else (404, "text/plain", b"no such index")
                )
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # uv may have seen enough
                    self.wfile.write(body)

            do_HEAD = do_GET  # noqa: N815 the name that http.server looks for

            def log_message(self, *_):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def index(self, place):
        port = self._http.server_address[1]
        self.indexes[place] = Index(f"http://127.0.0.1:{port}/{place}/")
        return self.indexes[place]

    def close(self):
        self._http.shutdown()
        self._http.server_close()


def wheel(name, version, requires=(), extras=(), modules=None, tag="py3-none-any"):
    """A wheel's file name and its bytes; modules: file in it → text."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Provides-Extra: {extra}" for extra in extras]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    files = {file: text.encode() for file, text in (modules or {}).items()}
    files[f"{stem}.dist-info/METADATA"] = ("\n".join(metadata) + "\n").encode()
    files[f"{stem}.dist-info/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    ).encode()
    record = "".join(
        f"{file},{_digest(content)},{len(content)}\n" for file, content in files.items()
    )
    files[f"{stem}.dist-info/RECORD"] = (record + f"{stem}.dist-info/RECORD,,\n").encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file, content in files.items():
            archive.writestr(zipfile.ZipInfo(file, (2026, 1, 1, 0, 0, 0)), content)
    return f"{stem}-{tag}.whl", buffer.getvalue()


def sdist(name, version, setup):
    """A source distribution that is built by its setup.py, which may look at the machine."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {
        "setup.py": setup,
        "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n'
        'build-backend = "setuptools.build_meta"\n',
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for file, text in files.items():
            info = tarfile.TarInfo(f"{stem}/{file}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return f"{stem}.tar.gz", buffer.getvalue()


def _digest(content):
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.decode().rstrip('=')}"


ROCM_SETUP = f"""
import os
from setuptools import setup
target = os.environ.get("ROCM_SDK_TARGET_FAMILY", "detected")
setup(
    name="rocm", version="{SDK}", py_modules=[],
    install_requires=["rocm-sdk-core=={SDK}"],
    extras_require={{
        "libraries": ["rocm-sdk-libraries=={SDK}", f"rocm-sdk-device-{{target}}=={SDK}"],
    }},
)
"""


def amd_like(origin="amd", torch=VERSION):
    """Torch with its kernels in an extra for each GPU, over a source distribution that picks.

    origin: what torch.origin says, so that a test knows from which index it came.
    """
    devices = [f"device-{target}" for target in TARGETS]
    yield wheel(
        "torch",
        torch,
        requires=[
            f"rocm[libraries]=={SDK}",
            "filelock",
            *(f'amd-torch-{device}=={torch}; extra == "{device}"' for device in devices),
        ],
        extras=devices,
        modules={"torch/__init__.py": f"origin = {origin!r}\n__version__ = {torch!r}\n"},
    )
    yield sdist("rocm", SDK, ROCM_SETUP)
    yield wheel("rocm-sdk-core", SDK, modules={"rocm_sdk/__init__.py": f"origin = {origin!r}\n"})
    yield wheel("rocm-sdk-libraries", SDK)
    for target in TARGETS:
        yield wheel(f"rocm-sdk-device-{target}", SDK)
        yield wheel(f"amd-torch-device-{target}", torch)
