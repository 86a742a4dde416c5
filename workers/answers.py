"""Chatty answers: what a language model says around a transcript is taken away, and counted.

Only what is no part of speech for certain: an opening such as "Transcription:", quotation marks
around the whole, and special tokens. Everything else is the model's own mistake and stays.
"""

import re

# each ends with a colon, which no speech recogniser writes after such words; "The audio says: …"
_OPENING = re.compile(
    r"""
    (?: (?:sure|certainly|okay|of\ course) [,.!]? \s+ )?
    (?:
        (?:here\ is|here's|this\ is) \s+ (?:the|a|your) \s+ (?:\w+\ )? transcri(?:pt|ption)
        (?: \s+ (?:of|for|from) \s+ the \s+ (?:audio|recording|speech) (?:\ clip|\ file)? )?
      | (?:the\ )? (?:audio\ )? transcri(?:pt|ption) (?:\s+is)?
      | the \s+ (?:audio|recording|speaker|speech|clip) (?:\ clip|\ file)? \s+ (?:says|said)
      | the \s+ (?:audio|recording|clip) (?:\ clip|\ file)? \s+ is \s+ transcribed \s+ as
    )
    \s* : \s*
    """,
    re.IGNORECASE | re.VERBOSE,
)
_SPECIAL = re.compile(r"<\|[^|<>\s]{1,40}\|>")  # such as <|end|>
_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»"}
_APOSTROPHES = {"'": "'", "‘": "’"}  # words may begin or end with one: 'tis
_WITHIN_WORD = re.compile(r"(?<=\w)['’](?=\w)")


def plain_answers(answers):
    """The answers without it, and how many of them had it."""
    plain = [_plain(one) for one in answers]
    return plain, sum(now != then.strip() for now, then in zip(plain, answers))


def _plain(answer):
    text = _without_quotes(_SPECIAL.sub(" ", answer).strip(), _QUOTES)
    opening = _OPENING.match(text)
    if not opening:
        return text
    return _without_quotes(text[opening.end() :].strip(), _QUOTES | _APOSTROPHES)


def _without_quotes(text, marks):
    """Without the pair around all of it; two quotations side by side are no such pair."""
    if len(text) < 2 or marks.get(text[0]) != text[-1]:
        return text
    inside = text[1:-1]
    alone = _WITHIN_WORD.sub("", inside)
    return text if text[0] in alone or text[-1] in alone else inside.strip()
