"""What went wrong with a model that is checked, in one line, and what to do next."""

from __future__ import annotations

import re
from dataclasses import dataclass

import psutil

from orchestrator.accelerators import Way
from orchestrator.checkpoint_files import size_words
from orchestrator.errors import AsrbenchError, EnvError, StackError
from orchestrator.platforms import quoted
from orchestrator.run.check_steps import CheckpointFound, Trouble
from orchestrator.run.device_loss import lost_device
from orchestrator.run.jobs import ModelJob
from orchestrator.run.options import RunOptions
from orchestrator.supervisor.channel import WorkerFault
from schemas.records import MemoryPeak, Phase

_WRONG_OPTION = re.compile(r"TypeError: (load|transcribe(_batch)?)\(\) in .+ \(options: .*\)")
_NOT_IMPORTED = re.compile(r"(ModuleNotFound|Import)Error: ")
LONGER = 4  # times the limit that was too short


@dataclass(frozen=True)
class Circumstances:
    """What advice on one model depends on."""

    job: ModelJob
    options: RunOptions
    way: Way | None = None  # None: the stack has none that works here
    others: tuple[Way, ...] = ()  # which a run would go on with

    def command(self, *words: str) -> str:
        """A command of asrbench as it has to be typed here, with the stacks that were given."""
        stacks = [word for folder in self.options.stacks for word in ("--stacks", str(folder))]
        return quoted(["asrbench", *words, *stacks])

    def check(self, *words: str) -> str:
        """This check, otherwise."""
        given = self.options.checkpoints.get(self.job.model.name)
        checkpoint = ["--checkpoint", str(given)] if given else []
        kept = [] if "--accelerator" in words else self._asked()
        return self.command("models", "check", self.job.model.name, *checkpoint, *kept, *words)

    def rebuild(self) -> str:
        """The env anew."""
        return self.command("env", "rebuild", self.job.stack.name, *self._asked())

    def _asked(self) -> list[str]:
        asked = self.options.accelerator
        return [] if asked == "auto" else ["--accelerator", asked]


def of_env(error: AsrbenchError, here: Circumstances) -> Trouble:
    """No env: nothing that works here was found, its files are wrong, or it cannot be built."""
    text = str(error)
    if isinstance(error, EnvError) and error.log_tail:
        text = text.removesuffix(error.log_tail) + error.log_tail.partition("\n")[0]
    asked, stack = here.options.accelerator, here.job.stack
    if asked not in ("auto", *stack.accelerators):
        tips = [f"try it as the stack would: {here.check('--accelerator', 'auto')}"]
    elif here.way is None:
        tips = [f"see what this machine has, and what is missing: {here.command('doctor')}"]
    elif _WRONG_OPTION.search(_line(text)):
        tips = [_options_tip(here)]
    elif isinstance(error, StackError):
        lock = here.command("env", "lock", stack.name)
        tips = [f"mend the stack's files; a new lock: {lock}"]
    else:
        tips = [f"mend that, then: {here.rebuild()}", *_elsewhere(here)]
    return Trouble(_line(text), "; or ".join(tips), whole=str(error))


def of_checkpoint(here: Circumstances) -> Trouble:
    """Its files are not here."""
    checkpoint, name = here.job.checkpoint, here.job.model.name
    download = f"get it: {here.command('models', 'download', name)}"
    return Trouble(f"{checkpoint.problem}", f"{download}, or name a copy: --checkpoint PATH")


def of_fault(
    fault: WorkerFault,
    phase: Phase,
    peak: MemoryPeak | None,
    files: CheckpointFound,
    here: Circumstances,
) -> Trouble:
    """What a worker did not survive, or what its code raised. peak: of its memory until then."""
    # of one that died, what follows the first line are the last lines of its log
    what = _line(fault.message if fault.alive else fault.message.partition("\n")[0])
    if fault.outcome == "out_of_memory":
        what += f"; {_memory_words(peak)}"
        tips = ["close other programs, or take a smaller model", *_elsewhere(here)]
    elif fault.outcome == "timed_out":
        tips = [f"give it longer, if it is only slow: {here.check(*_longer(phase, here.options))}"]
        broken = [f"is its env broken? {here.rebuild()}"]
        tips += broken if phase == "spawn" else _elsewhere(here)
    elif _WRONG_OPTION.match(what):
        tips = [_options_tip(here)]
    elif phase == "spawn" or _NOT_IMPORTED.match(what):
        tips = [f"is its env broken? {here.rebuild()}"]
    else:
        tips = [*_elsewhere(here, what), *_of_files(files, here)]
        model = here.job.model
        if any(name in what for name in (*model.options, *model.transcribe_options)):
            tips.append(_options_tip(here))
    return Trouble(what, "; or ".join(tips), fault.outcome, fault.message)


def of_recording(error: AsrbenchError) -> Trouble:
    """The shipped recording is broken, which is no fault of the model."""
    return Trouble(str(error), "install asrbench again: this recording comes with it")


def _options_tip(here: Circumstances) -> str:
    show = here.command("models", "show", here.job.model.name)
    return f"are its options in {here.job.stack.folder / 'pyproject.toml'} right? {show}"


def _of_files(files: CheckpointFound, here: Circumstances) -> list[str]:
    name = here.job.model.name
    if files.proof == "given":
        return [f"is {files.path} whole, and of this model? asrbench cannot know"]
    if files.proof == "verified":
        return [f"are its files still whole? {here.command('models', 'verify', name)}"]
    if files.proof == "unverified":
        return [f"are its files whole? {here.command('models', 'download', name)}"]
    return [f"look at {here.job.stack.worker_file}; or is its env broken? {here.rebuild()}"]


def _elsewhere(here: Circumstances, what: str = "") -> list[str]:
    """The next of its accelerators, as a run would take it."""
    if here.others:
        following = here.others[0].accelerator
        return [f"try its next accelerator: {here.check('--accelerator', following)}"]
    accelerators = here.job.stack.accelerators
    if here.way and here.way.accelerator != "cpu" and "cpu" in accelerators:
        return [f"try the CPU: {here.check('--accelerator', 'cpu')}"]
    if lost_device(what):
        return [f"see what is in the way of the device: {here.command('doctor')}"]
    return []


def _longer(phase: Phase, options: RunOptions) -> list[str]:
    if phase in ("spawn", "load"):
        return ["--load-timeout", f"{options.load_timeout_s * LONGER:g}"]
    return ["--timeout", f"{options.timeout_s * LONGER:g}"]


def _memory_words(peak: MemoryPeak | None) -> str:
    memory = psutil.virtual_memory()
    here = f"this machine has {size_words(memory.total)}, {size_words(memory.available)} are free"
    return f"it took up to {size_words(peak.peak_bytes)}, {here}" if peak else here


def _line(text: str) -> str:
    return " ".join(text.split())
