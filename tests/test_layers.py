"""Who imports whom, read from the source: imports inside functions count like any other."""

from __future__ import annotations

import ast
import sys
import tomllib

import pytest
from conftest import ROOT

from orchestrator import cli

# Top to bottom; a module imports only what stands below its own line. A package stands for all
# of its modules but those that are named themselves; inside one line only cycles are forbidden.
LAYERS = """
orchestrator.__main__
orchestrator.cli
orchestrator.run
orchestrator.doctor
orchestrator.selftest
orchestrator.reports
orchestrator.journal
orchestrator.views
orchestrator.machine
orchestrator.environments
orchestrator.accelerators
orchestrator.hub
orchestrator.checkpoint_files
orchestrator.checkpoints
orchestrator.checkpoint_record
orchestrator.checkpoint_weights
orchestrator.stacks
orchestrator.stack_file
orchestrator.worker_options
orchestrator.remote_code
orchestrator.supervisor
orchestrator.snippets
orchestrator.audio
orchestrator.scoring
orchestrator.interference
orchestrator.platforms
orchestrator.interruptions
orchestrator.paths
orchestrator.files
orchestrator.errors
orchestrator
schemas.records
schemas.messages
schemas.framing
""".split()

MODEL_LIBRARIES = set(
    "torch torchaudio transformers pocketsphinx onnxruntime onnx_asr pywhispercpp faster_whisper "
    "whisper ctranslate2 moonshine_onnx useful_moonshine_onnx moonshine_voice peft accelerate "
    "mistral_common nemo sherpa_onnx vosk tensorflow jax mlx llama_cpp librosa "
    "safetensors tokenizers sentencepiece qwen_asr optimum openvino".split()
)
ONLY_IN = {
    "httpx2": {"orchestrator.hub.client", "orchestrator.hub.problems"},
    "huggingface_hub": {"orchestrator.hub.client", "orchestrator.hub.problems"},
    "jiwer": {"orchestrator.scoring"},
    "pynvml": {"orchestrator.platforms.devices.nvml"},
    "whisper_normalizer": {"orchestrator.scoring"},
    "uv": {"orchestrator.environments.uv"},
    "soundfile": {"orchestrator.audio.decode"},
}
# the host's own, which may branch on the platform: the controller's platforms/ cannot help there
HOST_MODULES = tuple(
    f"workers.{name}" for name in ("host", "contract", "lifeline", "origins", "seclusion")
)
OWN = ("orchestrator", "schemas", "workers")


def _name(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name(file): file for top in OWN for file in sorted((ROOT / top).rglob("*.py"))}
TREES = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in FILES.items()}


def _imports(name):
    found = set()
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in FILES else node.module)
    return found


IMPORTS = {name: _imports(name) for name in FILES}


def _layer(name):
    while name not in LAYERS:
        assert "." in name, "a module has no layer"
        name = name.rpartition(".")[0]
    return LAYERS.index(name)


def _tops(name):
    return {imported.partition(".")[0] for imported in IMPORTS[name]}


def _below(top):
    return [name for name in FILES if name.partition(".")[0] == top]


def test_every_line_of_the_layers_is_a_module():
    assert set(LAYERS) <= set(FILES)
    assert len(LAYERS) == len(set(LAYERS))


@pytest.mark.parametrize("name", [*_below("orchestrator"), *_below("schemas")])
def test_imports_go_downwards(name):
    if name == "schemas":  # nothing but a name
        assert not IMPORTS[name]
        return
    for imported in IMPORTS[name] & set(FILES):
        own, other = _layer(name), _layer(imported)
        assert own <= other, f"{name} imports {imported}, which stands above it"


def test_there_is_no_cycle():
    left = {name: IMPORTS[name] & set(FILES) for name in FILES}
    while free := [name for name, needs in left.items() if not needs & set(left)]:
        for name in free:
            del left[name]
    assert not left


