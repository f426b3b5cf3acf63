"""Doing a study over processes, GPUs and machines: Ray holds the queue (extra ``ray``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from edge_bts.errors import EdgeBtsError
from edge_bts.trainers.study.rows import StudyRow
from edge_bts.trainers.study.run import Job, Study, do

__all__ = ["run_on_ray"]


def run_on_ray(study: Study, address: str) -> Iterator[StudyRow]:
    """Do what is missing as Ray tasks and yield each row as it comes; teachers before students.

    A run takes ``loop.devices`` GPUs where the cluster has any and its settings do not say cpu,
    else one CPU core. Several machines must see the data and the study's folder under the same
    paths, and have the same edge-bts.

    Args:
        study: Claimed.
        address: ``local`` starts Ray on this machine, ``auto`` joins the one that runs here,
            else the address of a cluster.

    Raises:
        EdgeBtsError: What ended a run, after which no new one is begun.
    """
    # Nothing that runs here reports over the network.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    own: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    ray.init(address=address, log_to_driver=False, logging_level="warning", **own)
    try:
        task = ray.remote(_do)
        gpus = ray.cluster_resources().get("GPU", 0)
        waiting: dict[str, Any] = {}
        for run in study.missing():
            loop = run.settings.loop
            on_gpu = bool(gpus) and loop.device != "cpu"
            needs = {"num_gpus": loop.devices} if on_gpu else {"num_cpus": loop.devices}
            first = [waiting[origin.name] for origin in run.before() if origin.name in waiting]
            waiting[run.name] = task.options(**needs).remote(study.job(run), *first)
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


def _do(job: Job, *first: StudyRow) -> StudyRow:
    """:func:`do`, once the runs of ``first`` are done: Ray waits for arguments."""
    del first
    return do(job)
