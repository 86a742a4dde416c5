"""Sessions of onnxruntime on one provider, with proof that their nodes run there.

onnxruntime falls back to the CPU silently: for a provider that it lacks, for one that fails, and
node by node for what a provider cannot do. get_providers() does not show the last. So the first two
are errors here, and the nodes are counted as the sessions were planned.
"""

from collections import Counter

import onnxruntime

CPU = "CPUExecutionProvider"
PROVIDERS = {"cpu": CPU, "directml": "DmlExecutionProvider"}


def open_session(file, device, threads):
    """A session for one .onnx file; RuntimeError says what is wrong with the file or the device."""
    provider = PROVIDERS[device]
    available = onnxruntime.get_available_providers()
    if provider not in available:
        raise RuntimeError(
            f"this env's onnxruntime {onnxruntime.__version__} has no {provider}, which {device} "
            f"needs; it has {', '.join(available)}"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if device == "directml":
        options.enable_mem_pattern = False  # DirectML does not know it
    # the CPU comes second: providers lack some kinds of nodes, and check_nodes() counts them
    providers = list(dict.fromkeys([provider, CPU]))
    try:
        return onnxruntime.InferenceSession(
            file, sess_options=options, providers=providers, enable_fallback=0
        )
    except Exception as error:
        raise RuntimeError(f"onnxruntime cannot load {file} for {device}: {error}") from error


def node_counts(sessions):
    """How many nodes run on which provider, those inside branches too."""
    counts = Counter()
    for session in sessions:
        for part in session.get_provider_graph_assignment_info():
            counts[part.ep_name] += len(part.get_nodes())
    return counts


def check_nodes(sessions, device):
    """How many nodes run where, as details; RuntimeError unless most run on the device."""
    counts = node_counts(sessions)
    own, total = counts[PROVIDERS[device]], sum(counts.values())
    if 2 * own <= total:
        where = ", ".join(f"{count} on {name}" for name, count in counts.most_common())
        raise RuntimeError(
            f"only {own} of {total} nodes would run on {device} ({where or 'none anywhere'}): "
            "a time for it would be that of the CPU"
        )
    return {f"nodes_{name}": counts[provider] for name, provider in PROVIDERS.items()}


def precision(sessions):
    """float32, or quantised if any node computes with less."""
    kinds = {
        node.op_type
        for session in sessions
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    }
    words = ("Integer", "Quantize", "QLinear", "NBits")
    less = any(word in kind for kind in kinds for word in words)
    return "quantised" if less else "float32"
