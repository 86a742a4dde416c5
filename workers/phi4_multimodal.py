"""Microsoft's Phi-4-multimodal in transformers' own form.

A language model with a speech encoder, and a LoRA that makes it listen. It takes no batches: the
encoder adds its mask where it should mask, so that the padding of a shorter recording is heard.
"""

import os

import numpy as np

try:  # before transformers, which a broken one breaks in ways that do not name it
    import torchvision  # noqa: F401  the processor is one for images, too
except Exception as error:
    raise ImportError(
        f"torchvision cannot be imported, and Phi-4's processor needs it: {error}"
    ) from error
import transformers
from transformers import Phi4MultimodalForCausalLM, Phi4MultimodalProcessor, PretrainedConfig

from workers.answers import plain_answers
from workers.lora import load_lora, lora_layers
from workers.pieces import joined
from workers.segments import SAMPLE_RATE_HZ, segments
from workers.torch_model import (
    check_tokenizer,
    described,
    existing_folder,
    generated,
    load_weights,
    torch_device,
    torch_precision,
    use_threads,
)

PROMPT = "Transcribe the audio clip into text."
# its folder, and its name here: of one called "speech", transformers takes all weights that have
# this word in their names for its own, which some of the base have, and misses them
ADAPTER = "speech-lora"
TURNS = ("<|user|>", "<|end|>", "<|assistant|>")
SHORTEST_S = 0.1  # shorter audio is filled up with silence, as the encoder needs a few frames


def load(checkpoint, device, precision="auto", attention="eager", threads=None):
    use_threads(threads)
    folder = existing_folder(checkpoint)
    check_form(folder)
    place = torch_device(device)
    model = load_weights(
        Phi4MultimodalForCausalLM,
        folder,
        place,
        torch_precision(precision, place, on_gpu="bfloat16"),
        attn_implementation=attention,
    )
    load_lora(model, os.path.join(folder, ADAPTER), ADAPTER)
    processor = Phi4MultimodalProcessor.from_pretrained(folder, local_files_only=True)
    check_tokenizer(folder, processor.tokenizer, model)
    check_prompt_tokens(folder, processor, model)
    # an answer with one more place for audio would make the model look for audio to put there
    model.generation_config.suppress_tokens = [processor.audio_token_id]
    return model, processor


def describe(loaded):
    model, _ = loaded
    adapter = {"adapter": "+".join(model.active_adapters()), "lora_layers": lora_layers(model)}
    return described(model) | {"transformers": transformers.__version__} | adapter


def transcribe(
    loaded, audio, prompt=PROMPT, longest_s=40.0, tokens_per_s=10.0, beams=1, plain=True
):
    """longest_s: of a piece, as its authors advise. tokens_per_s: a text that would be longer is
    a loop, and is cut off. plain: take away what answers have around the transcript.
    """
    pieces = segments(audio, longest_s)
    done = [_answer(loaded, piece, prompt, tokens_per_s, beams) for piece in pieces if len(piece)]
    answers = [answer for answer, _ in done]
    texts, chatty = plain_answers(answers)
    found = {
        "text": joined(texts if plain else answers),
        "pieces": len(pieces),
        "cut_off": sum(cut for _, cut in done),
        "chatty": chatty,  # answers with something around the transcript, taken away or not
    }
    return found | ({"answer": " ".join(answers)} if plain and chatty else {})


def check_form(folder):
    """Raises RuntimeError for the remote code's form, of which few weights would be taken."""
    form = PretrainedConfig.get_config_dict(folder, local_files_only=True)[0].get("model_type")
    wanted = Phi4MultimodalForCausalLM.config_class.model_type
    if form != wanted:
        raise RuntimeError(
            f"{folder} is of type {form!r}, and {wanted!r} is needed: of "
            "microsoft/Phi-4-multimodal-instruct only the revision refs/pr/70 is"
        )


def check_prompt_tokens(folder, processor, model):
    """Raises RuntimeError if the prompt's parts are no tokens, or its audio is not the model's."""
    lacking = {*TURNS, processor.audio_token} - set(processor.tokenizer.get_vocab())
    if lacking:
        raise RuntimeError(f"{folder}: its tokenizer lacks {', '.join(sorted(lacking))}")
    expected = model.config.audio_config.audio_token_id
    if processor.audio_token_id != expected:
        raise RuntimeError(
            f"{folder}: its tokenizer is of another model: {processor.audio_token} is its token "
            f"{processor.audio_token_id}, and the model puts audio in the place of {expected}"
        )


def _answer(loaded, piece, prompt, tokens_per_s, beams):
    model, processor = loaded
    user, end, assistant = TURNS
    # by hand: whether the processor has the chat template depends on the checkpoint's age
    text = f"{user}{processor.audio_token}{prompt}{end}{assistant}"
    missing = int(SHORTEST_S * SAMPLE_RATE_HZ) - len(piece)
    heard = np.pad(piece, (0, missing)) if missing > 0 else piece
    inputs = processor(text=text, audio=heard, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
    limit = tokens_per_s * len(piece) / SAMPLE_RATE_HZ
    [(ids, cut)] = generated(model, inputs, [limit], beams)
    return processor.tokenizer.decode(ids, skip_special_tokens=True).strip(), cut
