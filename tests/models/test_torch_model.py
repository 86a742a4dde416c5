"""What workers on torch refuse and tell, whatever the model."""

from __future__ import annotations

import json

import pytest

from models.files import change_json

ASKED = """
import json, torch
from workers.torch_model import torch_device, torch_precision
said = {}
for accelerator in ("cpu", "cuda", "rocm", "mps", "directml"):
    try:
        said[accelerator] = str(torch_device(accelerator))
    except RuntimeError as error:
        said[accelerator] = str(error)
for place in ("cpu", "cuda", "mps"):
    dtype = torch_precision("auto", torch.device(place), on_gpu="bfloat16")
    said[f"auto on {place}"] = str(dtype)
print(json.dumps(said))
"""
LOADED = """
import json
from importlib import import_module
module, folder = sys.argv[1:]
worker = import_module("workers." + module)
print(json.dumps(worker.describe(worker.load(folder, "cpu", precision="bfloat16", threads=1))))
"""
WORKERS = {
    "distil-large-v3": ("distil-whisper", "whisper_transformers", "sdpa", "bfloat16"),
    "granite-speech-3.3-2b": ("granite-speech", "granite_speech", "sdpa", "bfloat16"),
    "phi-4-multimodal": ("phi-4-multimodal", "phi4_multimodal", "eager", "bfloat16"),
    # transformers keeps its encoder's positions in float32
    "voxtral-mini-3b": ("voxtral", "voxtral", "sdpa", "bfloat16+float32"),
}


def test_an_accelerator_that_torch_lacks_is_an_error_and_auto_is_for_the_device(worker):
    said = worker("distil-whisper", ASKED)
    assert said["cpu"] == "cpu"
    assert "is not a build for cuda" in said["cuda"] or "finds no GPU for cuda" in said["cuda"]
    assert "is not a build for rocm" in said["rocm"]
    assert "torch has no directml" in said["directml"]
    assert said["auto on cpu"] == "torch.float32"
    assert said["auto on cuda"] == said["auto on mps"] == "torch.bfloat16"


@pytest.mark.parametrize("model", WORKERS)
def test_settings_are_told_as_they_are_in_use(worker, checkpoint_of, model):
    stack, module, attention, precision = WORKERS[model]
    told = worker(stack, LOADED, module, checkpoint_of(model))
    assert told["device"] == "cpu"
    assert told["precision"] == precision
    assert told["threads"] == 1
    assert told["attention"] == attention
    assert told["torch"]
    assert told["transformers"]


REFUSED = """
import json
from importlib import import_module
module, folder = sys.argv[1:]
worker = import_module("workers." + module)
try:
    worker.load(folder, "cpu")
except Exception as error:
    print(json.dumps(f"{type(error).__name__}: {error}"))
"""


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("distil-large-v3", "and 'whisper' is needed"),
        ("granite-speech-3.3-2b", "and 'granite_speech' is needed"),
        ("phi-4-multimodal", "and 'phi4_multimodal' is needed"),
    ],
)
def test_a_checkpoint_of_another_model_is_told_before_memory_is_taken(
    worker, checkpoint_of, model, words
):
    stack, module, *_ = WORKERS[model]
    said = worker(stack, REFUSED, module, checkpoint_of("voxtral-mini-3b"))
    assert "is of type 'voxtral'" in said
    assert words in said


def test_a_folder_without_a_config_is_no_checkpoint(worker, tmp_path):
    said = worker("distil-whisper", REFUSED, "whisper_transformers", tmp_path)
    assert said == f"FileNotFoundError: {tmp_path} has no config.json: it is no checkpoint"


def _cut_off(file):
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _without_tokenizer(folder):
    """Nothing else: what it would be made from is the only sign of it."""
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "tekken.json"):
        (folder / name).unlink(missing_ok=True)


def _with_another_end(folder):
    for name in ("generation_config.json", "config.json"):
        file = folder / name
        if "eos_token_id" in json.loads(file.read_text(encoding="utf-8")):
            change_json(file, eos_token_id=[7, 9])


@pytest.mark.parametrize("model", WORKERS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: _cut_off(folder / "model.safetensors"), "model.safetensors is damaged"),
        (_without_tokenizer, "its tokenizer is missing"),
        (_with_another_end, "and the model's with 7, 9"),
    ],
    ids=["weights cut off", "no tokenizer", "another end"],
)
def test_damage_is_told_by_the_name_of_what_is_damaged(
    worker, checkpoint_of, broken, model, change, words
):
    stack, module, *_ = WORKERS[model]
    folder = broken(checkpoint_of(model), change)
    said = worker(stack, REFUSED, module, folder)
    assert words in said
    assert str(folder) in said


@pytest.mark.parametrize(
    ("model", "place"),
    [("granite-speech-3.3-2b", "."), ("phi-4-multimodal", "speech-lora")],
)
def test_an_adapter_that_is_cut_off_is_named(worker, checkpoint_of, broken, model, place):
    stack, module, *_ = WORKERS[model]
    file = "adapter_model.safetensors"
    folder = broken(checkpoint_of(model), lambda folder: _cut_off(folder / place / file))
    said = worker(stack, REFUSED, module, folder)
    assert f"{folder / place / file} is damaged; fetch it again" in said


def test_damage_beside_what_is_loaded_is_nobodys_business(worker, checkpoint_of, broken):
    def change(folder):
        (folder / "consolidated.safetensors").write_text("version https://git-lfs", "utf-8")
        (folder / "._model.safetensors").write_bytes(b"")
        (folder / "old.safetensors").mkdir()

    stack, module, *_ = WORKERS["voxtral-mini-3b"]
    folder = broken(checkpoint_of("voxtral-mini-3b"), change)
    assert worker(stack, LOADED, module, folder)["device"] == "cpu"


def test_of_weights_in_several_files_the_damaged_one_is_named(worker, checkpoint_of, broken):
    def change(folder):
        whole = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").unlink()
        (folder / "one.safetensors").write_bytes(whole)
        (folder / "two.safetensors").write_bytes(whole[:1000])
        index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")

    stack, module, *_ = WORKERS["voxtral-mini-3b"]
    folder = broken(checkpoint_of("voxtral-mini-3b"), change)
    said = worker(stack, REFUSED, module, folder)
    assert f"{folder / 'two.safetensors'} is damaged; fetch it again" in said
