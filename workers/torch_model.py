"""What workers on PyTorch share: the device, the precision, weights that are all there.

Nothing here falls back: another device, a weight that the checkpoint lacks or has too many are
errors.
"""

import json
import os

import torch
from safetensors import SafetensorError, safe_open

NAMES_SHOWN = 3
SHORTEST_ANSWER = 16  # tokens, however short the audio


def torch_device(accelerator):
    """torch's device for an accelerator. Raises RuntimeError if this torch cannot use it."""
    if accelerator == "cpu":
        return torch.device("cpu")
    if accelerator == "mps":
        if not torch.backends.mps.is_available():
            raise RuntimeError(f"torch {torch.__version__} finds no GPU of Apple's here")
        return torch.device("mps")
    if accelerator not in ("cuda", "rocm"):
        raise RuntimeError(f"torch has no {accelerator}")
    if _kind("cuda") != accelerator:
        raise RuntimeError(f"torch {torch.__version__} is not a build for {accelerator}")
    if not torch.cuda.is_available():
        raise RuntimeError(f"torch {torch.__version__} finds no GPU for {accelerator} here")
    return torch.device("cuda")


def torch_precision(name, device, on_gpu):
    """The dtype of that name. "auto" is on_gpu on a GPU and float32 on a CPU.

    Without special units a CPU computes halves at half the speed or less; who lacks the memory for
    float32 asks for bfloat16.
    """
    if name == "auto":
        name = "float32" if device.type == "cpu" else on_gpu
    known = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in known:
        raise ValueError(f"precision {name!r} is none of: auto, {', '.join(known)}")
    return known[name]


def load_weights(model_class, checkpoint, device, dtype, **settings):
    """A model with all its weights on the device, ready to infer. Raises RuntimeError if not."""
    check_type(checkpoint, model_class.config_class.model_type)
    check_weight_files(checkpoint)
    torch.manual_seed(0)
    model, found = model_class.from_pretrained(
        checkpoint,
        dtype=dtype,
        device_map={"": device},
        local_files_only=True,
        use_safetensors=True,  # no pickle
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are told below, by their names
        **settings,
    )
    check_keys(checkpoint, found)
    return model.eval()


def check_type(checkpoint, wanted, hint=""):
    """Raises RuntimeError for another model's checkpoint: filling up what it lacks takes a lot of
    memory, and the error that comes then is of something else.
    """
    file = os.path.join(checkpoint, "config.json")
    if not os.path.isfile(file):
        raise FileNotFoundError(f"{checkpoint} has no config.json: it is no checkpoint")
    with open(file, encoding="utf-8") as content:
        config = json.load(content)
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != wanted:
        raise RuntimeError(f"{checkpoint} is of type {found!r}, and {wanted!r} is needed{hint}")


def check_weight_files(folder, name="model.safetensors"):
    """Raises RuntimeError that names the file which is cut off or no safetensors at all.

    Others than those that are loaded may lie beside them, whole or not.
    """
    for one in _weight_files(folder, name):
        file = os.path.join(folder, one)
        if os.path.isfile(file):
            try:
                safe_open(file, "pt")
            except SafetensorError as error:
                raise RuntimeError(f"{file} is damaged; fetch it again: {error}") from error


def _weight_files(folder, name):
    """That one, or those over which its index spreads the weights."""
    index = os.path.join(folder, f"{name}.index.json")
    if os.path.isfile(os.path.join(folder, name)) or not os.path.isfile(index):
        return [name]
    with open(index, encoding="utf-8") as content:
        return sorted(set(json.load(content)["weight_map"].values()))


def check_keys(checkpoint, found):
    """Raises RuntimeError for a checkpoint that is not what the model's class expects.

    found: transformers' loading info. Without this the missing ones are random, and the text bad.
    """
    what = {
        "missing_keys": "lacks",
        "unexpected_keys": "has unknown",
        "mismatched_keys": "has wrong shapes of",
        "error_msgs": "cannot give",
    }
    for kind, words in what.items():
        names = sorted(map(str, found.get(kind) or ()))
        if names:
            shown = ", ".join(names[:NAMES_SHOWN])
            more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
            raise RuntimeError(f"{checkpoint} {words} weights: {shown}{more}")


def generated(model, inputs, limits, beams=1):
    """Of each prompt the answer's token ids, and whether it was cut off at its limit.

    inputs: as their processor made them, padded on the left; floats are taken to the model's
    precision. limits: of each answer, in tokens. Greedy with one beam; never by chance.
    """
    torch.manual_seed(0)
    inputs = inputs.to(model.device, model.dtype)
    limits = [max(SHORTEST_ANSWER, int(limit)) for limit in limits]
    with torch.inference_mode():
        found = model.generate(
            **inputs, max_new_tokens=max(limits), do_sample=False, num_beams=beams
        )
    answers = found[:, inputs["input_ids"].shape[1] :].tolist()
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    return [_ended(ids[:limit], ends) for ids, limit in zip(answers, limits)]


def _ended(ids, ends):
    """The ids up to the end, behind which is padding; and whether there is none."""
    for count, token in enumerate(ids, start=1):
        if token in ends:
            return ids[:count], False
    return ids, True


def described(model):
    """What is in use, read back from the model. Raises RuntimeError if it is on several devices."""
    tensors = [*model.parameters(), *model.buffers()]
    devices = {one.device.type for one in tensors}
    if len(devices) != 1:
        raise RuntimeError(f"parts of the model are on: {', '.join(sorted(devices))}")
    precisions = {str(one.dtype).removeprefix("torch.") for one in model.parameters()}
    return {
        "device": _kind(devices.pop()),
        "precision": "+".join(sorted(precisions)),
        "attention": model.config._attn_implementation,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def use_threads(threads):
    """As many as asked for; None: as torch does, one for each core that this process may use."""
    if threads is not None:
        torch.set_num_threads(threads)


def existing_folder(checkpoint):
    """The checkpoint, if it is a folder: anything else transformers takes for a name on a hub."""
    if checkpoint is None or not os.path.isdir(checkpoint):
        raise FileNotFoundError(f"there is no folder {checkpoint}: this model's checkpoint is one")
    return checkpoint


def _kind(device_type):
    """The accelerator's name: ROCm calls itself cuda."""
    return "rocm" if device_type == "cuda" and torch.version.hip else device_type
