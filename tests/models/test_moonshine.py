"""Moonshine through its own env, on tiny checkpoints that are fitted to the shipped recordings."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

CLEAN = ROOT / "snippets" / "clean"
HERE = Path(__file__).resolve().parent
RATE_HZ = 16_000
ENCODER, DECODER = "encoder_model.onnx", "decoder_model_merged.onnx"


@pytest.fixture(scope="session")
def maker():
    """scripts/checkpoints/moonshine.py, which needs the extra "checkpoints"."""
    sys.path.append(str(ROOT / "scripts" / "checkpoints"))
    import moonshine

    return moonshine


@pytest.fixture(scope="session")
def env(asrbench):
    """The env of the stack, built once."""
    built = asrbench("env", "build", "moonshine", timeout=600)
    assert built.code == 0, built.err
    return Path(built.out.splitlines()[-1])


@pytest.fixture(scope="session")
def sentences(maker):
    """What the checkpoints are fitted to, by reference."""
    return {one.text: one for one in maker.shipped(CLEAN)}


@pytest.fixture(scope="session")
def make(maker, env, sentences, tmp_path_factory):
    """Make a checkpoint of some size in a path with a space and a non-ASCII letter."""
    root = tmp_path_factory.mktemp("möon shine")

    def make(size):
        folder = root / size
        if not folder.is_dir():
            maker.make(folder, size, maker.tokenizer_of(env), list(sentences.values()))
        return folder

    return make


@pytest.fixture
def run(asrbench, make, env, tmp_path):
    """Run models; returns what the command did, its rows by (model, snippet), its attempts."""

    def run(snippets, *arguments, models=("moonshine-base",), checkpoint=None):
        for model in models:
            path = checkpoint or make("tiny" if "tiny" in model else "base")
            arguments += ("--checkpoint", f"{model}={path}")
        done = asrbench(
            "orchestrate", "--models", ",".join(models), "--snippets", snippets,
            "--results", tmp_path / "results", *arguments, timeout=300,
        )  # fmt: skip
        assert "Traceback" not in done.err, done.err
        latest = tmp_path / "results" / "latest"
        with (latest / "results.csv").open(encoding="utf-8", newline="") as file:
            rows = {(row["Model"], row["Snippet"]): row for row in csv.DictReader(file)}
        lines = (latest / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        journal = [json.loads(line) for line in lines]
        return (
            done,
            rows,
            [one for one in journal if one["kind"] == "attempt" and not one["warm_up"]],
        )

    return run


@pytest.fixture
def folder_of(tmp_path):
    """Write one recording and its reference; returns their folder."""

    def write(audio, text="I will be there soon."):
        folder = tmp_path / "recordings"
        folder.mkdir()
        soundfile.write(folder / "one.flac", audio, RATE_HZ)
        (folder / "one.txt").write_text(text, encoding="utf-8")
        return folder

    return write


@pytest.fixture
def inside(env):
    """Run a program on the env's Python; returns what it printed as JSON."""

    def inside(program, *arguments):
        command = [
            _python(env),
            "-I",
            "-c",
            f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{program}",
        ]
        done = subprocess.run(
            [*command, *map(str, arguments)],
            capture_output=True, encoding="utf-8", timeout=100, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return inside


def _python(env):
    return str(env / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))


def _spread(audio, every_s, count):
    """The same words again and again with silence between, count times."""
    whole = np.zeros(int(every_s * count * RATE_HZ), np.float32)
    for number in range(count):
        start = int((number * every_s + 2) * RATE_HZ)
        whole[start : start + len(audio)] = audio
    return whole


def test_both_sizes_recognise_every_recording_that_they_were_fitted_to(run):
    done, rows, attempts = run(CLEAN, models=("moonshine-base", "moonshine-tiny"))
    assert done.code == 0, done.err
    assert len(rows) == 2 * len(list(CLEAN.rglob("*.txt"))) >= 10
    for row in rows.values():
        assert (row["Error"], row["WER"], row["Transcript"]) == ("", "0.0", row["Reference"])
    for one in attempts:
        assert one["device"] == "cpu"
        assert one["details"] == {"pieces": 1, "cut_off": 0}
        told = one["load_details"]
        assert told["size"] == one["model"].removeprefix("moonshine-")
        assert told["precision"] == "float32"
        assert told["threads"] >= 1
        assert told["nodes_cpu"] > 20
        assert told["nodes_directml"] == 0


def test_what_it_was_not_fitted_to_gets_no_text(run):
    """So the texts above come from the audio, and not from the order of the recordings."""
    done, rows, _ = run(ROOT / "snippets" / "noisy")
    assert done.code == 0, done.err
    assert {row["Transcript"] for row in rows.values()} == {""}


