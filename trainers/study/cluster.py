"""Doing a study over processes, GPUs and machines: Ray holds the queue (extra ``ray``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from edge_bts.errors import EdgeBtsError, InputError
from edge_bts.trainers.settings import LoopSettings
from edge_bts.trainers.study.rows import StudyRow
from edge_bts.trainers.study.run import Job, Study, do

__all__ = ["needs", "run_on_ray"]


def run_on_ray(study: Study, address: str, share: int = 1) -> Iterator[StudyRow]:
    """Do what is missing as Ray tasks and yield each row as it comes; teachers before students.

    Several machines must see the data and the study's folder under the same paths, and have the
    same edge-bts.

    Args:
        study: Claimed.
        address: ``local`` starts Ray on this machine, ``auto`` joins the one that runs here,
            else the address of a cluster.
        share: Runs that share a GPU, see :func:`needs`.

    Raises:
        InputError: ``share`` with runs that take several GPUs each.
        EdgeBtsError: What ended a run, after which no new one is begun.
    """
    # Nothing that runs here reports over the network.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    todo = study.missing()
    wanted = {run.name: needs(run.settings.loop, share) for run in todo}
    own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    ray.init(address=address, log_to_driver=False, logging_level="warning", **own)
    try:
        task = ray.remote(_do)
        gpus = ray.cluster_resources().get("GPU", 0)
        waiting: dict[str, Any] = {}
        for run in todo:
            on_gpu, on_cpu = wanted[run.name]
            options = on_gpu if gpus and run.settings.loop.device != "cpu" else on_cpu
            first = [waiting[origin.name] for origin in run.before() if origin.name in waiting]
            waiting[run.name] = task.options(**options).remote(study.job(run), *first)
        left = list(waiting.values())
        while left:
            (ready,), left = ray.wait(left)
            try:
                row: StudyRow = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, EdgeBtsError):
                    raise error.cause from None
                raise
            study.rows[row.name] = row
            yield row
    finally:
        ray.shutdown()


def needs(loop: LoopSettings, share: int = 1) -> tuple[dict[str, float], dict[str, float]]:
    """Return what Ray shall keep for a run: ``loop.devices`` GPUs and a core, or as many cores.

    With ``share`` above 1 that many runs lie on one GPU, which a student alone does not fill: its
    steps wait for the core that launches them. NVIDIA's MPS must have been started, or they take
    turns.

    Raises:
        InputError: ``share`` is below 1, or above 1 with a run of several GPUs.
    """
    if share < 1 or (share > 1 and loop.devices > 1):
        raise InputError(
            "Expected runs of one GPU each to share one, at least 1 of them, but got share "
            f"{share} and loop.devices={loop.devices}; set one of them to 1."
        )
    return {"num_gpus": loop.devices / share, "num_cpus": 1}, {"num_cpus": loop.devices}


def _do(job: Job, *first: StudyRow) -> StudyRow:
    """:func:`do`, once the runs of ``first`` are done: Ray waits for arguments."""
    del first
    return do(job)
