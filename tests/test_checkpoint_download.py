"""Checkpoints are fetched from a hub, go on after a drop, are verified, mended and deleted."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, STACKS
from hub_server import COMMIT, TOKEN, Hub, Repository

MIB = 1 << 20
WEIGHTS = random.Random(1).randbytes(3 * MIB + 5)
FILES = {
    "config.json": b'{"a": 1}',
    "empty.txt": b"",
    "folder/model.bin": WEIGHTS,
    "folder/same.bin": WEIGHTS,
}
STACK = """
[tool.asrbench.models.whole]
checkpoint = "owner/repo"
options = { beams = 5 }
languages = ["en"]
licence = "MIT"
[tool.asrbench.models.single]
checkpoint = "owner/repo:folder/model.bin"
"""
KEPT = "run the same command again"


@pytest.fixture
def hub():
    """A hub with one repository."""
    started = Hub({"owner/repo": Repository(dict(FILES))}).start()
    yield started
    started.stop()


@pytest.fixture
def stack(tmp_path):
    """Write the models of a stack; returns its folder."""

    def write(models=STACK):
        folder = tmp_path / "far"
        folder.mkdir(exist_ok=True)
        text = (STACKS / "puppet" / "pyproject.toml").read_text(encoding="utf-8")
        text = text.partition("[tool.asrbench.models")[0].replace('"puppet"', '"far"') + models
        (folder / "pyproject.toml").write_text(text, encoding="utf-8")
        (folder / "worker.py").write_text("", encoding="utf-8")
        return folder

    write()
    return write


@pytest.fixture
def variables(hub, tmp_path):
    """What a command needs to find the hub, and nothing of the user's own."""
    return {
        "HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1", "HF_TOKEN": "",
        "HF_HOME": str(tmp_path / "hf"), "HF_HUB_CACHE": str(tmp_path / "c"),
        "ASRBENCH_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "", "TRANSFORMERS_OFFLINE": "", "ASRBENCH_STACKS": str(tmp_path / "far"),
    }  # fmt: skip


@pytest.fixture
def models(asrbench, in_process, stack, variables):
    """Run `asrbench models …`; what needs no hub in this process, which is quicker."""

    def run(*arguments, **more):
        own = asrbench if arguments[0] == "download" else in_process
        done = own("models", *arguments, env=variables | more)
        assert "Traceback" not in done.err, done.err
        assert "\x1b" not in done.out + done.err
        return done

    return run


@pytest.fixture
def cached(tmp_path):
    return tmp_path / "c" / "models--owner--repo"


def record_of(tmp_path):
    return json.loads((tmp_path / "home" / "checkpoints.lock.json").read_text(encoding="utf-8"))


def ready(models):
    found = models("list", "--json").json()
    return {one["model"]: one["ready"] for one in found if one["stack"] == "far"}


def test_a_whole_repository_is_fetched_recorded_and_found(models, hub, cached, tmp_path):
    before = models("show", "whole")
    assert "asrbench models download whole" in before.out
    done = models("download", "whole")
    assert done.code == 0, done.err
    assert "3.1 MB" in done.out  # the content that two names share comes once
    assert "licence: MIT" in done.out
    assert "of 3.1 MB" in done.err
    snapshot = cached / "snapshots" / COMMIT
    for name, content in FILES.items():
        assert (snapshot / name).read_bytes() == content
    assert len(hub.fetched("bin")) == 1
    assert [one.path for one in hub.requests if one not in hub.fetched()] == [
        "/api/models/owner/repo/revision/main"
    ]
    assert {one.name for one in (cached / "blobs").iterdir()} == {
        hashlib.sha256(WEIGHTS).hexdigest(),
        *(hub_hash(FILES[name]) for name in ("config.json", "empty.txt")),
    }
    (kept,) = record_of(tmp_path)["checkpoints"]
    assert (kept["repository"], kept["revision"], kept["commit"]) == ("owner/repo", "main", COMMIT)
    assert kept["files"][2]["sha256"] == hashlib.sha256(WEIGHTS).hexdigest()
    assert kept["files"][2]["size_bytes"] == len(WEIGHTS)
    assert ready(models) == {"whole": True, "single": True}

    hub.stop()
    hub.requests.clear()
    again = models("download", "whole")  # what is here needs no hub
    assert again.code == 0, again.err
    shown = models("show", "whole").out
    for words in ("far", COMMIT, str(snapshot), "3.1 MB in 4 files", "UTC", '{"beams": 5}', "mit"):
        assert words in shown.replace("6.3 MB", "3.1 MB"), words
    offline = models("verify", "--all")
    assert offline.code == 0, offline.err
    assert "ok: 4 files" in offline.out
    assert hub.requests == []
    hub.start()


