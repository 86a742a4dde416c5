"""Microsoft's Phi-4-multimodal by its own code, as the model's card has it.

That code is run only if the stack's options say so; see examples/phi-4-remote-code.
"""

from workers.remote_code import check_code  # before transformers, which reads what this sets

# isort: split
import torchvision  # noqa: F401  that code needs it: a broken one is told here, and by its name
import transformers
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM, AutoProcessor

from workers.lora import lora_layers
from workers.phi4 import LONGEST_S, PROMPT, chat, check_turns, transcript
from workers.segments import SAMPLE_RATE_HZ
from workers.tokenizer import check_tokenizer, require_tokenizer
from workers.torch_model import (
    check_keys,
    check_type,
    described,
    existing_folder,
    generated,
    torch_device,
    torch_precision,
    use_threads,
)

FORM = "phi4mm"  # of its config
ELSEWHERE = (
    ": of microsoft/Phi-4-multimodal-instruct the main branch is; the stack phi-4-multimodal takes "
    "the other form"
)
ADAPTER = "speech"  # within the weights, switched on by the kind of input


def load(checkpoint, device, trust_remote_code, precision="auto", attention="eager", threads=None):
    use_threads(threads)
    folder = existing_folder(checkpoint)
    check_type(folder, FORM, ELSEWHERE)
    check_code(folder)
    place = torch_device(device)
    # not load_weights(): transformers of this age has other names for these
    model, found = AutoModelForCausalLM.from_pretrained(
        folder,
        torch_dtype=torch_precision(precision, place, on_gpu="bfloat16"),
        device_map={"": place},
        _attn_implementation=attention,
        trust_remote_code=trust_remote_code,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    check_keys(folder, found)
    if not lora_layers(model, ADAPTER):
        raise RuntimeError(f"{folder}: its adapter {ADAPTER!r} is missing or changes nothing")
    require_tokenizer(folder, "tokenizer.json", "vocab.json")
    processor = AutoProcessor.from_pretrained(
        folder, trust_remote_code=trust_remote_code, local_files_only=True
    )
    check_tokenizer(folder, processor.tokenizer, model)
    check_turns(folder, processor.tokenizer.get_vocab())
    return model.eval(), processor


def describe(loaded):
    model, _ = loaded
    adapter = {"adapter": ADAPTER, "lora_layers": lora_layers(model, ADAPTER)}
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


def check_adapter_is_on(model):
    """Raises RuntimeError if the checkpoint's code has not switched it on for what it heard."""
    layers = [one for one in model.modules() if isinstance(one, LoraLayer)]
    off = [one for one in layers if one.disable_adapters or ADAPTER not in one.active_adapters]
    if off:
        raise RuntimeError(
            f"the adapter {ADAPTER!r} is off in {len(off)} of {len(layers)} layers: the "
            "checkpoint's code did not take its input for speech"
        )


def _answer(loaded, piece, prompt, tokens_per_s, beams):
    model, processor = loaded
    inputs = processor(
        text=chat("<|audio_1|>", prompt), audios=[(piece, SAMPLE_RATE_HZ)], return_tensors="pt"
    )
    limit = tokens_per_s * len(piece) / SAMPLE_RATE_HZ
    [(ids, cut)] = generated(model, inputs, [limit], beams)
    check_adapter_is_on(model)
    answer = processor.tokenizer.decode(
        ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return answer.strip(), cut
