"""Phi-4-multimodal with a tiny checkpoint: its speech adapter is on, or nothing is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.files import RATE_HZ, details, noise, rename_weights
from workers.segments import segments

MODEL = "phi-4-multimodal"
# the library's documented usage and the prompt of the model's card, nothing of ours; but for the
# suppressed token: with random weights an answer may well ask for more audio
REFERENCE = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoProcessor
folder, adapter, *audios = sys.argv[1:]
processor = AutoProcessor.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(
    folder, dtype=torch.float32, attn_implementation="eager")
if adapter == "on":
    model.load_adapter(folder, adapter_name="spoken", adapter_kwargs={"subfolder": "speech-lora"})
    model.set_adapter("spoken")
said = []
for file in audios:
    audio = torch.frombuffer(bytearray(open(file, "rb").read()), dtype=torch.float32).numpy()
    inputs = processor(
        text="<|user|><|audio|>Transcribe the audio clip into text.<|end|><|assistant|>",
        audio=audio, sampling_rate=16000, return_tensors="pt")
    most = len(audio) * 10 // 16000
    found = model.generate(
        **inputs, max_new_tokens=most, do_sample=False,
        suppress_tokens=[processor.audio_token_id])
    found = found[:, inputs["input_ids"].shape[1]:]
    text = processor.batch_decode(found, skip_special_tokens=True)[0].strip()
    ended = int(found[0, -1]) in model.generation_config.eos_token_id
    said.append({"text": text, "cut_off": int(not ended)})
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def tiny(checkpoint_of):
    return checkpoint_of(MODEL)


@pytest.fixture
def said_of(reference, tiny, tmp_path):
    """said_of(adapter, *audios) → what the plain script says of each, and if it was cut off."""

    def run(adapter, *audios):
        files = [tmp_path / f"{number}.f32" for number in range(len(audios))]
        for file, audio in zip(files, audios, strict=True):
            file.write_bytes(audio.tobytes())
        return reference(MODEL, REFERENCE, tiny, adapter, *files)

    return run


def test_it_says_what_the_library_says_with_the_adapter(transcribe, tiny, recordings, said_of):
    audio, other = noise(3), noise(3, seed=1)
    done, rows, journal = transcribe(MODEL, tiny, recordings(a=audio, b=other))
    assert done.code == 0, done.err
    first, second = said_of("on", audio, other)
    assert "" != first["text"] != second["text"] != ""
    (without,) = said_of("off", audio)
    assert without["text"] not in ("", first["text"])  # so it would be seen
    told = [line for line in journal if line["kind"] == "attempt"]
    assert [line["text"] for line in told] == [first["text"], second["text"]]
    assert details(journal) == [
        {"pieces": 1, "cut_off": one["cut_off"], "chatty": 0} for one in (first, second)
    ]
    assert rows["a"]["Device"] == "cpu"
    settings = told[0]["load_details"]
    assert settings["attention"] == "eager"
    assert settings["adapter"] == "speech-lora"
    assert settings["lora_layers"] == 2 * 4


def test_long_audio_is_cut_and_nothing_is_lost(transcribe, tiny, recordings, said_of):
    audio = noise(65)
    _, rows, journal = transcribe(MODEL, tiny, recordings(a=audio))
    assert rows["a"]["Error"] == ""
    pieces = segments(audio, 40.0)
    assert max(map(len, pieces)) <= 40 * RATE_HZ
    said = said_of("on", *pieces)
    assert [one["text"] for one in said].count("") == 0
    assert journal[-1]["text"] == " ".join(one["text"] for one in said)
    cut_off = sum(one["cut_off"] for one in said)
    assert details(journal) == [{"pieces": 2, "cut_off": cut_off, "chatty": 0}]


def test_audio_shorter_than_a_frame_is_heard(transcribe, tiny, recordings):
    done, rows, _ = transcribe(MODEL, tiny, recordings(a=noise(0.01)))
    assert done.code == 0, rows["a"]["Error"]


def test_what_is_around_a_transcript_is_taken_away_and_told(transcribe, tiny, broken, recordings):
    answer = 'The audio says: "hello there"'

    def say_it_always(folder):
        file = folder / "tokenizer.json"
        tokenizer = json.loads(file.read_text(encoding="utf-8"))
        whole = {"type": "Replace", "pattern": {"Regex": r"\A[\s\S]+\z"}, "content": answer}
        tokenizer["decoder"] = {"type": "Sequence", "decoders": [{"type": "Fuse"}, whole]}
        file.write_text(json.dumps(tokenizer), encoding="utf-8")

    _, rows, journal = transcribe(MODEL, broken(tiny, say_it_always), recordings(a=noise(1)))
    assert rows["a"]["Transcript"] == "hello there"
    (told,) = details(journal)
    assert (told["chatty"], told["answer"]) == (1, answer)


def _without_adapter(folder):
    (folder / "speech-lora").rename(folder / "vision-lora")


def _with_empty_adapter(folder):
    file = folder / "speech-lora" / "adapter_model.safetensors"
    content = file.read_bytes()
    header_bytes = 8 + int.from_bytes(content[:8], "little")
    file.write_bytes(content[:header_bytes] + bytes(len(content) - header_bytes))


def _with_another_adapter(folder):
    old = "base_model.model.model.layers.0.self_attn.qkv_proj.lora_B.weight"
    file = folder / "speech-lora" / "adapter_model.safetensors"
    rename_weights(file, old, old.replace("qkv_proj", "qkw_proj"))


def _with_other_weights(folder):
    old = "model.layers.0.mlp.down_proj.weight"
    rename_weights(folder / "model.safetensors", old, old.replace("down_proj", "dawn_proj"))


def _of_the_main_branch(folder):
    _set(folder / "config.json", "model_type", "phi4mm")


def _with_another_tokenizer(folder):
    _set(folder / "tokenizer_config.json", "audio_token", "<|image|>")
    _set(folder / "tokenizer_config.json", "extra_special_tokens",
         {"audio_token": "<|image|>", "image_token": "<|audio|>"})  # fmt: skip


def _without_a_turn(folder):
    """As another token; the word is then cut into letters, which the model takes for speech."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        content = (folder / name).read_text(encoding="utf-8")
        other = content.replace('"<|assistant|>"', '"<|helper|>"')
        (folder / name).write_text(other, encoding="utf-8")


