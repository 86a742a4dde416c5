"""Make the recordings and references in ``snippets/`` from the sentences below.

    python scripts/make_snippets.py           writes snippets/
    python scripts/make_snippets.py --check   remakes them elsewhere and compares

Every sentence was written for this project and every voice is synthetic, so the files can be
shipped freely.  The noise is seeded from the file name: the same tools give the same bytes.
Needs the Debian packages flite and espeak-ng, and numpy, soundfile and soxr.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float64]

SHIPPED = Path(__file__).resolve().parent.parent / "snippets"
DEBIAN_PACKAGES = {"flite": "flite", "espeak-ng": "espeak-ng"}
VERSIONS_HEADING = "## Made with"
STEREO_RIGHT_GAIN = 0.5


@dataclass(frozen=True)
class Snippet:
    """One recording: what is said, by which voice, and how the sound is treated afterwards."""

    name: str  # path below snippets/, with its suffix
    engine: str  # "flite" or "espeak-ng"
    voice: str
    text: str  # the verbatim reference; exactly what the voice is given
    pace: float  # flite: duration stretch (above 1 is slower); espeak-ng: words a minute
    rate: int = 16000
    channels: int = 1
    speed: float = 1.0  # played faster by this factor afterwards, which raises the pitch too
    snr_db: float | None = None  # pink noise, against the mean power of the clip
    peak_db: float = -3.0  # highest sample, in dB below full scale
    clean: str | None = None  # the reference without the disfluencies, where there are any


SNIPPETS = (
    Snippet("clean/short-reply.wav", "flite", "slt", "I will be there soon.", 1.0),
    Snippet("clean/market-bread.wav", "flite", "rms",
            "My sister sells fresh bread and honey at the market every Saturday.", 1.0),
    Snippet("clean/last-train.flac", "flite", "slt",
            "The last train to the coast leaves a few minutes before midnight.", 1.1,
            rate=44100),
    Snippet("clean/garden-rain.flac", "flite", "awb",
            "After three days of rain, the garden was green and the path was covered with "
            "leaves.", 1.1),
    Snippet("clean/soup-recipe.wav", "flite", "rms",
            "Put the onions in the pan first, then add the potatoes and a little water.", 1.1,
            rate=44100, channels=2),
    Snippet("clean/quiet-library.wav", "flite", "kal16",
            "The library closes early today, so please return your books at the front desk.", 1.0,
            peak_db=-20.0),
    Snippet("clean/museum-guide.flac", "espeak-ng", "en-us",
            "The museum is free on Sunday, but the old ships are closed for the winter.", 165,
            rate=22050),
    Snippet("clean/long/lost-dog.flac", "flite", "slt",
            "When we moved to the village, our dog ran away on the very first night. "
            "We looked for him in the fields, behind the school, and all along the river. "
            "A neighbor we had never met made coffee and walked with us until the sun came up. "
            "In the end, the dog was asleep in her kitchen, right beside the stove. "
            "He was warm and dry, and he did not look sorry at all. "
            "She has been our best friend ever since, and he still visits her every day.", 1.1),
    Snippet("noisy/bus-stop.wav", "flite", "slt",
            "Does this bus stop near the hospital, or should I walk from the bridge?", 1.0,
            snr_db=20.0),
    Snippet("noisy/workshop.wav", "flite", "rms",
            "Turn the machine off before you open the door and clean the glass.", 1.0,
            snr_db=10.0),
    Snippet("noisy/weather-radio.flac", "espeak-ng", "en-us+f3",
            "Strong winds are expected in the north, with some snow on the hills tonight.", 150,
            speed=1.05, snr_db=20.0),
    Snippet("noisy/phone/call-back.wav", "flite", "rms",
            "Sorry I missed you. Please call me back when you get to the office.", 1.0,
            rate=8000, snr_db=15.0),
    Snippet("disfluent/picnic-plan.wav", "flite", "slt",
            "Um, I think we should, uh, meet at the lake and bring the, the food with us.", 1.0,
            clean="I think we should meet at the lake and bring the food with us."),
    Snippet("disfluent/new-job.wav", "flite", "awb",
            "She started, um, she started her new job on Monday, and uh, she likes it a lot.", 1.0,
            speed=0.95,
            clean="She started her new job on Monday, and she likes it a lot."),
)  # fmt: skip


def engine_command(snippet: Snippet, wav: Path) -> list[str]:
    """The command that speaks the text into a file."""
    if snippet.engine == "flite":
        stretch = f"duration_stretch={snippet.pace}"
        return ["flite", "-voice", snippet.voice, "--setf", stretch,
                "-t", snippet.text, "-o", str(wav)]  # fmt: skip
    return ["espeak-ng", "-v", snippet.voice, "-s", f"{snippet.pace:.0f}",
            "-w", str(wav), snippet.text]  # fmt: skip


def speak(snippet: Snippet, folder: Path) -> tuple[Samples, int]:
    """Raw synthesis, at the rate the engine chose."""
    wav = folder / "raw.wav"
    subprocess.run(engine_command(snippet, wav), check=True, capture_output=True)
    samples, rate = sf.read(wav, dtype="float64")
    return samples, rate


def pink_noise(count: int, name: str) -> Samples:
    """Noise that falls with frequency, as street and room noise does.

    The seed hangs on the file's name, so that a new snippet leaves the others as they are.
    """
    white = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(count)
    spectrum = np.fft.rfft(white)
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    noise: Samples = np.fft.irfft(spectrum, count)
    return noise


def add_noise(samples: Samples, snr_db: float, name: str) -> Samples:
    """Noise under the voice at a stated ratio of mean powers."""
    noise = pink_noise(len(samples), name)
    wanted = np.mean(samples**2) / 10 ** (snr_db / 10)
    gain = float(np.sqrt(wanted / np.mean(noise**2)))
    return samples + noise * gain


def treat(snippet: Snippet, samples: Samples, rate: int) -> NDArray[np.int16]:
    """Speed, rate, noise, level and channels, in that order, as 16-bit samples."""
    samples = soxr.resample(samples, rate * snippet.speed, snippet.rate)
    if snippet.snr_db is not None:
        samples = add_noise(samples, snippet.snr_db, snippet.name)
    samples = samples * (10 ** (snippet.peak_db / 20) / np.max(np.abs(samples)))
    if snippet.channels == 2:
        samples = np.column_stack([samples, samples * STEREO_RIGHT_GAIN])
    rounded: NDArray[np.int16] = np.round(samples * 32767).astype(np.int16)
    return rounded


def write_text(path: Path, text: str) -> None:
    """UTF-8 with LF on every system, so that the checksums hold."""
    path.write_text(text, encoding="utf-8", newline="\n")


def make_one(snippet: Snippet, folder: Path, scratch: Path) -> float:
    """Write one recording with its references; returns its length in seconds."""
    audio = folder / snippet.name
    audio.parent.mkdir(parents=True, exist_ok=True)
    samples = treat(snippet, *speak(snippet, scratch))
    sf.write(audio, samples, snippet.rate, subtype="PCM_16")
    write_text(audio.with_suffix(".txt"), snippet.text + "\n")
    if snippet.clean is not None:
        write_text(audio.with_suffix(".clean.txt"), snippet.clean + "\n")
    return len(samples) / snippet.rate


def checksums(folder: Path, names: list[str]) -> str:
    """The lines ``sha256sum --check`` reads."""
    lines = (f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    return "".join(lines)


def file_names(folder: Path) -> list[str]:
    """Every recording and reference below a folder, as sorted relative paths."""
    found = (p for p in folder.rglob("*") if p.suffix in {".wav", ".flac", ".txt"})
    return sorted(p.relative_to(folder).as_posix() for p in found)


def tool_versions() -> list[str]:
    """What the bytes depend on, one line each.

    The exit status is not looked at: flite ends with 1 after showing its version.
    """
    flite, espeak = (
        subprocess.run(
            [tool, "--version"], check=False, capture_output=True, encoding="utf-8"
        ).stdout
        for tool in ("flite", "espeak-ng")
    )
    return [
        flite.partition("version: ")[2].partition(" (")[0],
        espeak.partition("  Data at")[0],
        f"libsndfile {sf.__libsndfile_version__} (through soundfile {sf.__version__})",
        f"numpy {np.__version__}",
        f"soxr {soxr.__version__} (libsoxr {soxr.__libsoxr_version__})",
    ]


def table_row(snippet: Snippet, seconds: float) -> str:
    """One line of the table in README.md."""
    pace = f"stretch {snippet.pace:g}" if snippet.engine == "flite" else f"{snippet.pace:g} wpm"
    if snippet.speed != 1:
        pace += f", played at speed {snippet.speed:g}"
    rate = f"{snippet.rate} Hz{', stereo' if snippet.channels == 2 else ''}"
    noise = "none" if snippet.snr_db is None else f"{snippet.snr_db:g} dB SNR"
    voice = f"{snippet.engine} `{snippet.voice}`"
    cells = (f"`{snippet.name}`", f"{seconds:.1f}", voice, pace, rate, noise,
             f"{snippet.peak_db:g} dBFS")  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def readme(lengths: dict[str, float]) -> str:
    """README.md, from the same data as the recordings."""
    rows = "\n".join(table_row(s, lengths[s.name]) for s in SNIPPETS)
    versions = "\n".join(f"- {line}" for line in tool_versions())
    return f"""# Snippets