def hub_hash(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def test_a_branch_stays_at_the_commit_that_it_was_when_fetched(models, hub, cached):
    assert models("download", "whole").code == 0
    (cached / "snapshots" / COMMIT / "config.json").resolve().unlink()
    repository = hub.repositories["owner/repo"]
    repository.commit, repository.former = "f" * 40, (COMMIT,)
    hub.requests.clear()
    assert models("download", "whole").code == 0
    assert {one.path for one in hub.requests} == {f"/owner/repo/resolve/{COMMIT}/config.json"}
    assert models("remove", "whole", "single").code == 0
    assert models("download", "whole").code == 0
    assert [one.name for one in (cached / "snapshots").iterdir()] == ["f" * 40]


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(models, hub, cached):
    hub.faults["folder/model.bin"] = [("close", 2 * MIB + 100), ("reset", 0), ("reset", 0)]
    cut = models("download", "whole")
    assert cut.code == 3
    assert KEPT in cut.err
    again = f"bytes={2 * MIB}-"  # what has not come yet is asked for at once, and later
    assert [one.range for one in hub.fetched("model.bin")] == [None, again, again]
    assert not (cached / "snapshots").exists()
    assert ready(models)["whole"] is False
    hub.requests.clear()
    done = models("download", "whole")
    assert done.code == 0, done.err
    assert [one.range for one in hub.fetched("model.bin")] == [again]
    assert hub.fetched("config.json") == []
    assert (cached / "snapshots" / COMMIT / "folder" / "model.bin").read_bytes() == WEIGHTS


def test_one_file_alone_is_no_whole_repository_and_rubbish_in_its_part_does_no_harm(
    models, hub, cached
):
    part = cached / "blobs" / f"{hashlib.sha256(WEIGHTS).hexdigest()}.asrbench-incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"rubbish")
    assert models("download", "single").code == 0
    assert [one.range for one in hub.fetched("model.bin")] == ["bytes=7-", None]
    assert hub.fetched() == hub.fetched("model.bin")
    assert ready(models)["single"] is True
    assert ready(models)["whole"] is False


def test_a_folder_of_a_repository_is_fetched_found_and_removed_by_itself(
    models, hub, stack, cached, tmp_path
):
    hub.repositories["owner/repo"].files = FILES | {
        "folder/deep/more.txt": b"more",
        "folder2/other.txt": b"of another folder",
    }
    stack(
        '[tool.asrbench.models.part]\ncheckpoint = "owner/repo:folder/"\n'
        '[tool.asrbench.models.deep]\ncheckpoint = "owner/repo:folder/deep/"\n'
        '[tool.asrbench.models.whole]\ncheckpoint = "owner/repo"\n'
    )
    wanted = {"folder/model.bin", "folder/same.bin", "folder/deep/more.txt"}
    snapshot = cached / "snapshots" / COMMIT

    def there():
        files = (one for one in snapshot.rglob("*") if one.is_file())
        return {one.relative_to(snapshot).as_posix() for one in files}

    assert models("download", "deep").code == 0
    assert ready(models)["part"] is False  # its folder exists, and holds a part of it
    done = models("download", "part")
    assert done.code == 0, done.err
    assert f"verified: {snapshot / 'folder'}\n" in done.out
    assert there() == wanted
    kept = {one["file"]: one["files"] for one in record_of(tmp_path)["checkpoints"]}
    assert {one["name"] for one in kept["folder/"]} == wanted
    assert ready(models) == {"part": True, "deep": True, "whole": False}
    shown = models("show", "part").out
    assert "owner/repo:folder/\n" in shown
    assert f" {snapshot / 'folder'}\n" in shown
    assert "in 3 files" in shown

    (snapshot / "folder" / "same.bin").unlink()
    assert ready(models)["part"] is False
    assert "same.bin: is missing" in models("verify", "part").err
    assert models("download", "part").code == 0
    assert models("verify", "part").code == 0
    kept = models("remove", "part")
    assert kept.code == 0
    assert "files that deep needs as well were kept" in kept.out
    assert there() == {"folder/deep/more.txt"}
    assert models("verify", "deep").code == 0
    assert models("remove", "deep").code == 0
    assert not cached.exists()


def test_files_that_a_model_does_not_need_are_left_out(
    models, hub, stack, cached, variables, tmp_path
):
    hub.repositories["owner/repo"].files["folder/deep/more.bin"] = b"deeper"
    hub.repositories["owner/repo"].files["weights.fp32"] = b"the same in another form"
    stack(
        '[tool.asrbench.models.thin]\ncheckpoint = "owner/repo"\nwithout = ["folder/*", "*.fp32"]\n'
        '[tool.asrbench.models.deep]\ncheckpoint = "owner/repo:folder/deep/"\n'
        '[tool.asrbench.models.other]\ncheckpoint = "owner/repo:config.json"\n'
        '[tool.asrbench.models.whole]\ncheckpoint = "owner/repo"\n'
    )
    snapshot = cached / "snapshots" / COMMIT

    def there():
        return {
            path.relative_to(snapshot).as_posix()
            for path in snapshot.rglob("*")
            if not path.is_dir()
        }

    done = models("download", "thin")
    assert done.code == 0, done.err
    thin = there()
    assert "config.json" in thin
    assert not any(name.startswith("folder/") or name.endswith(".fp32") for name in thin)
    assert ready(models) == {"thin": True, "deep": False, "other": True, "whole": False}
    assert "owner/repo without folder/*, *.fp32\n" in models("show", "thin").out
    assert models("verify", "thin").code == 0

    assert models("download", "whole").code == 0
    assert {"weights.fp32", "folder/deep/more.bin"} < there()
    assert ready(models)["whole"] is True
    (snapshot / "weights.fp32").unlink()
    assert models("verify", "thin").code == 0
    assert models("verify", "whole").code != 0
    assert ready(models)["whole"] is False

    assert models("download", "whole").code == 0
    assert models("remove", "whole").code == 0
    assert there() == thin
    assert models("verify", "thin").code == 0
    assert "files that other needs as well were kept" in models("remove", "thin").out
    assert there() == {"config.json"}
    assert models("remove", "other").code == 0
    assert not cached.exists()


def test_what_another_program_fetched_of_a_folder_is_found(models, stack, cached):
    stack('[tool.asrbench.models.part]\ncheckpoint = "owner/repo:folder/"\n')
    folder = cached / "snapshots" / COMMIT / "folder"
    folder.mkdir(parents=True)
    assert ready(models)["part"] is False
    (folder / "weights").write_bytes(b"")
    assert ready(models)["part"] is True


def _index(*files):
    return json.dumps({"metadata": {}, "weight_map": {f"w.{name}": name for name in files}})


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"config.json": "{}", "tokenizer.json": "{}", "LICENSE": ""},
         "only parts without weights are on this machine"),
        ({"model.safetensors.index.json": _index("a.safetensors", "b.safetensors"),
          "a.safetensors": ""}, "of its checkpoint b.safetensors is not on this machine"),
        ({"model.safetensors.index.json": _index("a", "b", "c"), "c": ""},
         "of its checkpoint a and 1 more is not on this machine"),
        ({"model.safetensors.index.json": _index("a", "/etc/x", "../y"), "a": ""}, None),
        ({"model.safetensors.index.json": "[" * 100_000, "a": ""}, None),
        ({"model.safetensors.index.json": '{"weight_map": 3}', "a": ""}, None),
        ({"deep/model.onnx": ""}, None),
        ({"model.safetensors.index.json": _index("b"), "model.safetensors": ""}, None),
        ({"model.fp32.safetensors.index.json": _index("b"), "a": ""}, None),
        ({"model.safetensors.index.json": _index("b" * 300, ""), "a": ""},
         f"of its checkpoint {'b' * 300} is not on this machine"),
        ({"other/form.bin": ""}, "only parts without weights are on this machine"),
    ],
)  # fmt: skip
def test_what_another_program_fetched_in_part_is_not_taken_for_a_checkpoint(
    models, stack, cached, files, words
):
    stack('[tool.asrbench.models.part]\ncheckpoint = "owner/repo"\nwithout = ["other/*"]\n')
    for name, content in files.items():
        file = cached / "snapshots" / COMMIT / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
    assert ready(models)["part"] is (words is None)
    shown = models("show", "part").out
    if words:
        assert f"{words}; get it: asrbench models download part" in shown


