"""Workers that were heard of lately, and what they said of themselves."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from app.workers.seen import live_workers


class WorkerCollector(Collector):
    """As each worker's last beat has it, which is some seconds old."""

    def collect(self) -> Iterator[Metric]:
        """One short read. A machine without a GPU, or whose GPU is idle, has no series of one."""
        beats = live_workers()
        number = GaugeMetricFamily("dfad_workers", "Workers that were heard of lately.")
        number.add_metric((), len(beats))
        held = GaugeMetricFamily(
            "dfad_worker_runner_memory_bytes",
            "What a worker's runner holds; 0: none runs.",
            labels=("worker",),
        )
        text = "Memory in use on a runner's GPU, whoever uses it."
        used = GaugeMetricFamily("dfad_worker_gpu_memory_used_bytes", text, labels=("worker", "gpu"))
        text = "Memory of a runner's GPU."
        total = GaugeMetricFamily("dfad_worker_gpu_memory_total_bytes", text, labels=("worker", "gpu"))
        for beat in beats:
            report = beat.report
            worker = f"{report.host}:{'?' if report.pid is None else report.pid}"
            held.add_metric((worker,), report.runner_bytes)
            if report.gpu is not None:
                used.add_metric((worker, report.gpu.name), report.gpu.used_bytes)
                total.add_metric((worker, report.gpu.name), report.gpu.total_bytes)
        yield from (number, held, used, total)
