"""Moonshine without this project and without its library: run by the env's Python.

    python moonshine_reference.py FOLDER AUDIO.npy TOKENIZER → {"ids": [...], "text": "..."}

A greedy loop over the two files, as they are described by their own inputs and outputs.
"""

import json
import sys

import numpy as np
import onnxruntime
import tokenizers

START, END, MOST = 1, 2, 192


def token_ids(folder, audio):
    encoder, decoder = (
        onnxruntime.InferenceSession(f"{folder}/{name}", providers=["CPUExecutionProvider"])
        for name in ("encoder_model.onnx", "decoder_model_merged.onnx")
    )
    (hidden,) = encoder.run(["last_hidden_state"], {"input_values": audio[None]})
    shapes = {one.name: one.shape for one in decoder.get_inputs() if "past" in one.name}
    past = {name: np.zeros((0, s[1], 1, s[3]), np.float32) for name, s in shapes.items()}
    outputs = ["logits", *(name.replace("past_key_values", "present") for name in past)]
    ids = [START]
    while ids[-1] != END and len(ids) <= MOST:
        feed = {
            "input_ids": np.array([ids[-1:]], np.int64),
            "encoder_hidden_states": hidden,
            "use_cache_branch": np.array([len(ids) > 1]),
            **past,
        }
        logits, *present = decoder.run(outputs, feed)
        new = dict(zip(past, present, strict=True))
        first = len(ids) == 1
        past |= {name: value for name, value in new.items() if first or ".decoder." in name}
        ids.append(int(np.argmax(logits[0, -1])))
    return ids


if __name__ == "__main__":
    found = token_ids(sys.argv[1], np.load(sys.argv[2]))
    words = tokenizers.Tokenizer.from_file(sys.argv[3])
    print(json.dumps({"ids": found, "text": words.decode(found).strip()}))
