"""whisper.cpp through the real path, with a tiny checkpoint that our own script converted."""

from __future__ import annotations

import csv
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from models.files import details, read_recordings
from models.tiny_whisper import TEXT, tiny_whisper
from orchestrator import platforms
from workers.cores import usable_physical_cores

MODEL = "whisper-large-v3-turbo"


@pytest.fixture(scope="session")
def hub_folder(tmp_path_factory):
    return tiny_whisper(tmp_path_factory.mktemp("tiny whisper é"))


@pytest.fixture(scope="session")
def ggml_files(hub_folder):
    """As f16 and as Q5_0, by the script as a person runs it."""
    made = {"f16": hub_folder / "ggml f16.bin", "q5_0": hub_folder / "ggml é q5_0.bin"}
    for kind, file in made.items():
        script = [sys.executable, ROOT / "scripts" / "ggml.py", hub_folder, file]
        subprocess.run([*script, *(["--q5-0"] if kind == "q5_0" else [])], check=True)
    return made


@pytest.fixture(scope="session")
def env(asrbench):
    built = asrbench("env", "build", "whisper-cpp", "--accelerator", "cpu", timeout=600)
    assert built.code == 0, built.err
    return Path(built.out.splitlines()[-1])


@pytest.fixture
def orchestrate(asrbench, env, tmp_path):
    """Run it over recordings of these lengths in seconds; returns rows, the journal and the log."""

    def go(checkpoint, *lengths_s, options=None, stacks=(), model=MODEL):
        folder = tmp_path / "clips"
        folder.mkdir(exist_ok=True)
        noise = np.random.default_rng(0)
        for length_s in lengths_s or (1.5,):
            audio = noise.normal(0, 0.1, round(16_000 * length_s)).astype(np.float32)
            soundfile.write(folder / f"{length_s}.wav", audio, 16_000)
            (folder / f"{length_s}.txt").write_text(TEXT, encoding="utf-8")
        done = asrbench(
            "orchestrate", "--models", model, "--checkpoint", f"{model}={checkpoint}",
            "--snippets", folder, "--results", tmp_path / "results", "--accelerator", "cpu",
            *stacks,
        )  # fmt: skip
        assert "Traceback" not in done.err, done.err
        latest = tmp_path / "results" / "latest"
        with (latest / "results.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        lines = (latest / "journal.jsonl").read_text(encoding="utf-8").splitlines()
        log = (latest / "logs" / f"{model}.log").read_text(encoding="utf-8", errors="replace")
        return rows, [json.loads(line) for line in lines], log

    return go


@pytest.fixture
def variant(tmp_path):
    """The same worker in a stack of one's own, with these options."""

    def write(worker=None, transcribe_options=None, **options):
        folder = tmp_path / "whisper-cpp-variant"
        folder.mkdir()
        shipped = ROOT / "envs" / "whisper-cpp"
        text = (shipped / "pyproject.toml").read_text(encoding="utf-8")
        head = text.partition("[tool.asrbench.models")[0]
        head = head.replace('name = "whisper-cpp"', f'name = "{folder.name}"')
        head += f"[tool.asrbench.models.variant]\noptions = {{ {toml(options)} }}\n"
        head += f"transcribe_options = {{ {toml(transcribe_options or {})} }}\n"
        if worker:
            head = head.replace('worker = "whisper_cpp"', 'worker = "worker.py"')
            (folder / "worker.py").write_text(worker, encoding="utf-8")
        (folder / "pyproject.toml").write_text(head, encoding="utf-8")
        (folder / "requirements.lock").write_bytes((shipped / "requirements.lock").read_bytes())
        return ["--stacks", folder]

    return write


def toml(options):
    return ", ".join(f"{key} = {json.dumps(value)}" for key, value in options.items())


@pytest.mark.parametrize("kind", ["f16", "q5_0"])
def test_a_converted_whisper_says_its_text_and_the_settings_in_use_are_recorded(
    orchestrate, ggml_files, kind
):
    rows, journal, _ = orchestrate(ggml_files[kind])
    assert [(row["Transcript"], row["WER"], row["Error"]) for row in rows] == [(TEXT, "0.0", "")]
    told = json.dumps(journal)
    assert f'"precision": "{kind}"' in told
    assert '"decoding": "greedy"' in told
    assert '"fallback": false' in told
    assert f'"threads": {usable_physical_cores()}' in told
    assert '"text_before": false' in told


def test_audio_of_a_moment_and_of_minutes_is_taken_in_one_go(orchestrate, ggml_files):
    rows, _, _ = orchestrate(ggml_files["q5_0"], 0.05, 0.5, 95.0)
    texts = {row["Snippet"]: row["Transcript"] for row in rows}
    assert all(not row["Error"] for row in rows), rows
    assert texts["0.05"] == texts["0.5"] == TEXT
    assert texts["95.0"] == " ".join([TEXT] * 4)  # once for each window of 30 s


def test_very_long_audio_is_cut_so_that_memory_does_not_grow_with_it(
    orchestrate, ggml_files, variant
):
    stacks = variant(transcribe_options={"longest_s": 30.0})
    [row], journal, _ = orchestrate(ggml_files["q5_0"], 65.0, stacks=stacks, model="variant")
    assert row["Transcript"] == " ".join([TEXT] * 3)
    assert details(journal)[-1] == {"pieces": 3, "segments": 3}


def test_each_window_is_heard_by_itself_and_no_word_is_lost(transcribe, checkpoint_of, recordings):
    """One recording in each window: with the text before it a window of this model goes wrong."""
    audios = read_recordings()
    windows = np.zeros((len(audios), 30 * 16_000), np.float32)
    for window, audio in zip(windows, audios.values(), strict=True):
        window[4_800 : 4_800 + len(audio)] = audio
    folder = recordings(long=windows.ravel())
    done, rows, _ = transcribe(MODEL, checkpoint_of(MODEL), folder, "--accelerator", "cpu")
    assert done.code == 0, done.err
    assert rows["long"]["Transcript"] == " ".join(audios)


def test_a_checkpoint_of_english_alone_refuses_another_language(
    orchestrate, ggml_files, variant, tmp_path
):
    data = ggml_files["f16"].read_bytes()
    english = tmp_path / "ggml-base.en.bin"
    english.write_bytes(data[:4] + struct.pack("<i", 51_864) + data[8:])
    [row], _, _ = orchestrate(english, stacks=variant(language="de"), model="variant")
    assert "knows English alone; it was asked for 'de'" in row["Error"]


def damaged(file, kind):
    """The bytes of a checkpoint that is broken in this way."""
    data = file.read_bytes()
    if kind == "empty":
        return b""
    if kind == "an error page":
        return b"<!DOCTYPE html><html>not found</html>" * 100
    if kind == "cut in its header":
        return data[:30]
    if kind == "cut in its words":
        return data[: 4 * 14 + 4 * 128 * 201 + 500]
    if kind == "cut in its weights":
        return data[: len(data) // 2]
    if kind == "without weights":
        return data[: weights_begin(data)]
    if kind == "an odd header":
        return data[:4] + struct.pack("<i", -5) + data[8:]
    assert kind == "a tensor too few"
    return data[: last_tensor(data)]


def weights_begin(data):
    mels, bins = struct.unpack_from("<2i", data, 48)
    at = 56 + 4 * mels * bins
    (words,) = struct.unpack_from("<i", data, at)
    at += 4
    for _ in range(words):
        at += 4 + struct.unpack_from("<i", data, at)[0]
    return at


def tensors(data):
    """Name → (where it begins, its type, its extents as numpy has them, its bytes)."""
    at, found = weights_begin(data), {}
    while at < len(data):
        begin = at
        dimensions, length, kind = struct.unpack_from("<3i", data, at)
        extents = struct.unpack_from(f"<{dimensions}i", data, at + 12)
        at += 12 + 4 * dimensions
        name = data[at : at + length].decode()
        at += length
        count = int(np.prod(extents))
        size = {0: 4 * count, 1: 2 * count, 6: count // 32 * 22}[kind]
        found[name] = begin, kind, extents[::-1], data[at : at + size]
        at += size
    return found


def last_tensor(data):
    return max(begin for begin, *_ in tensors(data).values())


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", "is empty"),
        ("an error page", "is no ggml file of Whisper"),
        ("cut in its header", "is cut off at byte"),
        ("cut in its words", "is cut off"),
        ("cut in its weights", "is cut off or damaged in tensor"),
        ("without weights", "has no weights"),
        ("an odd header", "is damaged, or no Whisper"),
        ("a tensor too few", "not all tensors loaded"),
    ],
)
def test_a_damaged_checkpoint_is_a_row_that_says_so(orchestrate, ggml_files, tmp_path, kind, words):
    broken = tmp_path / "broken é.bin"
    broken.write_bytes(damaged(ggml_files["f16"], kind))
    [row], journal, _ = orchestrate(broken)
    assert words in row["Error"], row["Error"]
    assert "broken é.bin" in row["Error"]
    assert not any(line["kind"] == "worker_ended" for line in journal)


def test_a_folder_is_no_checkpoint(orchestrate, tmp_path):
    folder = tmp_path / "models é"
    folder.mkdir()
    [row], _, _ = orchestrate(folder)
    assert f"{folder} is a folder, and this model's checkpoint is a file" in row["Error"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"language": "xx"}, "knows no language 'xx'"),
        ({"language": "auto"}, ""),
        ({"beams": 3, "threads": 1}, ""),
    ],
)
def test_options_are_taken_or_refused(orchestrate, ggml_files, variant, options, words):
    rows, journal, _ = orchestrate(ggml_files["f16"], stacks=variant(**options), model="variant")
    assert words in rows[0]["Error"]
    told = json.dumps(journal)
    if words:
        return
    assert rows[0]["Error"] == ""
    for text in (f'"language": "{options.get("language", "en")}"', '"threads": '):
        assert text in told
    if "beams" in options:
        assert '"decoding": "3 beams"' in told
        assert '"threads": 1' in told