def _set(file, key, value):
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content[key] != value
    file.write_text(json.dumps(content | {key: value}), encoding="utf-8")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_without_adapter, "speech-lora has no adapter_config.json"),
        (_with_empty_adapter, "its adapter changes nothing"),
        (_with_another_adapter, "qkv_proj.lora_B"),
        (_with_other_weights, "down_proj.weight"),
        (_of_the_main_branch, "refs/pr/70"),
        (_with_another_tokenizer, "its tokenizer is of another model"),
        (_without_a_turn, "its tokenizer lacks <|assistant|>"),
    ],
)
def test_what_is_not_there_is_an_error_in_its_row(
    transcribe, tiny, broken, recordings, change, words
):
    done, rows, _ = transcribe(MODEL, broken(tiny, change), recordings(a=noise(1)))
    assert done.code == 3  # of all that was asked for nothing could run
    assert words in rows["a"]["Error"]
    assert (rows["a"]["Outcome"], rows["a"]["Phase"]) == ("failed", "load")


@pytest.fixture(params=["absent", "of another torch"])
def bad_torchvision(asrbench, request):
    """The env without it, or with one that does not load, until the test ends."""
    env = Path(asrbench("env", "build", MODEL, timeout=900).out.splitlines()[-1])
    (package,) = (one for one in env.rglob("torchvision") if one.parent.name == "site-packages")
    hidden, stand_in = package.with_name("hidden"), package / "__init__.py"
    package.rename(hidden)
    try:
        if request.param != "absent":
            package.mkdir()
            stand_in.write_text('raise RuntimeError("no operator nms")', encoding="utf-8")
        yield request.param
    finally:
        if package.exists():
            stand_in.unlink()
            package.rmdir()
        hidden.rename(package)


def test_a_torchvision_that_does_not_load_is_named(transcribe, tiny, recordings, bad_torchvision):
    done, rows, _ = transcribe(MODEL, tiny, recordings(a=noise(1)))
    assert done.code == 3  # of all that was asked for nothing could run
    assert rows["a"]["Outcome"] == "failed"
    assert "torchvision cannot be imported" in rows["a"]["Error"]
    assert ("No module named" if bad_torchvision == "absent" else "nms") in rows["a"]["Error"]


def _without_chat_template(folder):
    for file in (folder / "chat_template.jinja", folder / "chat_template.json"):
        file.unlink(missing_ok=True)
    for file in folder.glob("*config.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        if content.pop("chat_template", None):
            file.write_text(json.dumps(content), encoding="utf-8")


def test_a_checkpoint_without_a_chat_template_is_asked_the_same(
    transcribe, tiny, broken, recordings, said_of
):
    audio = noise(2)
    folder = broken(tiny, _without_chat_template)
    _, _, journal = transcribe(MODEL, folder, recordings(a=audio))
    (expected,) = said_of("on", audio)
    assert journal[-1]["text"] == expected["text"] != ""
