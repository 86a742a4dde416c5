"""What the stacks that ship promise: which device comes first, which package drives which model."""

from __future__ import annotations

import pytest

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
