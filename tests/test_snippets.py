"""Snippets: what is found, what each file's fault costs, and what is told about it."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from orchestrator.audio.decode import DecodedFacts, decode
from orchestrator.errors import SnippetsError
from orchestrator.snippets.find import collect_snippets, find_snippets
from orchestrator.snippets.snippet import set_sha256

SHIPPED = ROOT / "snippets"


def record(file, text="hello world", seconds=1.0, level=0.25, encoding="utf-8"):
    """A recording with its reference beside it, if it has one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    samples = np.full(round(16_000 * seconds), level, np.float32)
    soundfile.write(file, samples, 16_000, format="WAV")
    if text is not None:
        file.with_suffix(".txt").write_bytes(text.encode(encoding))
    return file


def by_name(path):
    return {snippet.name: snippet for snippet in collect_snippets(path)}


def manifest(tmp_path, *lines):
    """A manifest of these lines; a dict is written as JSON over a line that is right."""
    right = {"audio_filepath": "a.wav", "text": "hello world"}
    file = tmp_path / "m.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(right | line) for line in lines]
    file.write_text("\n".join(texts), encoding="utf-8")
    return file


def test_names_are_paths_below_the_folder_sorted_and_hidden_files_are_no_snippets(tmp_path):
    for name in ["b/c/deep.wav", "a.wav", "zwei Wörter 音.wav", "LOUD.WAV", "v1.2.wav", "[x].wav",
                 ".hidden.wav", ".git/in.wav"]:  # fmt: skip
        record(tmp_path / name)
    (tmp_path / "notes.md").write_text("not audio", encoding="utf-8")
    found = find_snippets(tmp_path)
    names = ["LOUD", "[x]", "a", "b/c/deep", "v1.2", "zwei Wörter 音"]
    assert [snippet.name for snippet in found] == names
    assert {snippet.reference for snippet in found} == {"hello world"}
    assert {(snippet.error, snippet.duration_s, snippet.language) for snippet in found} == {
        (None, 1.0, "en")
    }


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_reference_is_utf8_with_or_without_a_byte_order_mark(tmp_path, encoding):
    record(tmp_path / "a.wav", "\nGrüße, 你好\r\n", encoding=encoding)
    assert by_name(tmp_path)["a"].reference == "Grüße, 你好"


@pytest.mark.parametrize(
    ("text", "encoding", "says"),
    [
        (None, "", "no reference: expected the spoken text in"),
        ("hello", "utf-16", "a.txt is UTF-16; save it as UTF-8"),
        ("café", "latin-1", r"a.txt is not UTF-8 \(byte 3\); save it as UTF-8"),
        ("word " * 300_000, "utf-8", "is over 1048576 bytes"),
    ],
)
def test_a_reference_that_cannot_be_read_costs_its_snippet_alone(tmp_path, text, encoding, says):
    record(tmp_path / "a.wav", text, encoding=encoding)
    record(tmp_path / "b.wav")
    found = {snippet.name: snippet for snippet in find_snippets(tmp_path)}
    with pytest.raises(SnippetsError, match=says):
        raise SnippetsError(found["a"].error)
    assert found["b"].error is None


def test_an_empty_reference_is_a_reference(tmp_path):
    record(tmp_path / "a.wav", " \n")
    assert (by_name(tmp_path)["a"].reference, by_name(tmp_path)["a"].error) == ("", None)


def test_a_clean_reference_is_read_where_there_is_one(tmp_path):
    record(tmp_path / "a.wav", "um hello")
    record(tmp_path / "b.wav")
    (tmp_path / "a.clean.txt").write_text("hello\n", encoding="utf-8")
    found = by_name(tmp_path)
    assert (found["a"].reference, found["a"].clean_reference) == ("um hello", "hello")
    assert found["b"].clean_reference is None
    (tmp_path / "a.clean.txt").write_bytes(b"\xff")
    assert "a.clean.txt is not UTF-8" in by_name(tmp_path)["a"].error


def test_two_recordings_with_one_stem_are_one_snippet_with_an_error(tmp_path):
    record(tmp_path / "a.wav")
    soundfile.write(tmp_path / "a.flac", np.full(16_000, 0.25), 16_000)
    record(tmp_path / "b" / "a.wav")
    found = by_name(tmp_path)
    assert list(found) == ["a", "b/a"]
    assert "two recordings have this name" in found["a"].error
    assert all(name in found["a"].error for name in ("a.wav", "a.flac"))
    assert found["b/a"].error is None


