"""A folder of packages builds an env where there is no network; and why stacks are apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, STACKS, stack_toml
from package_index import Server, sdist, wheel


def _write(folder, dependencies, python=">=3.10,<3.15"):
    folder.mkdir(parents=True)
    text = stack_toml(folder.name, dependencies=dependencies, python=python)
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    shutil.copy(STACKS / "puppet" / "worker.py", folder)
    return folder


SETUP = """
from setuptools import setup
setup(name="built-here", version="1.0", py_modules=["built_here"])
"""


@pytest.fixture
def cut(environment, tmp_path):
    """Run a command with a home and a cache of its own, and no network at all."""
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True) if (
        sys.platform == "linux" and shutil.which("unshare")
    ) else None  # fmt: skip

    def run(*words):
        command = [sys.executable, "-m", "orchestrator", *map(str, words)]
        own = {key: value for key, value in environment.items() if "FIND_LINKS" not in key}
        own |= {"ASRBENCH_HOME": str(tmp_path / "other home")}
        own |= {"UV_CACHE_DIR": str(tmp_path / "other cache")}
        if probe is not None and probe.returncode == 0:
            command = ["unshare", "-rn", *command]
        else:  # not cut, but whatever is asked for is at a closed port
            own |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
        return subprocess.run(
            command, cwd=ROOT, env=own, capture_output=True, encoding="utf-8", timeout=100
        )

    return run


@pytest.mark.long
def test_an_exported_folder_builds_the_env_with_the_network_cut(asrbench, cut, tmp_path):
    """One of its packages is a source distribution, whose own needs are fetched as well."""
    server = Server()
    index = server.index("main")
    modules = {"built_needs.py": "YES = True\n"}
    index.add(wheel("built-needs", "1.0", modules=modules), sdist("built-here", "1.0", SETUP))
    folder = _write(tmp_path / "stacks" / "carried", ["msgpack", "numpy", "built-here"])
    out = tmp_path / "wheel höuse"
    done = asrbench(
        "env", "export", "carried", out, "--stacks", folder, env={"UV_INDEX": index.url}
    )
    server.close()
    assert done.code == 0, done.err
    names = {file.name.partition("-")[0] for file in out.iterdir()}
    assert names == {"msgpack", "numpy", "built_here", "setuptools"}
    lock = (folder / "requirements.lock").read_text(encoding="utf-8")
    assert "127.0.0.1" not in lock
    words = ["env", "build", "carried", "--stacks", folder, "--offline"]
    built = cut(*words, "--find-links", out)
    assert built.returncode == 0, built.stderr
    assert "carried: env is ready" in built.stdout
    # without the folder there is nothing, and that is said
    shutil.rmtree(tmp_path / "other home")
    shutil.rmtree(tmp_path / "other cache")
    alone = cut(*words)
    assert alone.returncode == 3
    assert "likely cause: it is not in the cache or in the folder of --find-links" in alone.stderr
    assert "Traceback" not in alone.stderr


COMPILED = """
import os, sys
from setuptools import setup
if "COLOUR" not in os.environ:
    sys.exit("no colour")
with open("colour.py", "w", encoding="utf-8") as file:
    file.write("COLOUR = %r" % os.environ["COLOUR"])