{len(SNIPPETS)} synthetic recordings, {sum(lengths.values()):.0f} seconds in all, each with what \
is said in `NAME.txt`.
Under `disfluent/`, `NAME.txt` is verbatim and `NAME.clean.txt` leaves out the "um", the "uh"
and the repeated words.

Synthetic voices are not people: scores on these files show that an engine works and how fast
it is, not how well it does on real recordings.

| File | Seconds | Voice | Pace | Rate | Noise | Peak |
| --- | --- | --- | --- | --- | --- | --- |
{rows}

All files hold 16-bit samples. The right channel of the stereo file is the left one at half
level. The noise is pink; its level is taken against the mean power of the whole clip, pauses
included. "Stretch" is flite's duration stretch: above 1 is slower.

## Remake and check

This file, `SHA256SUMS` and all recordings and references are written by a script, from the
sentences in it. It needs the Debian packages `flite` and `espeak-ng`, and `numpy`,
`soundfile` and `soxr` from pip.

    python scripts/make_snippets.py            # write snippets/
    python scripts/make_snippets.py --check    # remake them elsewhere and compare
    cd snippets && sha256sum --check SHA256SUMS

Other versions of the tools below may give other bytes: then `--check` names files that differ
although nothing is wrong with them.

## Licence

The sentences were written for this project and spoken by flite and espeak-ng. The files are
under the project's licence, Apache-2.0.

