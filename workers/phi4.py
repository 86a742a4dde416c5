"""What both forms of Phi-4-multimodal share: prompt, pieces, and what is told of its answers."""

import numpy as np

from workers.answers import plain_answers
from workers.pieces import joined
from workers.segments import SAMPLE_RATE_HZ, segments

PROMPT = "Transcribe the audio clip into text."
LONGEST_S = 40.0  # of a piece, as its authors advise
TURNS = ("<|user|>", "<|end|>", "<|assistant|>")
SHORTEST_S = 0.1  # shorter audio is filled up with silence, as the encoder needs a few frames


def chat(placeholder, prompt):
    """By hand: whether a processor has the chat template depends on the checkpoint's age."""
    user, end, assistant = TURNS
    return f"{user}{placeholder}{prompt}{end}{assistant}"


def check_turns(folder, tokens, *more):
    """Raises RuntimeError if the prompt's parts are no tokens. tokens: the tokenizer's."""
    lacking = {*TURNS, *more} - set(tokens)
    if lacking:
        raise RuntimeError(f"{folder}: its tokenizer lacks {', '.join(sorted(lacking))}")


def transcript(audio, longest_s, plain, answer):
    """answer(piece) → what the model says of it, and whether that was cut off."""
    pieces = segments(audio, longest_s)
    done = [answer(_not_too_short(piece)) for piece in pieces if len(piece)]
    answers = [text for text, _ in done]
    texts, chatty = plain_answers(answers)
    found = {
        "text": joined(texts if plain else answers),
        "pieces": len(pieces),
        "cut_off": sum(cut for _, cut in done),
        "chatty": chatty,  # answers with something around the transcript, taken away or not
    }
    return found | ({"answer": " ".join(answers)} if plain and chatty else {})


def _not_too_short(piece):
    missing = int(SHORTEST_S * SAMPLE_RATE_HZ) - len(piece)
    return np.pad(piece, (0, missing)) if missing > 0 else piece
