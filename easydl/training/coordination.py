"""How long TensorFlow waits at its start for the other workers: by itself an hour, which cannot be said in public.

Holds for TensorFlow 2.21; a test fails where a later version has another name for it.
"""

from __future__ import annotations

from tensorflow.python.eager import context

START_S = 120.0
"""All have met, with TensorFlow imported: what is left is to open the GPUs, which may take half a minute where their driver was asleep."""


def start_within(count: int, seconds: float) -> None:
    """Let the strategy of ``count`` workers fail, with the missing one named, where not all have begun after so many seconds.

    It has to be called before the strategy is made.
    """
    jobs = [context.coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=count)]
    own = context.context()
    own.configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=round(1000 * seconds),
        coordinated_jobs=jobs,
    )
    # Else the limit holds for the way to the first worker alone, and the first waits for the others without any.
    own.coordination_service.cluster_register_with_barrier = True
