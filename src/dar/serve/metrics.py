"""Metrics for Prometheus; names are vLLM's, with dar: before them."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from dar.serve.engine import Engine
from dar.serve.jobs import Cancelled, Event, Failed, Finished, Previewed, Started

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Metrics:
    """What one engine has done; a registry of its own, so that several can live in one process.

    Args:
        engine: whose slots and queue are told.
    """

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        for name, about, value in (
            ("dar:num_requests_running", "Images that have a slot.", lambda: engine.running),
            ("dar:num_requests_waiting", "Images that wait for a slot.", lambda: engine.waiting),
            ("dar:num_slots", "Slots that there are.", lambda: engine.slots),
        ):
            Gauge(name, about, registry=self._registry).set_function(value)
        self.latency = self._histogram("dar:e2e_request_latency_seconds", "From acceptance to the finished image.")
        self.first_preview = self._histogram(
            "dar:time_to_first_preview_seconds", "From acceptance to the first preview."
        )
        self.queueing = self._histogram("dar:request_queue_time_seconds", "From acceptance to a slot.")
        self.ended = Counter(
            "dar:requests_success", "Images by how they ended.", ["finished_reason"], registry=self._registry
        )
        self._rejections = Counter(
            "dar:admission_rejections", "Requests that were refused.", ["reason"], registry=self._registry
        )

    def _histogram(self, name: str, about: str) -> Histogram:
        return Histogram(name, about, registry=self._registry, buckets=SECONDS)

    def rejected(self, reason: str) -> None:
        """Count a request that was not accepted."""
        self._rejections.labels(reason).inc()

    def job(self) -> "JobMetrics":
        """Begin to measure a job."""
        return JobMetrics(self)

    def text(self) -> bytes:
        """Format all as Prometheus reads it."""
        return generate_latest(self._registry)


class JobMetrics:
    """Measures one job from its acceptance, by its events."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics, self._accepted, self._previewed = metrics, time.monotonic(), False

    def note(self, event: Event) -> None:
        """Note an event when it happens."""
        seconds, metrics = time.monotonic() - self._accepted, self._metrics
        match event:
            case Started():
                metrics.queueing.observe(seconds)
            case Previewed() if not self._previewed:
                self._previewed = True
                metrics.first_preview.observe(seconds)
            case Finished():
                metrics.latency.observe(seconds)
                metrics.ended.labels("stop").inc()
            case Failed():
                metrics.ended.labels("error").inc()
            case Cancelled():
                metrics.ended.labels("abort").inc()
