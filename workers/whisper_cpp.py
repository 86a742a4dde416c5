"""Whisper by whisper.cpp, from a ggml file: on the CPU, or on Vulkan or ROCm where built for it.

whisper.cpp moves its window of 30 s by the timestamps it hears. Very long audio is first cut at
pauses, so that memory does not grow with it: by spectrogram and copies, three times its samples.
"""

import contextlib
import re
import sys
from dataclasses import dataclass

import _pywhispercpp as library
import numpy as np
from pywhispercpp.model import Model

from workers.cores import usable_physical_cores
from workers.ggml_file import ENGLISH_ONLY, read_header
from workers.segments import segments

SHORTEST = 3_200  # samples: below 0.1 s whisper.cpp answers nothing, so 0.2 s of silence is added
BACKENDS = {"vulkan": "Vulkan", "rocm": "ROCm"}  # what whisper.cpp calls its devices
GPU = re.compile(
    r"^(?:ggml_vulkan: \d+ = (?P<vulkan>.+?) \||  Device \d+: (?P<rocm>.+?), gfx)", re.M
)
# not that of an accelerator, which device_of() finds
FAILED = re.compile(
    r"^(?!ggml_cuda_init)"
    r".*(failed to (load|init)|not all tensors|no tensors loaded|unknown tensor).*",
    re.M,
)


@dataclass
class Loaded:
    """What describe() tells, beside the model."""

    model: Model
    details: dict


def load(checkpoint, device, threads=None, language="en", beams=1, prompt="", fallback=False):
    """language: as "en", or "auto". fallback: decode again at higher temperatures, by chance, what
    went badly. Only with a prompt does a window also hear the text before it, as whisper.cpp keeps
    both in one place: one mistake leads to the next, and only chance gets out of a loop.
    """
    header = read_header(checkpoint)
    check_language(language, header)
    settings = {
        "n_threads": threads or usable_physical_cores(),
        "language": "" if language == "auto" else language,
        "temperature_inc": 0.2 if fallback else 0.0,
        "greedy": {"best_of": 5 if fallback else 1},
        "print_progress": False,
    }
    if beams > 1:
        settings["beam_search"] = {"beam_size": beams, "patience": -1.0}
    settings |= {"initial_prompt": prompt} if prompt else {"n_max_text_ctx": 0}
    context = {"use_gpu": device != "cpu"}
    with heard() as lines:
        strategy = 1 if beams > 1 else 0
        model = Model(checkpoint, None, strategy, context_params=context, **settings)
    said = "".join(lines)
    if failure := FAILED.search(said):
        raise RuntimeError(f"whisper.cpp cannot load {checkpoint}: {failure[0]}")
    used = model.get_params()
    details = {
        "device": device_of(said, device),
        "precision": header["precision"],
        "threads": used["n_threads"],
        "language": language,
        "decoding": f"{beams} beams" if beams > 1 else "greedy",
        "fallback": used["temperature_inc"] > 0,
        "text_before": used["n_max_text_ctx"] > 0,
        "flash_attention": bool(re.search(r"flash attn\s*=\s*1", said)),
    }
    if gpu := gpu_of(said):
        details["gpu"] = gpu
    return Loaded(model, details)


def describe(loaded):
    return loaded.details


def transcribe(loaded, audio, longest_s=1800.0):
    """longest_s: in one go."""
    pieces = segments(audio, longest_s)
    # of an empty one whisper.cpp would give the text before
    done = [_piece(loaded.model, piece) for piece in pieces if len(piece)]
    answer = {
        "text": " ".join(text for text, _, _ in done if text),
        "pieces": len(pieces),
        "segments": sum(count for _, count, _ in done),
    }
    if loaded.details["language"] == "auto":
        answer["language"] = ", ".join(dict.fromkeys(language for _, _, language in done))
    return answer


def _piece(model, audio):
    """Text, segments, and the language that was asked for or heard."""
    if not np.isfinite(audio).all():
        raise ValueError("the audio has samples that are no numbers")
    if len(audio) < SHORTEST:
        audio = np.concatenate([audio, np.zeros(SHORTEST, np.float32)])
    # not Model.transcribe(): it forgets the status, and strips each segment, so that words of
    # languages without spaces would get some
    status = library.whisper_full(model._ctx, model._params, audio, len(audio))
    if status != 0:
        raise RuntimeError(f"whisper.cpp failed with status {status}; its log says why")
    count = library.whisper_full_n_segments(model._ctx)
    parts = [library.whisper_full_get_segment_text(model._ctx, one) for one in range(count)]
    language = library.whisper_lang_str(library.whisper_full_lang_id(model._ctx))
    return b"".join(parts).decode("utf-8", "replace").strip(), count, language


def check_language(language, header):
    """whisper.cpp guesses where it does not know a language, and says so in its log alone."""
    if language != "auto" and library.whisper_lang_id(language) < 0:
        raise ValueError(f"whisper.cpp knows no language {language!r}; give one as 'en', or 'auto'")
    if header["vocabulary"] == ENGLISH_ONLY and language != "en":
        raise ValueError(f"this checkpoint knows English alone; it was asked for {language!r}")


def device_of(said, wanted):
    """The accelerator that whisper.cpp's own log names, when it holds the weights."""
    if wanted == "cpu":
        return "cpu"
    name = BACKENDS.get(wanted)
    if name is None:
        raise ValueError(f"whisper.cpp is built for {', '.join(BACKENDS)} and cpu, not {wanted}")
    used = re.search(rf"using ({name}\d+) backend", said)
    if not used or not re.search(rf"{used[1]} total size", said):
        raise RuntimeError(
            f"whisper.cpp did not use {wanted}, although it was to: no device, no driver, or its "
            "build lacks it (asrbench env rebuild whisper-cpp); its log names what it found"
        )
    return wanted


def gpu_of(said):
    """Its name; it may be one in software, where GGML_VK_VISIBLE_DEVICES asks for that."""
    found = GPU.search(said)
    return found and found[found.lastgroup]


@contextlib.contextmanager
def heard():
    """What whisper.cpp logs meanwhile; it goes to the worker's log, too, as it comes."""
    lines = []

    def hear(level, text):
        lines.append(text)
        sys.stderr.write(text)

    library.whisper_log_set(hear)
    try:
        yield lines
    finally:
        library.whisper_log_set(None)
