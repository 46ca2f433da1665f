"""Chunks of work on the machines of a Ray cluster: the other way to spread what `medvlp.data.parallel` runs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from medvlp.core.errors import UserError
from medvlp.core.installed import needs

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")

_held: dict[Any, Any] = {}  # in a worker: what all its calls share


def start_ray() -> Any:  # noqa: ANN401 (a module without types)
    """Return Ray, joined to the cluster that is found; one is started on this machine where none is.

    Raises:
        UserError: if Ray is not installed, does not start, or the cluster that RAY_ADDRESS names is not found.
    """
    needs("scale", "ray")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if not ray.is_initialized():
        try:
            ray.init(include_dashboard=False, log_to_driver=False, configure_logging=False)
        except Exception as error:  # a plain one where a start takes too long
            why = f"Ray did not start ({str(error).partition('. ')[0]}): see that RAY_ADDRESS"
            raise UserError(f"{why} names a running cluster, or unset it, and start again.") from None
    return ray


def over_ray(work: Callable[[S, T], R], shared: S, chunks: Sequence[T]) -> Iterator[R]:
    """Yield ``work(shared, chunk)`` for each chunk, in order, each a task that takes one core of the cluster.

    What is shared is sent to each machine once and read by each worker once. A chunk whose worker died is given to
    another, three times. Four chunks a core wait at most.

    Raises:
        UserError: if Ray is not installed, or a chunk ended its worker each time.
    """
    ray = start_ray()
    put = ray.put(shared)
    task = ray.remote(num_cpus=1, max_retries=3)(_call)
    most = 4 * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting: deque[Any] = deque()
    try:
        for chunk in chunks:
            waiting.append(task.remote(work, [put], chunk))
            if len(waiting) >= most:
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise UserError(
            f"The Ray cluster gave up a piece of the work ({type(error).__name__}), probably for want of memory: start "
            "again with more memory for each core; what was finished is kept."
        ) from None


def _call(work: Callable[[S, T], R], put: list[Any], chunk: T) -> R:
    # Ray would read what is given to a task itself, and not within a list, at each call: a million paths for 16 files.
    import ray

    if put[0] not in _held:
        _held.clear()
        _held[put[0]] = ray.get(put[0])
    with threadpool_limits(1, user_api="blas"):
        return work(_held[put[0]], chunk)
