"""What the stacks that ship promise: which device comes first, which package drives which model."""

from __future__ import annotations

import pytest
from conftest import stack_toml

from orchestrator.stacks import load_stacks

TORCH = ("rocm", "cuda", "cpu")
CHAINS = {
    "distil-whisper": TORCH,
    "granite-speech": TORCH,
    "moonshine": ("directml", "cpu"),
    "phi-4-multimodal": TORCH,
    "pocketsphinx": ("cpu",),
    "voxtral": TORCH,
    "whisper-cpp": ("vulkan", "rocm", "cpu"),
}
DRIVERS = {
    "distil-whisper": ["transformers"],
    "granite-speech": ["transformers", "peft"],
    "moonshine": ["useful-moonshine-onnx", "onnxruntime"],
    "phi-4-multimodal": ["transformers", "peft"],
    "pocketsphinx": ["pocketsphinx"],
    "voxtral": ["transformers", "mistral-common"],
    "whisper-cpp": ["pywhispercpp"],
}


@pytest.fixture(scope="module")
def stacks():
    return load_stacks(())


def locked(stack):
    """Names of packages by lock."""
    return {
        file.name: {
            line.partition("==")[0].strip()
            for line in file.read_text(encoding="utf-8").splitlines()
            if "==" in line and not line.startswith(("#", " "))
        }
        for file in stack.folder.glob("requirements*.lock")
    }


def test_each_stack_tries_its_devices_in_the_promised_order(stacks):
    assert {name: stack.accelerators for name, stack in stacks.items()} == CHAINS


@pytest.mark.parametrize("name", CHAINS)
def test_each_model_is_driven_by_what_its_row_names_and_by_no_ctranslate2(stacks, name):
    for file, packages in locked(stacks[name]).items():
        wanted = set(DRIVERS[name])
        if "directml" in file:
            wanted = {"useful-moonshine-onnx", "onnxruntime-directml"}
        assert wanted <= packages, file
        assert not {"ctranslate2", "faster-whisper"} & packages


def test_phi_4_is_taken_in_the_form_that_needs_no_code_of_its_checkpoint(stacks):
    (model,) = stacks["phi-4-multimodal"].models
    assert (model.revision, model.remote_code) == ("refs/pr/70", False)
    assert not any(one.remote_code for stack in stacks.values() for one in stack.models)


def test_whisper_turbo_is_the_quantised_one(stacks):
    (model,) = stacks["whisper-cpp"].models
    assert model.checkpoint == "ggerganov/whisper.cpp:ggml-large-v3-turbo-q5_0.bin"
    builds = stacks["whisper-cpp"].source_builds
    assert {name: build.packages for name, build in builds.items()} == {
        "vulkan": ["pywhispercpp"],
        "rocm": ["pywhispercpp"],
    }
    assert builds["vulkan"].environment["GGML_VULKAN"] == "1"
    assert builds["rocm"].environment["GGML_HIP"] == "1"


@pytest.mark.parametrize("columns", ["70", "80", "120"])
def test_the_list_of_models_cuts_no_name(in_process, stacks, tmp_path, columns):
    env = {"COLUMNS": columns, "HF_HUB_CACHE": str(tmp_path)}
    done = in_process("models", "list", env=env)
    first = [line.split()[0] for line in done.out.splitlines() if line.split()]
    names = [model.name for stack in stacks.values() for model in stack.models]
    assert [name for name in first if name in names] == names
    assert "…" not in done.out
    missing = ", ".join(name for name in names if name != "pocketsphinx")
    assert f"its checkpoint is not on this machine: {missing}\n" in done.out
    assert done.out.count("missing") == len(names) - 1
    assert "get one: asrbench models download MODEL, or name a copy" in done.out


def test_a_model_is_shown_with_the_options_that_its_stack_may_set(in_process):
    done = in_process("models", "show", "voxtral-mini-3b")
    takes = "{}; its worker also takes"
    assert (
        f"options            {takes} precision='auto', attention='sdpa', threads=None\n" in done.out
    )
    assert f"transcribe_options {takes} language='en', longest_s=1800.0, " in done.out
    done = in_process("models", "show", "pocketsphinx")
    assert "options            {}\ntranscribe_options {}\n" in done.out


def test_options_are_read_from_a_worker_without_running_it(in_process, tmp_path):
    text = stack_toml("own") + 'options = { size = "small" }\n'
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    worker = folder / "worker.py"
    worker.write_text(
        "raise SystemExit('it was run')\n"
        "def load(checkpoint, device, /, size, *, deep: bool = SOME): ...\n"
        "def transcribe(model, audio, **options): ...\n"
        "def transcribe_batch(model, audios, prompt='ünd', beams=-1): ...\n",
        encoding="utf-8",
    )
    done = in_process("models", "show", "own", "--stacks", folder)
    assert 'options            {"size": "small"}; its worker also takes deep=…\n' in done.out
    assert "transcribe_options {}; its worker also takes prompt='ünd', beams=-1\n" in done.out


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("def load(:", "what else its worker takes is not known: "),  # or of a newer Python
        ("x = " + "1+" * 50_000 + "1", "what else its worker takes is not known: "),
        ("def load(checkpoint, device, odd={[]: 1}): ...", "its worker also takes odd=…"),
        ("def transcribe(model, audio, a=1): ...\ndef transcribe_batch(model, audios, a=2): ...",
         "its worker also takes a=1\n"),
    ],
)  # fmt: skip
def test_a_worker_that_cannot_be_read_here_hides_nothing_else(in_process, tmp_path, source, told):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "pyproject.toml").write_text(stack_toml("own"), encoding="utf-8")
    (folder / "worker.py").write_text(source, encoding="utf-8")
    done = in_process("models", "show", "own", "--stacks", folder)
    assert (done.code, done.err) == (0, "")
    assert told in done.out
    assert "checkpoint         none" in done.out
