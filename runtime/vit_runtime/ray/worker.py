"""What Ray gave to the worker that this process is."""

from __future__ import annotations

import sys


def assigned_cpus() -> int | None:
    """Counts the processors that Ray gave to this actor or task, at least 1; None outside of a Ray worker.

    Ray does not hold a worker to them: it is on the worker to take no more threads.
    """
    ray = sys.modules.get("ray")  # a worker has it; to any other program it would be a second of imports
    if ray is None or not ray.is_initialized():
        return None
    context = ray.get_runtime_context()
    if context.get_task_id() is None and context.get_actor_id() is None:  # the program that started the job
        return None
    return max(1, int(context.get_assigned_resources().get("CPU", 1)))