def test_a_top_level_module_has_a_layer_of_its_own():
    for name in _below("orchestrator"):
        if name.count(".") == 1:
            assert name in LAYERS


def test_every_module_is_reached_from_an_entry_point():
    worker_modules = {
        "workers." + tomllib.loads(file.read_text(encoding="utf-8"))["tool"]["asrbench"]["worker"]
        for file in [
            *(ROOT / "envs").glob("*/pyproject.toml"),
            *(ROOT / "examples").glob("*/pyproject.toml"),
            ROOT / "orchestrator" / "selftest" / "probe" / "pyproject.toml",
        ]
    }
    commands = {f"orchestrator.cli.{command}" for command in cli.COMMANDS}
    assert commands <= set(FILES)
    programs = {"orchestrator.__main__", "workers.host", "workers.seclusion"}
    programs.add("orchestrator.environments.compile_inside")  # by an env's Python
    waiting = [*worker_modules, *commands, *programs]
    reached = set()
    while waiting:
        name = waiting.pop()
        if name in FILES and name not in reached:
            reached.add(name)
            waiting += [*IMPORTS[name], name.rpartition(".")[0]]
    assert set(FILES) - reached == set()


@pytest.mark.parametrize("name", ["schemas", "schemas.messages", "schemas.framing"])
def test_the_wire_needs_msgpack_and_nothing_else(name):
    assert _tops(name) <= set(sys.stdlib_module_names) | {"msgpack"}


@pytest.mark.parametrize("name", _below("workers"))
def test_a_worker_needs_nothing_of_the_controller(name):
    assert not _tops(name) & {"orchestrator", "pydantic", "pydantic_core"}
    if name in HOST_MODULES:
        allowed = {"schemas", "workers", "numpy", "msgpack"} | set(sys.stdlib_module_names)
        assert _tops(name) <= allowed
        assert "schemas.records" not in IMPORTS[name]
    else:
        # families share files of workers/, and know nothing of the host
        assert "schemas" not in _tops(name)
        assert not IMPORTS[name] & {"workers", "workers.audio_buffer", *HOST_MODULES}


@pytest.mark.parametrize("name", [*_below("orchestrator"), *_below("schemas")])
def test_the_controller_imports_no_worker_and_no_model_library(name):
    assert not _tops(name) & (MODEL_LIBRARIES | {"workers"})


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_has_one_place(library):
    assert {name for name in FILES if library in _tops(name)} == ONLY_IN[library]


def test_only_the_command_line_and_the_host_import_by_name():
    found = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if ast.unparse(node) in ("importlib.import_module", "import_module", "__import__")
    }
    assert found == {"orchestrator.cli", "workers.host"}


def _branches_on_the_platform(node):
    """A comparison or a startswith() of what names the operating system; a mere value is none."""
    if isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        parts = [node.func.value] if node.func.attr in ("startswith", "endswith") else []
    elif isinstance(node, ast.Match):
        parts = [node.subject]
    else:
        parts = []
    names = {"sys.platform", "os.name", "platform.system()"}
    return any(ast.unparse(part) in names for part in parts)


@pytest.mark.parametrize("name", FILES)
def test_branches_on_the_platform_stay_in_their_place(name):
    if name.startswith("orchestrator.platforms") or name in HOST_MODULES:
        return
    places = [node for node in ast.walk(TREES[name]) if _branches_on_the_platform(node)]
    assert not places, [node.lineno for node in places]
    froms = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.ImportFrom)]
    taken = {(node.module, alias.name) for node in froms for alias in node.names}
    assert not taken & {("sys", "platform"), ("os", "name"), ("platform", "system")}


def test_the_check_of_branches_sees_the_ones_that_are_there():
    found = {
        name for name, tree in TREES.items() if any(map(_branches_on_the_platform, ast.walk(tree)))
    }
    assert {"workers.host", "workers.lifeline", "orchestrator.platforms"} <= found
