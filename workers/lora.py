"""A checkpoint's own LoRA adapter: loaded, whole, switched on, and not empty.

transformers goes on without one, or with random weights in it, and the text is bad.
"""

import os

from workers.torch_model import check_keys, check_weight_files

CONFIG = "adapter_config.json"
# for from_pretrained: the base alone, as it would tell of the adapter's keys and not of its own
WITHOUT = {"adapter_kwargs": {"subfolder": "none"}}


def load_lora(model, folder, name="default"):
    """Raises FileNotFoundError or RuntimeError if the adapter is not really there."""
    if not os.path.isfile(os.path.join(folder, CONFIG)):
        raise FileNotFoundError(f"{folder} has no {CONFIG}: the speech adapter is missing")
    check_weight_files(folder, "adapter_model.safetensors")
    found = model.load_adapter(folder, adapter_name=name)
    check_keys(folder, found.to_dict())
    model.set_adapter(name)
    model.eval()
    if model.active_adapters() != [name]:
        raise RuntimeError(f"{folder}: its adapter cannot be switched on")
    if not lora_layers(model):
        raise RuntimeError(f"{folder}: its adapter changes nothing")


def refuse_lora(folder):
    """Raises RuntimeError if there is one, where the model's config says that there is none."""
    if os.path.isfile(os.path.join(folder, CONFIG)):
        raise RuntimeError(
            f"{folder} has {CONFIG}, and its config.json says that it has no adapter"
        )


def lora_layers(model, name=""):
    """How many layers an adapter really changes: B is zero in one that was never trained.

    name: of one adapter; all of them if empty.
    """
    layers = (weights for key, weights in model.named_parameters() if f".lora_B.{name}" in key)
    return sum(bool(weights.any()) for weights in layers)