NOISY = """
import numpy as np
from workers import whisper_cpp
def load(checkpoint, device):
    loaded = whisper_cpp.load(checkpoint, device)
    loaded.model._set_params({"print_realtime": True, "print_progress": True})
    return loaded
def transcribe(loaded, audio):
    first = whisper_cpp.transcribe(loaded, audio)
    assert whisper_cpp.transcribe(loaded, audio[:0])["text"] == ""  # and not the text before
    try:
        whisper_cpp.transcribe(loaded, np.full(16000, np.nan, np.float32))
    except ValueError as error:
        assert "no numbers" in str(error)
        return first
"""


def test_what_whisper_cpp_prints_is_in_the_log_and_never_in_the_pipe(
    orchestrate, ggml_files, variant
):
    rows, _, log = orchestrate(ggml_files["f16"], stacks=variant(worker=NOISY), model="variant")
    assert [(row["Transcript"], row["Error"]) for row in rows] == [(TEXT, "")]
    assert "-->" in log  # print_realtime writes this on stdout
    assert "progress =" in log or "Progress:" in log
    assert "whisper_model_load: n_vocab" in log


@pytest.mark.parametrize("device", ["vulkan", "rocm"])
def test_an_accelerator_that_whisper_cpp_does_not_use_is_an_error(env, ggml_files, device):
    """The build for the CPU is asked for a GPU: it goes on silently, and the worker does not."""
    done = in_env(env, f"whisper_cpp.load({str(ggml_files['f16'])!r}, {device!r})")
    assert done.returncode == 1
    assert f"whisper.cpp did not use {device}" in done.stderr.splitlines()[-1]


