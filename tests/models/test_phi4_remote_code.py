"""Phi-4-multimodal by a checkpoint's own code: by a small one of ours, as Microsoft's is not here.

Shown is the way there and back: the code is run from the checkpoint, is given the audio under its
own names, and its adapter is on. And with the newest torch, as 2.6 has no build for Linux's CPU but
on PyTorch's own index.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from safetensors.numpy import load_file, save_file
from test_examples import REMOTE_CODE, completed

from models.files import details, noise, rename_weights
from orchestrator.platforms import venv_python
from workers.segments import segments

MODEL = "phi-4-remote-code"
MAKE = ROOT / "tests" / "models" / "phi4_remote_code" / "make.py"
# the usage of the model's card
REFERENCE = """
import json, os, sys
os.environ["HF_MODULES_CACHE"] = os.path.join(os.path.dirname(__file__), "modules")
import torch
from transformers import AutoModelForCausalLM, AutoProcessor, GenerationConfig
folder, adapter, *audios = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
model = AutoModelForCausalLM.from_pretrained(
    folder, torch_dtype=torch.float32, trust_remote_code=True, _attn_implementation="eager")
if adapter == "off":
    for name, weights in model.named_parameters():
        if ".lora_B." in name:
            weights.data.zero_()
said = []
for file in audios:
    audio = torch.frombuffer(bytearray(open(file, "rb").read()), dtype=torch.float32).numpy()
    prompt = "<|user|><|audio_1|>Transcribe the audio clip into text.<|end|><|assistant|>"
    inputs = processor(text=prompt, audios=[(audio, 16000)], return_tensors="pt")
    found = model.generate(
        **inputs, max_new_tokens=len(audio) * 10 // 16000, do_sample=False,
        generation_config=GenerationConfig.from_pretrained(folder))
    found = found[:, inputs["input_ids"].shape[1]:]
    said += processor.tokenizer.batch_decode(
        found, skip_special_tokens=True, clean_up_tokenization_spaces=False)
print(json.dumps([one.strip() for one in said]))
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """The example, with a commit and without its age's torch."""
    folder = completed(REMOTE_CODE, tmp_path_factory.mktemp("stäcks") / MODEL)
    (folder / "requirements.lock").unlink()
    file = folder / "pyproject.toml"
    text, count = re.subn(
        r'"(torch|torchvision)==[0-9.]+"', r'"\1"', file.read_text(encoding="utf-8")
    )
    assert count == 2
    file.write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def in_env(asrbench, stack, tmp_path_factory):
    """in_env(script, *arguments) → what it prints, run by the env's Python."""
    built = asrbench(
        "env", "build", MODEL, "--stacks", stack, "--accelerator", "cpu", timeout=900
    )  # fmt: skip
    assert built.code == 0, built.err
    python = venv_python(Path(built.out.splitlines()[-1]))

    def run(script, *arguments):
        done = subprocess.run(
            [python, "-I", "-X", "utf8", script, *arguments],
            capture_output=True, encoding="utf-8", timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="module")
