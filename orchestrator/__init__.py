"""The controller of asrbench. Its words, used everywhere and without synonyms:

stack        a folder in envs/: dependencies, lock, Python range, accelerators, and its models
accelerator  cpu, cuda, rocm, directml, vulkan or mps
env          the virtualenv built from one stack for one accelerator
model        a named entry of a stack: checkpoint, revision, options
worker       the Python module that drives one model family inside an env
host         the process around a worker: claims the pipes, reads requests, calls the worker
snippet      one recording with its reference; the model's text is the hypothesis
run          one `orchestrate`, with one folder in results/
attempt      one try of one model on one snippet
outcome      ok, failed (the code raised), crashed (the process died), out_of_memory, timed_out,
             protocol_error
phase        where it ended: env, download, spawn, load, decode (the recording itself is broken),
             transcribe, shutdown
RTF, RTFx    time / audio, audio / time
"""

__version__ = "0.1.0"