VULKAN = """\
ggml_vulkan: 0 = AMD Radeon 8060S (RADV GFX1151) (radv) | uma: 1 | fp16: 1 | bf16: 0
whisper_backend_init_gpu: using Vulkan0 backend
whisper_model_load:      Vulkan0 total size =   573.40 MB
"""
ROCM = """\
ggml_cuda_init: found 1 ROCm devices (Total VRAM: 12272 MiB):
  Device 0: AMD Radeon RX 7700 XT, gfx1101 (0x1101), VMM: no, Wave Size: 32, VRAM: 12272 MiB
whisper_backend_init_gpu: using ROCm0 backend
whisper_model_load:        ROCm0 total size =   573.40 MB
"""
# heard from a build for ROCm on a machine without a GPU
NO_ROCM = """\
ggml_cuda_init: failed to initialize ROCm: no ROCm-capable device is detected
whisper_backend_init_gpu: device 0: CPU (type: 0)
whisper_backend_init_gpu: no GPU found
whisper_model_load:          CPU total size =     1.46 MB
"""


@pytest.mark.parametrize(
    ("device", "log", "gpu"),
    [
        ("vulkan", VULKAN, "AMD Radeon 8060S (RADV GFX1151) (radv)"),
        ("rocm", ROCM, "AMD Radeon RX 7700 XT"),
        ("rocm", VULKAN, "not used"),
        ("vulkan", ROCM, "not used"),
        ("rocm", ROCM.replace("ROCm0 total", "CPU total"), "not used"),
        ("rocm", NO_ROCM, "not used"),
    ],
)
def test_the_gpu_is_told_by_the_log_of_what_holds_the_weights(env, device, log, gpu):
    """In the words of whisper.cpp's source, as no such GPU was at hand."""
    done = in_env(
        env,
        f"assert not whisper_cpp.FAILED.search({log!r})\n"  # the checkpoint is not to blame
        f"try: print(whisper_cpp.device_of({log!r}, {device!r}), whisper_cpp.gpu_of({log!r}))\n"
        "except RuntimeError: print('not used')",
    )
    wanted = gpu if gpu == "not used" else f"{device} {gpu}"
    assert done.stdout.strip() == wanted, done.stderr


