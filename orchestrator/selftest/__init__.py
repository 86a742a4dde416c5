"""The self-test: a worker of known footprint and known deaths, measured as any model is.

probe      one footprint or one death
footprint  memory of a known size, held in one way that models hold theirs
truth      what the same work took with nothing in it, as reported, + the known size
reported   the peak that a run would publish: for the whole worker, and for the attempt
"""