@pytest.mark.parametrize(
    ("place", "hint"), [("foldr/", "'folder/'"), ("config.json/", "known: folder/")]
)
def test_a_folder_that_a_repository_lacks_is_named(models, stack, place, hint):
    stack(f'[tool.asrbench.models.part]\ncheckpoint = "owner/repo:{place}"\n')
    done = models("download", "part")
    assert done.code == 3
    assert f"unknown folder '{place}'" in done.err
    assert hint in done.err


@pytest.mark.parametrize("place", ["/", "a//", "../", "a/../", "/a/"])
def test_a_folder_outside_its_repository_is_no_checkpoint(in_process, stack, variables, place):
    stack(f'[tool.asrbench.models.part]\ncheckpoint = "owner/repo:{place}"\n')
    done = in_process("models", "list", env=variables)
    assert done.code == 2
    assert "models.part.checkpoint" in done.err


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGINT")
def test_ctrl_c_keeps_what_has_come(models, hub, environment, variables, stack, cached):
    hub.faults["folder/model.bin"] = [("stall", MIB + 100)]
    controller = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "models", "download", "single"],
        cwd=ROOT, env=environment | variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8",
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not any(one.stat().st_size == MIB for one in cached.glob("blobs/*.asrbench-incomplete")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    controller.send_signal(signal.SIGINT)
    _, err = controller.communicate(timeout=30)
    assert controller.returncode == 130
    assert "goes on" in err
    assert "Traceback" not in err
    hub.requests.clear()
    assert models("download", "single").code == 0
    assert [one.range for one in hub.fetched()] == [f"bytes={MIB}-"]


def test_a_damaged_file_is_named_and_mended(models, hub, cached):
    assert models("download", "whole").code == 0
    file = (cached / "snapshots" / COMMIT / "folder" / "model.bin").resolve()
    content = bytearray(WEIGHTS)
    content[MIB] ^= 1
    file.write_bytes(content)
    (cached / "snapshots" / COMMIT / "config.json").unlink()
    bad = models("verify", "whole", "single")
    assert bad.code == 3
    assert "model.bin: is damaged" in bad.err
    assert "config.json: is missing" in bad.err
    assert "mend them: asrbench models download whole" in bad.err
    assert "empty.txt" not in bad.err
    hub.requests.clear()
    assert models("download", "whole").code == 0
    assert [one.path.rpartition("/")[2] for one in hub.fetched()] == ["model.bin"]
    assert file.read_bytes() == WEIGHTS
    assert models("verify", "whole").code == 0


def test_what_is_not_what_was_announced_is_never_used(models, hub, cached, tmp_path):
    hub.corrupt.add("folder/model.bin")
    done = models("download", "single")
    assert done.code == 3
    assert "model.bin is not what was announced" in done.err
    assert list((cached / "blobs").iterdir()) == []
    assert not (tmp_path / "home" / "checkpoints.lock.json").exists()
    assert ready(models)["single"] is False
    assert models("verify", "single").code == 3


def test_a_gated_repository_is_explained_and_the_token_is_in_no_output(
    models, hub, variables, tmp_path
):
    other = Hub({"owner/repo": Repository(dict(FILES))}).start()
    hub.repositories["owner/repo"].gated = True
    closed = models("download", "single")
    assert closed.code == 3
    assert f"accept its terms at {hub.url}/owner/repo" in closed.err
    assert "HF_TOKEN" in closed.err

    wrong = models("download", "single", HF_TOKEN="hf_another")
    assert wrong.code == 3
    assert "does not accept your token" in wrong.err
    hub.status = 500  # an answer that repeats the token
    broken = models("download", "single", HF_TOKEN=TOKEN, HF_DEBUG="1")
    assert broken.code == 3
    hub.status = None

    hub.redirect_to = other  # where the contents are
    opened = models("download", "single", HF_TOKEN=TOKEN)
    other.stop()
    assert opened.code == 0, opened.err
    assert hub.requests[-1].token == TOKEN
    assert [one.token for one in other.requests] == [None]
    for done in (closed, wrong, broken, opened):
        assert TOKEN not in done.out + done.err
        assert "hf_another" not in done.out + done.err
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(models, hub):
    lfs = {"sha256": "0" * 64, "size": 10**15, "pointerSize": 1}
    hub.announce["folder/model.bin"] = {"lfs": lfs}
    done = models("download", "single")
    assert done.code == 3
    assert "1000.0 TB are to be fetched" in done.err
    assert "are missing" in done.err
    assert "HF_HUB_CACHE=DIR" in done.err
    assert hub.fetched() == []


@pytest.mark.parametrize(
    "name",
    ["../evil", "/evil", "a/../../evil", "a\\..\\evil", "C:evil", "a//b", "nul\0", "new\nline", 7],
)
def test_a_name_that_leaves_its_folder_is_refused(hub, name):
    from pydantic import ValidationError

    from orchestrator.checkpoint_record import FileRecord

    with pytest.raises(ValidationError):
        FileRecord(name=name, size_bytes=1, git_sha1="0" * 40)
    assert FileRecord(name=".a/b c/é.bin", size_bytes=1, git_sha1="0" * 40).name == ".a/b c/é.bin"


def test_a_hub_that_sends_rubbish_is_not_believed(models, hub, stack, tmp_path):
    def info(sha=COMMIT, **file):
        one = {"rfilename": "x", "size": 1, "blobId": "0" * 40} | file
        return json.dumps({"id": "x", "sha": sha, "siblings": [one]}).encode()

    rubbish = {
        "html": b"<html>sign in to this hotel's network</html>",
        "deep": b"[" * 100_000,
        "shape": json.dumps({"id": "x", "sha": COMMIT, "siblings": 3}).encode(),
        "name": info(rfilename="../x"),
        "size": info(size=-1),
        "hash": info(blobId="../../x"),
        "commit": info(sha="../../x"),
    }
    hub.raw_info = {f"owner/{name}": content for name, content in rubbish.items()}
    stack("".join(f'[tool.asrbench.models.{n}]\ncheckpoint = "owner/{n}"\n' for n in rubbish))
    done = models("download", "--all")
    assert done.code == 3
    lines = {line.partition(":")[0]: line for line in done.err.splitlines()}
    assert {name for name, line in lines.items() if "nothing of it was used" in line} == set(
        rubbish
    )
    assert hub.fetched() == []
    assert not (tmp_path / "c").exists()


def test_what_does_not_exist_is_named_and_costs_no_other_model(models, hub, stack):
    stack(
        '[tool.asrbench.models.a]\ncheckpoint = "owner/none"\n'
        '[tool.asrbench.models.b]\ncheckpoint = "owner/repo"\nrevision = "v9"\n'
        '[tool.asrbench.models.c]\ncheckpoint = "owner/repo:folder/modell.bin"\n'
        '[tool.asrbench.models.d]\ncheckpoint = "owner/repo:config.json"\n'
    )
    done = models("download", "--all")
    assert done.code == 1
    assert "a: " in done.err
    assert "has no repository owner/none" in done.err
    assert "owner/repo has no revision v9" in done.err
    assert "did you mean 'folder/model.bin'?" in done.err
    assert "d: verified" in done.out


def test_a_hub_that_is_away_or_not_wanted_is_said(models, hub, tmp_path):
    offline = models("download", "whole", HF_HUB_OFFLINE="1")
    assert offline.code == 3
    assert "HF_HUB_OFFLINE" in offline.err
    assert hub.requests == []
    hub.stop()
    away = models("download", "whole")
    assert away.code == 3
    assert f"cannot reach {hub.url}" in away.err
    hub.start()
    assert models("download", "whole", HF_ENDPOINT="htp:/x").code == 2
    blocked = tmp_path / "blocked"
    blocked.write_text("a file", encoding="utf-8")
    full = models("download", "whole", HF_HUB_CACHE=str(blocked), HF_ENDPOINT=hub.url)
    assert full.code == 3
    assert str(blocked) in full.err


def test_removing_a_checkpoint_leaves_what_another_model_needs(models, hub, cached):
    hub.repositories["owner/repo"].licence = "\x1b[2Jmine\nall mine\ud800"
    both = models("download", "whole", "single")
    assert both.code == 0
    assert "[2Jmine all mine? by the hub" in both.out  # it cannot steer the terminal
    shared = models("remove", "single")
    assert shared.code == 0
    assert "files that whole needs as well were kept" in shared.out
    assert models("verify", "--all").code == 0
    assert models("download", "single").code == 0
    done = models("remove", "whole")
    assert done.code == 0, done.err
    assert "files that single needs as well were kept" in done.out
    assert not (cached / "snapshots" / COMMIT / "config.json").exists()
    assert models("verify", "single").code == 0
    last = models("remove", "single", "whole")
    assert last.code == 0
    assert "3.1 MB freed" in last.out
    assert not cached.exists()
    assert "nothing of its checkpoint" in models("remove", "single").out


def test_removing_a_checkpoint_takes_what_an_interrupted_download_left(models, cached):
    blobs = cached / "blobs"
    blobs.mkdir(parents=True)
    (blobs / f"{'a' * 64}.asrbench-incomplete").write_bytes(bytes(2 * MIB))
    (blobs / ("b" * 40)).write_bytes(bytes(1 * MIB))
    other = blobs / f"{'c' * 64}.12345678.incomplete"
    other.write_bytes(b"another program is fetching this")
    done = models("remove", "whole")  # the part may be of the other model
    assert "2.1 MB freed" not in done.out
    assert len(list(blobs.iterdir())) == 3
    done = models("remove", "whole", "single")
    assert "2.1 MB freed" in done.out
    # nobody knows whose the content without a name is
    assert sorted(blobs.iterdir()) == sorted([other, blobs / ("b" * 40)])
    other.unlink()
    (blobs / ("b" * 40)).unlink()
    models("remove", "whole", "single")
    assert not cached.exists()


def test_the_part_of_a_model_whose_others_are_whole_goes_with_it(models, stack, cached):
    stack(
        '[tool.asrbench.models.a]\ncheckpoint = "owner/repo:config.json"\n'
        '[tool.asrbench.models.b]\ncheckpoint = "owner/repo:folder/model.bin"\n'
    )
    assert models("download", "a").code == 0
    part = cached / "blobs" / f"{hashlib.sha256(WEIGHTS).hexdigest()}.asrbench-incomplete"
    part.write_bytes(bytes(MIB))
    assert "1.0 MB freed" in models("remove", "b").out
    assert not part.exists()
    assert models("verify", "a").code == 0


def test_without_links_a_mended_content_stays_where_another_revision_links_to_it(
    models, hub, stack, cached
):
    def at(revision):
        stack(f'[tool.asrbench.models.m]\ncheckpoint = "owner/repo"\nrevision = "{revision}"\n')

    repository = hub.repositories["owner/repo"]
    repository.commit, repository.former = "f" * 40, (COMMIT,)
    at("a/branch")
    assert models("download", "m").code == 0
    other = cached / "snapshots" / ("f" * 40) / "folder" / "model.bin"
    if not other.is_symlink():
        pytest.skip("no links here")
    other.resolve().write_bytes(b"damaged")
    repository.commit, repository.former = COMMIT, ("f" * 40,)
    at("main")
    assert models("download", "m", HF_HUB_DISABLE_SYMLINKS="1").code == 0
    assert other.read_bytes() == WEIGHTS
    assert not (cached / "snapshots" / COMMIT / "folder" / "model.bin").is_symlink()
    assert {one.name for one in cached.glob("refs/**/*")} == {"a", "branch", "main"}


def test_a_damaged_record_is_said_and_made_anew(models, hub, tmp_path, cached):
    record = tmp_path / "home" / "checkpoints.lock.json"
    assert models("download", "single").code == 0
    record.write_text('{"version": 1, "checkpoints": [{}]}', encoding="utf-8")
    assert models("list").code == 0
    done = models("verify", "single")
    assert done.code == 3
    assert f"{record} is damaged; delete it" in done.err
    record.unlink()
    hub.requests.clear()
    assert models("download", "single").code == 0
    assert hub.fetched() == []
    assert models("verify", "single").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["download"], "name at least one MODEL"),
        (["download", "pocketsphinx", "--all"], "or all of them by --all"),
        (["download", "pocketsfinx"], "did you mean 'pocketsphinx'?"),
        (["verify", "pocketsfinx"], "did you mean 'pocketsphinx'?"),
        (["remove", "pocketsfinx"], "did you mean 'pocketsphinx'?"),
        (["remove"], "Missing argument"),
        (["show", "pocketsfinx"], "did you mean 'pocketsphinx'?"),
    ],
)
def test_wrong_usage_of_models_ends_with_2(in_process, arguments, words):
    done = in_process("models", *arguments)
    assert done.code == 2
    assert words in done.err
