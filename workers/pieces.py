"""Audio that a model takes in pieces: which of them go to it together, and whose they are."""

from workers.segments import segments


def in_pieces(audios, max_s, answer):
    """For each audio the list of what answer() says of its pieces.

    answer(pieces) → as many answers. It is given as many pieces at once as there are audios: one
    that is long takes no more memory than one that is short.
    """
    cut = [[piece for piece in segments(audio, max_s) if len(piece)] for audio in audios]
    pieces = [piece for one in cut for piece in one]
    # of about one length together: the shorter ones are padded
    order = sorted(range(len(pieces)), key=lambda number: -len(pieces[number]))
    answers = {}
    for start in range(0, len(order), len(audios)):
        group = order[start : start + len(audios)]
        answers.update(zip(group, answer([pieces[number] for number in group])))
    numbers = iter(range(len(pieces)))
    return [[answers[next(numbers)] for _ in one] for one in cut]


def joined(texts):
    """Of one audio's pieces, in order."""
    return " ".join(text for text in texts if text)
