"""Code that comes with a checkpoint: all of it from there, and no copy of it outlives the worker.

To be imported before transformers, which reads the variable then.
"""

import json
import os
import tempfile

# in the worker's own folder: where transformers keeps copies as a rule, one of another checkpoint
# may lie under the same name
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="remote-code-")

NAMING_CODE = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
)


def check_code(folder):
    """Raises RuntimeError if it names code of another repository: nobody says which that is."""
    for name in NAMING_CODE:
        file = os.path.join(folder, name)
        if os.path.isfile(file):
            with open(file, encoding="utf-8") as content:
                named = json.load(content).get("auto_map") or {}
            elsewhere = sorted(key for key, where in named.items() if "--" in str(where))
            if elsewhere:
                raise RuntimeError(
                    f"{file} takes {', '.join(elsewhere)} from another repository, whose code no "
                    "revision pins; put its files into the checkpoint"
                )
