"""Whether a ggml file of Whisper is whole, before whisper.cpp reads it.

whisper.cpp goes on without a model where a file is damaged, and then crashes at the first audio. So
here the whole file is walked, without reading its weights: header, mel filters, words, tensors.
"""

import os
import struct

MAGIC = 0x67676D6C
HEADER = (
    "vocabulary", "audio_context", "audio_width", "audio_heads", "audio_layers", "text_context",
    "text_width", "text_heads", "text_layers", "mels", "weights",
)  # fmt: skip
ENGLISH_ONLY = 51864  # tokens that a model of English alone has; of many languages: more
MAX_VOCABULARY = 51_966  # 200 languages
MAX_LAYERS = 128
# by ggml's number: name, values in a block, bytes of a block
TENSOR_TYPES = {
    0: ("f32", 1, 4), 1: ("f16", 1, 2), 2: ("q4_0", 32, 18), 3: ("q4_1", 32, 20),
    6: ("q5_0", 32, 22), 7: ("q5_1", 32, 24), 8: ("q8_0", 32, 34), 10: ("q2_k", 256, 84),
    11: ("q3_k", 256, 110), 12: ("q4_k", 256, 144), 13: ("q5_k", 256, 176), 14: ("q6_k", 256, 210),
}  # fmt: skip


def read_header(path):
    """Its numbers by the names of HEADER; "precision" is the type of most of its weights.

    Raises ValueError that says what is wrong with the file, whatever it holds.
    """
    if os.path.isdir(path):
        raise ValueError(f"{path} is a folder, and this model's checkpoint is a file: ggml-….bin")
    size = os.path.getsize(path)
    if size == 0:
        raise ValueError(f"{path} is empty; fetch it again")
    with open(path, "rb") as file:
        (magic,) = _ints(file, 1, path)
        if magic != MAGIC:
            raise ValueError(f"{path} is no ggml file of Whisper: it begins with {magic:#010x}")
        header = dict(zip(HEADER, _ints(file, len(HEADER), path)))
        _check_numbers(header, path)
        mels, bins = _ints(file, 2, path)
        if mels != header["mels"] or not 0 < bins <= 4096:
            raise ValueError(f"{path} is damaged: its mel filters are {mels} × {bins}")
        _skip(file, 4 * mels * bins, size, path)
        (words,) = _ints(file, 1, path)
        if not 0 < words <= header["vocabulary"]:
            raise ValueError(f"{path} is damaged: it announces {words} words")
        for _ in range(words):
            _skip(file, _ints(file, 1, path)[0], size, path)
        header["precision"] = _walk_tensors(file, size, path)
    return header


def _check_numbers(header, path):
    widths = header["audio_width"], header["text_width"]
    heads = header["audio_heads"], header["text_heads"]
    sane = (
        ENGLISH_ONLY <= header["vocabulary"] <= MAX_VOCABULARY
        and all(0 < header[f"{part}_context"] <= 4096 for part in ("audio", "text"))
        and all(0 < header[f"{part}_layers"] <= MAX_LAYERS for part in ("audio", "text"))
        and 0 < widths[0] == widths[1] <= 8192
        and all(0 < head <= widths[0] and widths[0] % head == 0 for head in heads)
        and 0 < header["mels"] <= 512
    )
    if not sane:
        told = ", ".join(f"{name} {header[name]}" for name in HEADER)
        raise ValueError(f"{path} is damaged, or no Whisper: {told}")


def _walk_tensors(file, size, path):
    """The type that has most bytes."""
    sizes = {}
    while file.tell() < size:
        dimensions, name_bytes, number = _ints(file, 3, path)
        if not 1 <= dimensions <= 4 or not 0 < name_bytes <= 256 or number not in TENSOR_TYPES:
            raise ValueError(f"{path} is damaged at byte {file.tell():,}: no tensor is there")
        values = 1
        for extent in _ints(file, dimensions, path):
            values *= max(0, extent)
        name = file.read(name_bytes).decode("utf-8", "replace")
        kind, block, block_bytes = TENSOR_TYPES[number]
        if values == 0 or values % block:
            raise ValueError(f"{path} is damaged: tensor {name!r} has {values} values of {kind}")
        length = values // block * block_bytes
        _skip(file, length, size, path, f" in tensor {name!r}")
        sizes[kind] = sizes.get(kind, 0) + length
    if not sizes:
        raise ValueError(f"{path} is cut off: it has no weights; fetch it again")
    return max(sizes, key=sizes.get)


def _ints(file, count, path):
    data = file.read(4 * count)
    if len(data) < 4 * count:
        raise ValueError(f"{path} is cut off at byte {file.tell():,}; fetch it again")
    return struct.unpack(f"<{count}i", data)


def _skip(file, count, size, path, where=""):
    if count < 0 or file.tell() + count > size:
        lacks = f"{file.tell() + count - size:,} bytes are missing" if count >= 0 else "no length"
        raise ValueError(f"{path} is cut off or damaged{where}: {lacks}; fetch it again")
    file.seek(count, os.SEEK_CUR)