setup(name="colour", version="1.0", py_modules=["colour"])
"""
PAINTED = """
[tool.asrbench.source_builds.cpu]
packages = ["colour"]
environment = { COLOUR = "red" }
"""


@pytest.mark.long
def test_what_a_stack_compiles_is_exported_as_sources_and_compiled_with_the_network_cut(
    asrbench, cut, tmp_path
):
    """The index has it built as well, and its sources do not build without the variable."""
    server = Server()
    index = server.index("main")
    index.add(wheel("colour", "1.0", modules={"colour.py": "COLOUR = 'as it ships'"}))
    index.add(sdist("colour", "1.0", COMPILED))
    folder = _write(tmp_path / "stacks" / "painted", ["msgpack", "numpy", "colour"])
    with (folder / "pyproject.toml").open("a", encoding="utf-8") as file:
        file.write(PAINTED)
    out = tmp_path / "wheel höuse"
    words = ["painted", "--stacks", folder]
    done = asrbench("env", "export", *words, out, env={"UV_INDEX": index.url})
    server.close()
    assert done.code == 0, done.err
    assert [file.name for file in out.glob("colour*")] == ["colour-1.0.tar.gz"]
    assert list(out.glob("setuptools-*"))
    built = cut("env", "build", *words, "--offline", "--find-links", out)
    assert built.returncode == 0, built.stderr
    (module,) = Path(built.stdout.splitlines()[-1]).rglob("colour.py")
    assert module.read_text(encoding="utf-8") == "COLOUR = 'red'"


def test_a_folder_that_cannot_be_made_is_named(in_process, puppet_env, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = in_process("env", "export", "puppet", tmp_path / "file" / "x", "--stacks", STACKS)
    assert done.code == 3
    assert f"cannot make {tmp_path / 'file' / 'x'}" in done.err
    unknown = in_process("env", "export", "pupet", tmp_path / "x", "--stacks", STACKS)
    assert (unknown.code, "did you mean 'puppet'" in unknown.err) == (2, True)


@pytest.mark.long
def test_why_two_stacks_have_an_env_each(in_process, tmp_path):
    root = tmp_path / "stacks"
    _write(root / "old", ["msgpack", "packaging==23.0"])
    _write(root / "new", ["msgpack", "packaging>=24"])
    _write(root / "ancient", ["msgpack"], python=">=3.9,<3.10")
    for name in ("old", "new"):
        assert in_process("env", "lock", name, "--stacks", root).code == 0
    done = in_process("env", "why", "old", "--stacks", root)
    assert done.code == 0, done.err
    said = dict(line.split(": ", 1) for line in done.out.splitlines() if ": " in line)
    assert "the stack old depends on packaging==23.0" in said["new"]
    assert "the stack new depends on packaging>=24" in said["new"]
    assert "incompatible" in said["new"]
    assert "(locked apart: packaging 23.0 and " in said["new"]
    assert "no Python fits both: old needs >=3.10,<3.15, ancient >=3.9,<3.10" in said["ancient"]
    assert said["pocketsphinx"].startswith("no conflict")


def test_no_answer_is_given_where_the_index_gives_none(asrbench, tmp_path):
    root = tmp_path / "stacks"
    _write(root / "one", ["msgpack"])
    nowhere = {"UV_DEFAULT_INDEX": "http://user:geheim@127.0.0.1:9/geheimtoken/simple"}
    nowhere |= {"UV_HTTP_RETRIES": "0", "UV_CACHE_DIR": str(tmp_path / "cache")}
    done = asrbench("env", "why", "one", "--stacks", root, env=nowhere)
    assert done.code == 3
    assert "likely cause: the package index cannot be reached" in done.err
    assert "no conflict" not in done.out
    home = asrbench("env", "lock", "one", "--stacks", root, env=nowhere)
    assert home.code == 3
    logs = [file.read_text("utf-8") for file in _logs(asrbench) if file.name.startswith("one-")]
    assert logs
    assert "geheim" not in done.err + home.err + "".join(logs)


def _logs(asrbench):
    code = "from orchestrator import paths; print(paths.envs_home() / 'logs')"
    done = asrbench(program=("-c", code))
    return list(Path(done.out.strip()).iterdir())


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"PIP_INDEX_URL": "https://a"}, {"UV_DEFAULT_INDEX": "https://a"}),
        (
            {"PIP_INDEX_URL": "https://a", "UV_INDEX_URL": "https://b"},
            {"UV_INDEX_URL": "https://b"},
        ),
        ({"PIP_FIND_LINKS": "/a  /b"}, {"UV_FIND_LINKS": "/a /b"}),
        (
            {"UV_INDEX": "https://me:geheim@a/x?token=geheim mine=https://b:8/geheim/"},
            {"UV_INDEX": "https://a mine=https://b:8"},
        ),
        ({"UV_INDEX": "https://a/geheim=/simple"}, {"UV_INDEX": "https://a"}),
        ({"UV_INDEX": "https://[a/geheim"}, {"UV_INDEX": "***"}),
        ({"UV_INDEX": "a=b=https://me:geheim@x/y"}, {"UV_INDEX": "***"}),
        ({"HTTPS_PROXY": "http://me:ge#heim@p:1"}, {"HTTPS_PROXY": "***"}),
        ({"HTTPS_PROXY": "p:3128"}, {"HTTPS_PROXY": "p:3128"}),
        ({"HTTPS_PROXY": "http://me:ge,heim@p:1"}, {"HTTPS_PROXY": "http://p:1"}),
        ({"ALL_PROXY": "me:geheim@p:1"}, {"ALL_PROXY": "***@p:1"}),
        ({"https_proxy": "http://me:geheim@p:1"}, {"HTTPS_PROXY": "http://p:1"}),
    ],
)
def test_where_packages_come_from_is_recorded_without_secrets(given, told):
    from orchestrator.environments.sources import package_sources

    assert package_sources({"PATH": os.environ["PATH"], **given}) == told


@pytest.mark.parametrize(
    ("given", "said", "told"),
    [
        ({"UV_INDEX": "https://a/geheim=/simple"}, "no https://a/geheim=/simple/x/", "no https://a/***/simple/x/"),
        ({"UV_INDEX": "mine=https://a/geheim"}, "no https://a/geheim/x/", "no https://a/***/x/"),
        ({"UV_INDEX": "https://a/simple"}, "no https://a/simple/x/", "no https://a/simple/x/"),
        ({"UV_INDEX": "https://[a/geheim"}, "wrong: https://[a/geheim", "wrong: ***"),
        ({"UV_FIND_LINKS": "/a,https://a/b/geheim/c"}, "https://a/b/geheim/c/x.whl", "https://a/***/***/***/x.whl"),
        ({"UV_INDEX": "https://A:443/geheim/py/simple"}, "(http://a/geheim/x-py.whl)", "(http://a/***/x-py.whl)"),
        ({"UV_INDEX": "https://a/py"}, "at https://a/pypi/py: no", "at https://a/pypi/***: no"),
        ({"UV_INDEX": "https://a/b https://a/b/geheim"}, "https://a/b/geheim/c", "https://a/***/***/c"),
        ({"HTTPS_PROXY": "http://me:ge#heim@p:1"}, "at http://me:ge#heim@p:1:", "at ***:"),
        ({"PIP_FIND_LINKS": "https://me@a/geheim /b"}, "https://me@a/geheim", "https://***@a/***"),
    ],
)  # fmt: skip
def test_what_uv_and_pip_say_is_told_without_secrets(monkeypatch, given, said, told):
    from orchestrator.environments.sources import without_secrets

    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert without_secrets(said) == told


def test_an_index_keeps_its_address_whatever_is_in_it(monkeypatch):
    from orchestrator.environments.export import _find_links, _indexes

    for name in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("UV_INDEX", "mine=https://a/simple https://b/x?key=value")
    monkeypatch.setenv("UV_DEFAULT_INDEX", "https://c")
    monkeypatch.setenv("UV_INDEX_URL", "https://not-this")
    monkeypatch.setenv("UV_FIND_LINKS", "/a,https://me:geheim@d")  # on no command line
    assert _indexes() == {
        "PIP_INDEX_URL": "https://c",
        "PIP_EXTRA_INDEX_URL": "https://a/simple https://b/x?key=value",
        "PIP_FIND_LINKS": "https://me:geheim@d",
    }
    assert _find_links()[:2] == ["--find-links", "/a"]
    assert "geheim" not in " ".join(_find_links())


def test_what_comes_from_git_is_pinned_by_a_commit(asrbench, tmp_path):
    if not shutil.which("git"):
        pytest.skip("no git here")
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "setup.py").write_text(SETUP.replace("built", "newer"), encoding="utf-8")
    (repository / "newer_here.py").write_text("", encoding="utf-8")
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@localhost"]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        subprocess.run([*git, *words], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    commit = head.stdout.strip()
    url = f"newer-here @ git+{repository.as_uri()}@"
    folder = _write(tmp_path / "stacks" / "from-git", ["msgpack", "numpy", url + commit])
    built = asrbench("env", "build", "from-git", "--stacks", folder)
    assert built.code == 0, built.err
    assert f"newer-here @ git+{repository.as_uri()}@{commit}" in (
        folder / "requirements.lock"
    ).read_text(encoding="utf-8")
    refused = asrbench("env", "export", "from-git", tmp_path / "out", "--stacks", folder)
    assert refused.code == 3
    assert "takes newer-here from git" in refused.err
    file = folder / "pyproject.toml"
    file.write_text(file.read_text(encoding="utf-8").replace(commit, "main"), encoding="utf-8")
    moving = asrbench("env", "build", "from-git", "--stacks", folder)
    assert moving.code == 2
    assert "has to name the full hash of a commit" in moving.err


@pytest.mark.parametrize(
    "requirement", ["numpy\\n--index-url https://x", "--find-links=/x", "-r other.txt", "a b c"]
)
def test_a_dependency_is_one_requirement_and_no_option_of_uv(in_process, tmp_path, requirement):
    folder = _write(tmp_path / "stacks" / "sly", ["msgpack"])
    file = folder / "pyproject.toml"
    text = file.read_text(encoding="utf-8")
    assert '["msgpack"]' in text
    text = text.replace('["msgpack"]', f'["{requirement}"]')
    file.write_text(text, encoding="utf-8")
    done = in_process("env", "lock", "sly", "--stacks", folder)
    assert done.code == 2
    assert "is not a requirement" in done.err
