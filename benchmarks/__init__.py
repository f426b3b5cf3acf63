"""Measure networks the way a device meets them: one frame at a time, interleaved, with the tail.

* :mod:`.complexity`: parameters and multiply-accumulates.
* :mod:`.settings`: how long, how many, how many threads.
* :mod:`.networks`: networks by name, their ONNX and cost.
* :mod:`.rows`: which network in which backend, and the files that each row needs.
* :mod:`.worker`: the fresh process that each row runs in.
* :mod:`.interleave`: workers loaded at once, measured in turn.
* :mod:`.machine`: what it ran on.
* :mod:`.protocol`: what makes a measurement valid.
* :mod:`.bench`: a whole run, from the bundle to the result.
* :mod:`.training`: the same for trainings; :mod:`.steps`: the process that trains.
* :mod:`.result`: the JSON that a run leaves, and its verdict.
* :mod:`.report`: the table and the figure made from it.
"""