{VERSIONS_HEADING}

{versions}
"""


def make_all(folder: Path) -> None:
    """Everything in snippets/, written below ``folder``."""
    with tempfile.TemporaryDirectory() as scratch:
        lengths = {s.name: make_one(s, folder, Path(scratch)) for s in SNIPPETS}
    write_text(folder / "SHA256SUMS", checksums(folder, file_names(folder)))
    write_text(folder / "README.md", readme(lengths))


def comparable(path: Path) -> bytes:
    """A file's bytes; for README.md without the tool versions, which may rightly differ."""
    content = path.read_bytes()
    return content.partition(VERSIONS_HEADING.encode())[0] if path.suffix == ".md" else content


def verdict(name: str, made: Path, shipped: Path) -> str:
    """How one shipped file stands against the one just made."""
    if not (shipped / name).is_file():
        return "missing"
    if not (made / name).is_file():
        return "not made by this script"
    return "same" if comparable(made / name) == comparable(shipped / name) else "differs"


def check(made: Path, shipped: Path) -> bool:
    """Print a verdict for each file; true when all are the same."""
    names = sorted({*file_names(made), *file_names(shipped), "README.md", "SHA256SUMS"})
    verdicts = {name: verdict(name, made, shipped) for name in names}
    for name, word in verdicts.items():
        print(f"{word}: {name}")
    return set(verdicts.values()) == {"same"}


def install(made: Path, shipped: Path) -> None:
    """Copy over what was made; files of an earlier list are named, never deleted."""
    shutil.copytree(made, shipped, dirs_exist_ok=True)
    for name in sorted(set(file_names(shipped)) - set(file_names(made))):
        print(f"left over from before, remove it: {name}")


def main() -> int:
    """Command line; 0 fine, 1 something differs, 2 a speech engine is missing."""
    parser = argparse.ArgumentParser(description="Make the recordings in snippets/.")
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    checking = parser.parse_args().check
    missing = [package for tool, package in DEBIAN_PACKAGES.items() if not shutil.which(tool)]
    if missing:
        print(f"error: install the Debian packages: {' '.join(missing)}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "snippets"  # a temporary folder itself is closed to other users
        made.mkdir()
        make_all(made)
        if checking:
            return 0 if check(made, SHIPPED) else 1
        install(made, SHIPPED)
    return 0


if __name__ == "__main__":
    sys.exit(main())