def test_a_format_that_cannot_be_read_is_not_overlooked(tmp_path):
    record(tmp_path / "a.wav")
    (tmp_path / "b.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(99))
    (tmp_path / "b.txt").write_text("hello", encoding="utf-8")
    assert "convert it: ffmpeg -i b.m4a" in by_name(tmp_path)["b"].error


def test_a_set_in_which_nothing_can_be_used_is_an_error(tmp_path):
    with pytest.raises(SnippetsError, match="there is no such folder or manifest"):
        find_snippets(tmp_path / "missing")
    with pytest.raises(SnippetsError, match="no audio below"):
        find_snippets(tmp_path)
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "a.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(SnippetsError, match=r"none of the 1 recordings .*(?s:.*)0 bytes"):
        find_snippets(tmp_path)


def test_a_manifest_line_says_all_that_a_snippet_is(tmp_path):
    record(tmp_path / "a.wav", seconds=10)
    absolute = str(record(tmp_path / "far" / "b.wav"))
    file = manifest(
        tmp_path, {"text": " hi ", "speaker": 7}, "", "   ", {"audio_filepath": absolute},
        {"offset": 2.5, "duration": 3, "lang": "es-MX"}, {"offset": 8}, {"audio_filepath": "c.wav"},
    )  # fmt: skip
    found = by_name(file)
    assert list(found) == ["a", "a@2.5-5.5", "a@8-", "c", "far/b"]
    whole, part, rest = found["a"], found["a@2.5-5.5"], found["a@8-"]
    assert (whole.reference, whole.language, whole.duration_s) == ("hi", "en", 10)
    assert (part.language, part.offset_s, part.segment_s, part.duration_s) == ("es-mx", 2.5, 3, 3)
    assert (rest.offset_s, rest.segment_s, rest.duration_s) == (8, None, 2)
    assert found["far/b"].audio == tmp_path / "far" / "b.wav"
    assert "No such file" in found["c"].error
    assert len({snippet.sha256 for snippet in (whole, part, rest)}) == 3


@pytest.mark.parametrize(
    ("duration", "samples"), [(2.0, 32_000), (3.3, 54_321), (3.45, 54_321), (3.395, 54_321)]
)
def test_a_rounded_duration_cuts_nothing_off_and_a_shorter_one_does(tmp_path, duration, samples):
    record(tmp_path / "a.wav", seconds=54_321 / 16_000)
    only = by_name(manifest(tmp_path, {"duration": duration}))["a"]
    facts = DecodedFacts()
    for _ in decode(only.audio, facts, only.offset_s, only.segment_s):
        pass
    assert facts.samples == samples


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{'text': 1}", "line 3 is not JSON"),
        ('{"text": "no file"}', "line 3: audio_filepath: Field required"),
        ('{"audio_filepath": "a.wav"}', "line 3: text: Field required"),
        ('["a.wav", "hello"]', "line 3: the line: "),
        ("[" * 200_000, "line 3 is nested too deeply"),
        ({"text": None}, "line 3: text: "),
        ({"audio_filepath": ""}, "line 3: audio_filepath: "),
        ({"audio_filepath": ["a.wav"]}, "line 3: audio_filepath: "),
        ({"lang": "../en"}, "line 3: lang: "),
        ({"offset": -1}, "line 3: offset: "),
        ({"duration": -0.5}, "line 3: duration: "),
        ({"duration": 0}, "line 3: duration: "),
        ({"offset": "soon"}, "line 3: offset: "),
        *(({key: value}, f"line 3: {key}: ") for key in ("offset", "duration")
          for value in (float("nan"), float("inf"), -float("inf"))),
    ],
)  # fmt: skip
def test_a_wrong_manifest_line_is_named_by_its_number_and_key(tmp_path, line, says):
    record(tmp_path / "a.wav")
    with pytest.raises(SnippetsError, match=r"m\.jsonl, " + says):
        collect_snippets(manifest(tmp_path, {}, "", line))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "names no recording"), (b"\n \n", "names no recording"),
     ('{"text": "é"}'.encode("latin-1"), "is not UTF-8"), ("{}".encode("utf-16"), "is not UTF-8")],
)  # fmt: skip
def test_a_manifest_without_lines_that_can_be_read_is_an_error(tmp_path, content, says):
    (tmp_path / "m.jsonl").write_bytes(content)
    with pytest.raises(SnippetsError, match=says):
        collect_snippets(tmp_path / "m.jsonl")


