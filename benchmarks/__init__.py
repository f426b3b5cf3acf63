"""Measure networks the way a device meets them: one frame at a time, interleaved, with the tail.

* :mod:`.settings`: how long, how many, how many threads, in which rhythm.
* :mod:`.protocol`: what makes a measurement valid, and what its frames prove.
* :mod:`.networks`, :mod:`.foreign`: networks by name and by file, ours and others'; :mod:`.peer`
  makes such files from others' code.
* :mod:`.rows`: which network in which backend, and the files that each row needs.
* :mod:`.worker`: the fresh process that each row runs in.
* :mod:`.interleave`: workers loaded at once, measured in turn; :mod:`.burn` loads beside.
* :mod:`.machine`, :mod:`.device`, :mod:`.jetson`, :mod:`.nvidia`: what it ran on, and its state.
* :mod:`.complexity`, :mod:`.roofline`, :mod:`.layers`: why it is as fast as it is.
* :mod:`.accuracy`: how good it is; :mod:`.temporal`: how calm from frame to frame.
* :mod:`.bench`: a whole run, from the bundle to the result; :mod:`.remote` elsewhere.
* :mod:`.training`: the same for trainings; :mod:`.steps`: the process that trains.
* :mod:`.result`: the JSON that a run leaves, and its verdict; ``result.schema.json`` its schema.
* :mod:`.report`, :mod:`.page`, :mod:`.charts`: tables, Markdown, page and figures made from it.
* :mod:`.compare`: two results, and whether the second is worse.
"""