@pytest.mark.parametrize("size", ["tiny", "base"])
def test_token_ids_are_those_of_plain_onnxruntime(
    inside, env, maker, make, sentences, tmp_path, size
):
    tokenizer = maker.tokenizer_of(env)
    for number, sentence in enumerate(list(sentences.values())[:3]):
        file = tmp_path / f"{number}.npy"
        np.save(file, sentence.audio)
        done = subprocess.run(
            [_python(env), "-I", HERE / "moonshine_reference.py", make(size), file, tokenizer],
            capture_output=True, encoding="utf-8", timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        expected = json.loads(done.stdout)
        assert expected["text"] == sentence.text
        program = (
            "import json, numpy\nfrom workers import moonshine\n"
            "model = moonshine.load(sys.argv[1], 'cpu')\n"
            "print(json.dumps(moonshine.token_ids(model, numpy.load(sys.argv[2]))))"
        )
        assert inside(program, make(size), file) == expected["ids"]


def test_65_s_are_cut_at_pauses_and_nothing_is_lost(run, folder_of, sentences):
    texts = [text for text, one in sentences.items() if len(one.audio) < 5.9 * RATE_HZ][:3]
    whole = np.zeros(65 * RATE_HZ, np.float32)
    for text, start_s in zip(texts, (2, 33, 59), strict=True):
        audio = sentences[text].audio
        whole[start_s * RATE_HZ : start_s * RATE_HZ + len(audio)] = audio
    done, rows, (attempt,) = run(folder_of(whole, " ".join(texts)))
    assert done.code == 0, done.err
    assert rows["moonshine-base", "one"]["Transcript"] == " ".join(texts)
    assert attempt["details"] == {"pieces": 3, "cut_off": 0}


def test_half_an_hour_needs_memory_for_its_samples_and_no_more(run, folder_of, sentences):
    text = next(iter(sentences))
    count = 51
    whole = _spread(sentences[text].audio, 35.3, count)
    done, rows, (attempt,) = run(folder_of(whole, " ".join([text] * count)))
    assert done.code == 0, done.err
    assert rows["moonshine-base", "one"]["Transcript"] == " ".join([text] * count)
    assert attempt["details"]["pieces"] >= len(whole) / RATE_HZ / 29
    more_bytes = attempt["memory"]["peak_bytes"] - attempt["load_memory"]["peak_bytes"]
    assert more_bytes < 2 * whole.nbytes + 150e6


def _own_stack(tmp_path):
    """A copy of the stack whose models have options."""
    folder = tmp_path / "stacks" / "moonshine-own"
    folder.mkdir(parents=True)
    shipped = ROOT / "envs" / "moonshine"
    text = (shipped / "pyproject.toml").read_text(encoding="utf-8")
    text = text.partition("[tool.asrbench.models.")[0].replace(
        '"moonshine"\nver', '"moonshine-own"\nver'
    )
    text += (
        "[tool.asrbench.models.capped]\noptions = { tokens_per_s = 1.0, threads = 1 }\n"
        "[tool.asrbench.models.pieces]\noptions = { max_s = 2.0 }\n"
        "[tool.asrbench.models.too-long]\noptions = { max_s = 64 }\n"
    )
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    for lock in shipped.glob("*.lock"):
        (folder / lock.name).write_bytes(lock.read_bytes())
    return folder


def test_options_cut_the_output_and_the_audio_and_are_recorded(run, sentences, tmp_path):
    models = ("capped", "pieces", "too-long")
    done, rows, attempts = run(CLEAN, "--stacks", _own_stack(tmp_path), models=models)
    assert done.code == 1
    by_name = {(one["model"], one["snippet"]): one for one in attempts}
    capped = by_name["capped", "garden-rain"]
    assert capped["details"] == {"pieces": 1, "cut_off": 1}
    assert capped["load_details"]["threads"] == 1
    assert capped["load_details"]["tokens_per_s"] == 1.0
    words = rows["capped", "garden-rain"]
    assert 0 < len(words["Transcript"]) < len(words["Reference"])
    assert words["Reference"].startswith(words["Transcript"])
    assert by_name["pieces", "garden-rain"]["details"]["pieces"] == 3
    assert "max_s=64" in rows["too-long", "garden-rain"]["Error"]


# 8 logical cores, two on each physical one
ON_SOME_CORES = """
import json, os, psutil
from workers import moonshine
asked, real = [], moonshine.open_session
def open_session(file, device, threads):
    asked.append(threads)
    return real(file, device, threads)
moonshine.open_session = open_session
psutil.cpu_count = lambda logical: 8 if logical else 4
os.cpu_count = lambda: 8
for ours in ([0, 1, 4, 5], list(range(8))):
    psutil.Process.cpu_affinity = lambda self: ours
    moonshine.load(sys.argv[1], "cpu")
moonshine.load(sys.argv[1], "cpu", threads=3)
print(json.dumps(asked))
"""


def test_onnxruntime_binds_threads_to_cores_only_where_all_of_them_are_ours(inside, make):
    assert inside(ON_SOME_CORES, make("tiny")) == [4, 4, 0, 0, 3, 3]


def test_no_sound_and_odd_samples_are_no_error(inside, make):
    program = """
import json, numpy
from workers import moonshine
model = moonshine.load(sys.argv[1], "cpu")
noise = numpy.random.default_rng(0).normal(0, 0.1, 32000).astype(numpy.float32)
odd = noise.copy()
odd[[5, 6, 7]] = numpy.nan, numpy.inf, -numpy.inf
given = {"empty": noise[:0], "one": noise[:1], "short": noise[:1599], "enough": noise[:1601],
         "silence": numpy.zeros(32000, numpy.float32), "odd": odd,
         "all nan": numpy.full(32000, numpy.nan, numpy.float32)}
print(json.dumps({name: [len(moonshine.token_ids(model, audio)),
                         moonshine.transcribe(model, audio)["text"]]
                  for name, audio in given.items()}))
"""
    found = inside(program, make("tiny"))
    assert found.pop("odd") == found.pop("enough") == [2, ""]  # start and end: the model was asked
    assert set(map(tuple, found.values())) == {(0, "")}


@pytest.fixture
def broken(make, maker, env, sentences, tmp_path, monkeypatch):
    """A checkpoint with something wrong with it; None is a file that is not there."""

    def odd(how):
        if how == "other size":
            monkeypatch.setitem(maker.SIZES, "base", (7, 44))
        else:
            monkeypatch.setattr("moonshine_graphs.VOCABULARY", 32_769)
        tokenizer = maker.tokenizer_of(env)
        maker.make(tmp_path / "odd", "base", tokenizer, list(sentences.values()))
        return tmp_path / "odd"

    def broken(how):
        if how == "a file":
            return make("base") / ENCODER
        if how == "tiny":
            return make("tiny")
        if how in ("other size", "other tokenizer"):
            return odd(how)
        encoder, decoder = ((make("base") / name).read_bytes() for name in (ENCODER, DECODER))
        tiny = (make("tiny") / ENCODER).read_bytes()
        contents = {
            "no decoder": (encoder, None),
            "no encoder": (None, decoder),
            "rubbish": (encoder, b"rubbish"),
            "half": (encoder[: len(encoder) // 2], decoder),
            "mixed": (tiny, decoder),
            "not its files": (encoder, tiny),
        }[how]
        folder = tmp_path / "broken"
        folder.mkdir()
        for name, content in zip((ENCODER, DECODER), contents, strict=True):
            if content is not None:
                (folder / name).write_bytes(content)
        return folder

    return broken


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no decoder", f"has no {DECODER}"),
        ("no encoder", f"has no {ENCODER}"),
        ("a file", f"has no {ENCODER}"),
        ("rubbish", f"{DECODER} for cpu"),
        ("half", f"{ENCODER} for cpu"),
        ("mixed", "they are of different models"),
        ("not its files", "no Moonshine of a known size: its decoder has 0 layers"),
        ("other size", "no Moonshine of a known size: its decoder has 7 layers with heads of 44"),
        ("tiny", "is Moonshine tiny, and this model is base"),
        ("other tokenizer", "scores 32769 tokens, and the library's tokenizer has 32768"),
    ],
)
def test_a_broken_checkpoint_is_a_row_that_says_what_is_wrong(run, broken, folder_of, how, words):
    checkpoint = broken(how)
    done, rows, _ = run(folder_of(np.full(RATE_HZ, 0.1)), checkpoint=checkpoint)
    assert done.code == 3
    (row,) = rows.values()
    assert words in row["Error"]
    assert str(checkpoint) in row["Error"]


def test_a_check_of_the_model_goes_all_the_way(asrbench, make):
    done = asrbench("models", "check", "moonshine-tiny", "--checkpoint", make("tiny"), "--json")
    assert done.code == 0, done.out + done.err
    found = {name: step["found"] for name, step in done.json()["steps"].items()}
    assert found["checkpoint"] == {"path": str(make("tiny")), "proof": "given", "verified_at": None}
    assert found["device"]["device"] == "cpu"
    assert found["speech"]["audio_s"] == 3.0


REFUSED = """
import json
from workers import moonshine, onnx_sessions
onnx_sessions.PROVIDERS["azure"] = "AzureExecutionProvider"  # it is there, and takes no node
said = {}
for device in ("directml", "azure"):
    try:
        moonshine.load(sys.argv[1], device)
    except RuntimeError as error:
        said[device] = str(error)
print(json.dumps(said))
"""


def test_a_device_on_which_no_node_would_run_is_an_error_and_no_fall_back(inside, make):
    said = inside(REFUSED, make("base"))
    assert "has no DmlExecutionProvider, which directml needs" in said["directml"]
    assert "only 0 of " in said["azure"]
    assert "would run on azure" in said["azure"]
    assert "on CPUExecutionProvider" in said["azure"]
