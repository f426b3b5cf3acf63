"""Studies: a grid of trainings (variants x folds x seeds), its rows, and what they prove.

* :mod:`.settings`: the study file.
* :mod:`.plan`: the runs that it asks for, each with its complete settings.
* :mod:`.rows`: one JSON file a finished run.
* :mod:`.run`, :mod:`.cluster`: doing the runs that are missing, here or over machines.
* :mod:`.report`, :mod:`.text`, :mod:`.plot`: figures, tests and verdicts from rows alone.
"""