def test_the_same_recording_twice_in_a_manifest_is_one_snippet_with_an_error(tmp_path):
    record(tmp_path / "a.wav")
    found = by_name(manifest(tmp_path, {}, {"audio_filepath": "./a.wav", "text": "other"}))
    assert list(found) == ["a"]
    assert "two recordings have this name" in found["a"].error


def test_the_hash_of_a_set_changes_with_text_or_audio_and_not_with_order(tmp_path):
    for name in ("a", "b", "c"):
        record(tmp_path / f"{name}.wav")
    before = set_sha256(collect_snippets(tmp_path))
    assert set_sha256(reversed(collect_snippets(tmp_path))) == before
    record(tmp_path / "a.wav", "hello word")
    assert set_sha256(collect_snippets(tmp_path)) != before
    record(tmp_path / "a.wav", level=0.5)
    assert set_sha256(collect_snippets(tmp_path)) != before
    record(tmp_path / "a.wav")
    assert set_sha256(collect_snippets(tmp_path)) == before
    (tmp_path / "a.clean.txt").write_text("hello", encoding="utf-8")
    assert set_sha256(collect_snippets(tmp_path)) != before


def test_check_tells_every_problem_and_every_warning_at_once(in_process, tmp_path):
    record(tmp_path / "good.wav", "one two three", seconds=61)
    record(tmp_path / "silent.wav", level=0.0)
    record(tmp_path / "textless.wav", None)
    record(tmp_path / "wordless.wav", "")
    record(tmp_path / "short.wav", seconds=0.05)
    soundfile.write(record(tmp_path / "loud.wav"), np.full(16_000, 1.5), 16_000, subtype="FLOAT")
    cut = record(tmp_path / "cut.wav")
    cut.write_bytes(cut.read_bytes()[:9000])
    (tmp_path / "lonely.txt").write_text("nobody", encoding="utf-8")
    done = in_process("snippets", "check", tmp_path)
    lines = done.out.splitlines()
    problems = [line.split(": ")[0] for line in lines if line.startswith("problem")]
    assert problems == ["problem  cut", "problem  silent", "problem  textless"]
    assert sum(line.startswith("warning") for line in lines) == 4
    for warned in ("wordless: its reference is empty", "short: only 0.050 s long",
                   "loud: 16000 samples over full scale", "lonely.txt: no recording"):  # fmt: skip
        assert warned in done.out
    assert lines[-1].startswith("4 of 7 recordings can be used, 1:03 of audio, 7 reference words")
    assert done.code == 1


def test_check_ends_with_0_for_all_and_2_for_none(in_process, tmp_path):
    record(tmp_path / "all" / "a.wav")
    assert in_process("snippets", "check", tmp_path / "all").code == 0
    record(tmp_path / "none" / "a.wav", None)
    done = in_process("snippets", "check", tmp_path / "none")
    assert (done.code, "0 of 1 recordings" in done.out) == (2, True)
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        done = in_process("snippets", "check", tmp_path / folder)
        assert done.code == 2
        assert folder in done.err
        assert "Traceback" not in done.err


def test_the_shipped_snippets_can_all_be_used(in_process):
    done = in_process("snippets", "check", SHIPPED)
    assert (done.code, "problem" in done.out, "warning" in done.out) == (0, False, False)
    found = find_snippets(SHIPPED)
    assert len(found) >= 12
    assert sum(snippet.clean_reference is not None for snippet in found) == 2
    assert all(snippet.reference and not snippet.error for snippet in found)


def test_the_shipped_snippets_are_small_and_as_their_checksums_say():
    sums = (SHIPPED / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    promised = {name: digest for digest, name in (line.split("  ", 1) for line in sums)}
    files = [file for file in SHIPPED.rglob("*") if file.is_file()]
    sounds = [file for file in files if file.suffix not in (".md", "") and file.name[0] != "."]
    assert set(promised) == {file.relative_to(SHIPPED).as_posix() for file in sounds}
    for name, digest in promised.items():
        assert hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest() == digest, name
    assert sum(file.stat().st_size for file in files) < 6_000_000
