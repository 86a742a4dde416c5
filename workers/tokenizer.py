"""Whether a checkpoint's tokenizer is there, and of the same model as its weights.

Without its files transformers asks for a package that would not help, or makes an empty one; with
another model's the texts are wrong, without any error.
"""

import os


def require_tokenizer(folder, *names):
    """Raises FileNotFoundError if there is none of the files that it may be in."""
    if not any(os.path.isfile(os.path.join(folder, name)) for name in names):
        raise FileNotFoundError(f"{folder} has no {' or '.join(names)}: its tokenizer is missing")


def check_tokenizer(folder, tokenizer, model):
    """Raises RuntimeError if the tokenizer has tokens that the model has no weights for, or ends
    its texts with another one than the model does.
    """
    highest = max(tokenizer.get_vocab().values())
    rows = model.get_input_embeddings().weight.shape[0]
    if highest >= rows:
        raise RuntimeError(
            f"{folder}: its tokenizer is of another model: it counts to {highest}, and the "
            f"weights are for {rows} tokens"
        )
    ends = model.generation_config.eos_token_id
    ends = ends if isinstance(ends, list) else [ends]
    if tokenizer.eos_token_id not in ends:
        raise RuntimeError(
            f"{folder}: its tokenizer is of another model: its texts end with token "
            f"{tokenizer.eos_token_id}, and the model's with {', '.join(map(str, ends))}"
        )