def in_env(env, code):
    """Beside workers.whisper_cpp, in the stack's env."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom workers import whisper_cpp\n"
    command = [platforms.venv_python(env), "-I", "-B", "-c", start + code]
    return subprocess.run(command, capture_output=True, encoding="utf-8")


def test_q5_0_is_f16_but_for_the_error_of_quantising(ggml_files):
    """Read back block by block, as ggml's documentation has it, and not by our own code."""
    exact = tensors(ggml_files["f16"].read_bytes())
    packed = tensors(ggml_files["q5_0"].read_bytes())
    assert set(exact) == set(packed)
    quantised = [name for name, (_, kind, _, _) in packed.items() if kind == 6]
    assert "decoder.token_embedding.weight" in quantised
    assert "encoder.blocks.0.mlp.0.weight" in quantised
    for name, (_, kind, extents, data) in packed.items():
        assert exact[name][2] == extents
        if kind != 6:
            assert data == exact[name][3]
            continue
        weights = np.frombuffer(exact[name][3], "<f2").astype(np.float32)
        for block in range(0, len(weights) // 32, max(1, len(weights) // 32 // 50)):
            raw = data[22 * block : 22 * block + 22]
            (scale, fifth) = struct.unpack("<eI", raw[:6])
            for at in range(32):
                low = raw[6 + at % 16] >> (0 if at < 16 else 4) & 15
                value = scale * (low + 16 * (fifth >> at & 1) - 16)
                wanted = weights[32 * block + at]
                # the scale is rounded to f16, and its 32 steps reach to +15 alone
                assert abs(value - wanted) <= abs(scale) * 1.01 + 1e-6


def test_mel_filters_are_slaney_s(hub_folder):
    """Values that librosa and transformers have for 16 kHz, 400 samples, up to 8 kHz."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "from ggml import mel_filters\n"
        "for count in (80, 128):\n"
        "    m = mel_filters(count)\n"
        "    print(*m.shape, *(f'{x:.8f}' for x in (m[0, 1], m[10].sum(), m[-1].max())),"
        " m[count // 2].argmax())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "80 201 0.02486259 0.02486259 0.00316471 43",
        "128 201 0.01237399 0.01237399 0.00504160 43",
    ]
