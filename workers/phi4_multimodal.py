"""Microsoft's Phi-4-multimodal in transformers' own form.

A language model with a speech encoder, and a LoRA that makes it listen. It takes no batches: the
encoder adds its mask where it should mask, so that the padding of a shorter recording is heard.
"""

import os

try:  # before transformers, which a broken one breaks in ways that do not name it
    import torchvision  # noqa: F401  the processor is one for images, too
except Exception as error:
    raise ImportError(
        f"torchvision cannot be imported, and Phi-4's processor needs it: {error}"
    ) from error
import transformers
from transformers import Phi4MultimodalForCausalLM, Phi4MultimodalProcessor

from workers.lora import load_lora, lora_layers
from workers.phi4 import LONGEST_S, PROMPT, chat, check_turns, transcript
from workers.segments import SAMPLE_RATE_HZ
from workers.tokenizer import check_tokenizer, require_tokenizer
from workers.torch_model import (
    check_type,
    described,
    existing_folder,
    generated,
    load_weights,
    torch_device,
    torch_precision,
    use_threads,
)

# its folder, and its name here: of one called "speech", transformers takes all weights that have
# this word in their names for its own, which some of the base have, and misses them
ADAPTER = "speech-lora"
# the other form is the remote code's, of which few weights would be taken
ELSEWHERE = ": of microsoft/Phi-4-multimodal-instruct only the revision refs/pr/70 is"


def load(checkpoint, device, precision="auto", attention="eager", threads=None):
    use_threads(threads)
    folder = existing_folder(checkpoint)
    check_type(folder, Phi4MultimodalForCausalLM.config_class.model_type, ELSEWHERE)
    place = torch_device(device)
    model = load_weights(
        Phi4MultimodalForCausalLM,
        folder,
        place,
        torch_precision(precision, place, on_gpu="bfloat16"),
        attn_implementation=attention,
    )
    load_lora(model, os.path.join(folder, ADAPTER), ADAPTER)
    require_tokenizer(folder, "tokenizer.json", "vocab.json")
    processor = Phi4MultimodalProcessor.from_pretrained(folder, local_files_only=True)
    check_tokenizer(folder, processor.tokenizer, model)
    check_turns(folder, processor.tokenizer.get_vocab(), processor.audio_token)
    check_audio_token(folder, processor, model)
    # an answer with one more place for audio would make the model look for audio to put there
    model.generation_config.suppress_tokens = [processor.audio_token_id]
    return model, processor


def describe(loaded):
    model, _ = loaded
    adapter = {"adapter": "+".join(model.active_adapters()), "lora_layers": lora_layers(model)}
    return described(model) | {"transformers": transformers.__version__} | adapter


def transcribe(
    loaded, audio, prompt=PROMPT, longest_s=LONGEST_S, tokens_per_s=10.0, beams=1, plain=True
):
    """longest_s: of a piece. tokens_per_s: a text that would be longer is a loop, and is cut off.
    plain: take away what answers have around the transcript.
    """
    return transcript(
        audio, longest_s, plain, lambda piece: _answer(loaded, piece, prompt, tokens_per_s, beams)
    )


def check_audio_token(folder, processor, model):
    """Raises RuntimeError if the prompt's audio is not the model's."""
    expected = model.config.audio_config.audio_token_id
    if processor.audio_token_id != expected:
        raise RuntimeError(
            f"{folder}: its tokenizer is of another model: {processor.audio_token} is its token "
            f"{processor.audio_token_id}, and the model puts audio in the place of {expected}"
        )


def _answer(loaded, piece, prompt, tokens_per_s, beams):
    model, processor = loaded
    text = chat(processor.audio_token, prompt)
    inputs = processor(text=text, audio=piece, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt")
    limit = tokens_per_s * len(piece) / SAMPLE_RATE_HZ
    [(ids, cut)] = generated(model, inputs, [limit], beams)
    return processor.tokenizer.decode(ids, skip_special_tokens=True).strip(), cut