def tiny(in_env, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chéckpoints") / "tiny"
    in_env(MAKE, folder)
    return folder


@pytest.fixture
def hear(transcribe, stack):
    """As transcribe, of this stack's one model."""

    def run(checkpoint, snippets, **how):
        words = ("--stacks", stack, "--accelerator", "cpu")
        return transcribe(MODEL, checkpoint, snippets, *words, **how)

    return run


@pytest.fixture
def said_of(in_env, tiny, tmp_path):
    """said_of(adapter, *audios) → what the card's usage says of each."""

    def run(adapter, *audios):
        script = tmp_path / "reference.py"
        script.write_text(REFERENCE, encoding="utf-8")
        files = [tmp_path / f"{number}.f32" for number in range(len(audios))]
        for file, audio in zip(files, audios, strict=True):
            file.write_bytes(audio.tobytes())
        return json.loads(in_env(script, tiny, adapter, *files).splitlines()[-1])

    return run


def test_it_says_what_the_cards_usage_says(hear, tiny, recordings, said_of, tmp_path):
    audio, other = noise(3), noise(3, seed=1)
    home = tmp_path / "hub"
    done, rows, journal = hear(tiny, recordings(a=audio, b=other), env={"HF_HOME": str(home)})
    assert done.code == 0, done.err
    first, second = said_of("on", audio, other)
    assert "" != first != second != ""
    (without,) = said_of("off", audio)
    assert without not in ("", first)  # so it would be seen
    told = [line for line in journal if line["kind"] == "attempt"]
    assert [line["text"] for line in told] == [first, second]
    settings = told[0]["load_details"]
    assert (settings["attention"], settings["transformers"]) == ("eager", "4.48.2")
    assert (settings["adapter"], settings["lora_layers"]) == ("speech", 2 * 4)
    assert rows["a"]["Device"] == "cpu"
    assert "runs code of its checkpoint" in done.out
    assert not (home / "modules").exists()  # where the next checkpoint would find this one's code


def test_long_audio_is_cut_and_nothing_is_lost(hear, tiny, recordings, said_of):
    audio = noise(65)
    _, rows, journal = hear(tiny, recordings(a=audio))
    assert rows["a"]["Error"] == ""
    said = said_of("on", *segments(audio, 40.0))
    assert len(said) == 2
    assert "" not in said
    assert journal[-1]["text"] == " ".join(said)
    assert details(journal)[0]["pieces"] == 2


def test_audio_shorter_than_a_frame_is_heard(hear, tiny, recordings):
    done, rows, _ = hear(tiny, recordings(a=noise(0.01)))
    assert done.code == 0, rows["a"]["Error"]


def _replace(file, old, new):
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1
    file.write_text(text.replace(old, new), encoding="utf-8")


def _with_empty_adapter(folder):
    file = folder / "model.safetensors"
    weights = load_file(file)
    changed = {
        name: np.zeros_like(one) if ".lora_B.speech" in name else one
        for name, one in weights.items()
    }
    save_file(changed, file, metadata={"format": "pt"})


def _without_adapter(folder):
    file = folder / "model.safetensors"
    kept = {name: one for name, one in load_file(file).items() if ".lora_" not in name}
    save_file(kept, file, metadata={"format": "pt"})


def _with_other_weights(folder):
    old = "model.layers.0.mlp.down_proj.base_layer.weight"
    rename_weights(folder / "model.safetensors", old, old.replace("down_proj", "dawn_proj"))


def _of_the_other_form(folder):
    _replace(folder / "config.json", '"phi4mm"', '"phi4_multimodal"')


def _with_code_of_elsewhere(folder):
    whose = '"owner/repo--modeling_phi4mm.Phi4MMForCausalLM"'
    _replace(folder / "config.json", '"modeling_phi4mm.Phi4MMForCausalLM"', whose)


def _without_a_turn(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        _replace(folder / name, '"<|assistant|>"', '"<|helper|>"')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with_empty_adapter, "adapter 'speech' is missing or changes nothing"),
        (_without_adapter, "lacks weights: model.layers.0.mlp.down_proj.lora_A.speech.weight"),
        (_with_other_weights, "lacks weights: model.layers.0.mlp.down_proj.base_layer.weight"),
        (_of_the_other_form, "the stack phi-4-multimodal takes the other form"),
        (_with_code_of_elsewhere, "AutoModelForCausalLM from another repository"),
        (_without_a_turn, "its tokenizer lacks <|assistant|>"),
    ],
)
def test_what_is_not_there_is_an_error_in_its_row(hear, tiny, broken, recordings, change, words):
    done, rows, _ = hear(broken(tiny, change), recordings(a=noise(1)))
    assert done.code == 3  # of all that was asked for nothing could run
    assert words in rows["a"]["Error"]
    assert (rows["a"]["Outcome"], rows["a"]["Phase"]) == ("failed", "load")


def test_code_that_leaves_its_adapter_off_is_an_error(hear, tiny, broken, recordings):
    def deaf(folder):
        _replace(folder / "modeling_phi4mm.py", "int(input_mode[0]) == SPEECH", "False")

    _, rows, _ = hear(broken(tiny, deaf), recordings(a=noise(1)))
    assert "the adapter 'speech' is off in 8 of 8 layers" in rows["a"]["Error"]
    assert (rows["a"]["Outcome"], rows["a"]["Phase"]) == ("failed", "transcribe")
