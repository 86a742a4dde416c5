"""Granite Speech with a tiny checkpoint: its LoRA is there, or nothing is measured."""

from __future__ import annotations

import pytest

from models.files import add_token, change_json, details, noise, rename_weights
from workers.segments import segments

MODEL = "granite-speech-3.3-2b"
# the model's card, nothing of ours
REFERENCE = """
import json, sys, torch
from transformers import AutoModelForSpeechSeq2Seq, AutoProcessor
folder, adapter, *audios = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForSpeechSeq2Seq.from_pretrained(folder, dtype=torch.float32)
if adapter == "off":
    model._hf_peft_config_loaded or sys.exit("no adapter")
    for module in model.modules():
        if hasattr(module, "lora_B"):
            for one in module.lora_B.values():
                torch.nn.init.zeros_(one.weight)
chat = [
    {"role": "system", "content": "Knowledge Cutoff Date: April 2024.\\n"
     "Today's Date: April 9, 2025.\\n"
     "You are Granite, developed by IBM. You are a helpful AI assistant"},
    {"role": "user", "content":
     "<|audio|>can you transcribe the speech into a written format?"},
]
text = processor.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
said = []
for audio in audios:
    samples = torch.frombuffer(bytearray(open(audio, "rb").read()), dtype=torch.float32)
    inputs = processor(text, samples[None], return_tensors="pt")
    most = len(samples) * 10 // 16000
    found = model.generate(**inputs, max_new_tokens=most, do_sample=False, num_beams=1)
    ids = found[0, inputs["input_ids"].shape[1]:]
    said.append(processor.tokenizer.decode(ids, skip_special_tokens=True).strip())
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def tiny(checkpoint_of):
    return checkpoint_of(MODEL)


@pytest.fixture
def said_of(reference, tiny, tmp_path):
    """said_of(adapter, *audios) → what the plain script says of each."""

    def run(adapter, *audios):
        files = [tmp_path / f"{number}.f32" for number in range(len(audios))]
        for file, audio in zip(files, audios, strict=True):
            file.write_bytes(audio.tobytes())
        return reference("granite-speech", REFERENCE, tiny, adapter, *files)

    return run


def test_it_says_what_the_library_says_with_the_adapter(transcribe, tiny, recordings, said_of):
    audio = noise(3)
    done, rows, journal = transcribe(MODEL, tiny, recordings(a=audio))
    assert done.code == 0, done.err
    (expected,), (without,) = said_of("on", audio), said_of("off", audio)
    assert expected
    assert journal[-1]["text"] == expected
    assert expected != without  # so it would be seen
    assert rows["a"]["Device"] == "cpu"
    assert details(journal) == [{"pieces": 1, "cut_off": 1}]


def test_long_audio_is_cut_and_nothing_is_lost(transcribe, tiny, recordings, said_of):
    audio = noise(65)
    _, rows, journal = transcribe(MODEL, tiny, recordings(a=audio))
    assert rows["a"]["Error"] == ""
    assert details(journal)[0]["pieces"] == 3
    said = said_of("on", *segments(audio, 30.0))
    assert len(set(said)) == 3
    assert journal[-1]["text"] == " ".join(said)


def test_neither_a_path_in_the_adapter_nor_settings_for_sampling_are_followed(
    transcribe, tiny, broken, recordings, said_of
):
    """Its base is the one beside it: elsewhere may be another one, or a hub."""

    def change(folder):
        change_json(folder / "adapter_config.json", base_model_name_or_path="ibm-granite/other")
        change_json(folder / "generation_config.json", do_sample=True, temperature=9.0)

    audio = noise(3)
    done, _, journal = transcribe(MODEL, broken(tiny, change), recordings(a=audio))
    assert done.code == 0, done.err
    assert [journal[-1]["text"]] == said_of("on", audio)


@pytest.mark.parametrize("package", ["peft", "torchaudio"])
def test_a_package_that_transformers_would_do_without_is_named(
    transcribe, tiny, recordings, without, package
):
    without("granite-speech", package)
    done, rows, _ = transcribe(MODEL, tiny, recordings(a=noise(1)))
    assert done.code == 3
    assert (rows["a"]["Outcome"], rows["a"]["Phase"]) == ("failed", "load")
    assert f"No module named '{package}'" in rows["a"]["Error"]


def _without_adapter(folder):
    (folder / "adapter_config.json").unlink()


def _with_empty_adapter(folder):
    file = folder / "adapter_model.safetensors"
    content = file.read_bytes()
    header_bytes = 8 + int.from_bytes(content[:8], "little")
    file.write_bytes(content[:header_bytes] + bytes(len(content) - header_bytes))


def _with_another_adapter(folder):
    old = "base_model.model.language_model.model.layers.0.self_attn.q_proj.lora_A.weight"
    rename_weights(folder / "adapter_model.safetensors", old, old.replace("q_proj", "z_proj"))


def _with_other_weights(folder):
    old = "language_model.model.layers.0.mlp.up_proj.weight"
    rename_weights(folder / "model.safetensors", old, old.replace("up_proj", "uq_proj"))


def _with_an_adapter_that_is_not_asked_for(folder):
    change_json(folder / "config.json", has_lora_adapter=False)


def _without_chat_template(folder):
    (folder / "chat_template.jinja").unlink()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_adapter, "the speech adapter is missing"),
        (_with_empty_adapter, "its adapter changes nothing"),
        (_with_another_adapter, "q_proj.lora_A"),
        (_with_other_weights, "up_proj.weight"),
        (add_token, "its tokenizer is of another model"),
        (_with_an_adapter_that_is_not_asked_for, "its config.json says that it has no adapter"),
        (_without_chat_template, "has no chat_template.jinja"),
    ],
)
def test_an_adapter_or_weights_that_are_not_there_are_an_error(
    transcribe, tiny, broken, recordings, change, words
):
    done, rows, _ = transcribe(MODEL, broken(tiny, change), recordings(a=noise(1)))
    assert done.code == 3  # of all that was asked for nothing could run
    assert words in rows["a"]["Error"]
