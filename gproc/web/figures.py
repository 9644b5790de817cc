"""The tree and its jobs as figures, in the text format of Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from gproc.client.tree import NODE_STATES
from gproc.client.watching import Look
from gproc.wire.tree_rows import MasterCounts

TRANSFER_KINDS = ("program", "cp", "get")
JOB_STATES = ("running", "ending", "ended", "lost")


class _OneLook(Collector):
    def __init__(self, look: Look) -> None:
        self._look = look

    def collect(self) -> Iterator[Metric]:
        tree = self._look.tree
        yield GaugeMetricFamily("gproc_master_up", "1 if the master answers.", value=float(tree is not None))
        if tree is None:
            return
        yield GaugeMetricFamily(
            "gproc_master_start_time_seconds", "When the master began, in Unix time.", value=tree.since_s
        )
        nodes: Counter[str] = Counter(node.state for node in tree.nodes)
        by_state = GaugeMetricFamily("gproc_nodes", "Nodes by state.", labels=["state"])
        for state in NODE_STATES:
            by_state.add_metric([state], nodes[state])
        yield by_state
        jobs: Counter[str] = Counter(job.state for job in self._look.jobs)
        jobs_by_state = GaugeMetricFamily("gproc_jobs", "Jobs on record, by state.", labels=["state"])
        for job_state in JOB_STATES:
            jobs_by_state.add_metric([job_state], jobs[job_state])
        yield jobs_by_state
        ways: Counter[str] = Counter(job.transfer.kind for job in self._look.jobs if job.transfer)
        here: Counter[str] = Counter()
        for job in self._look.jobs:
            if job.transfer:
                here[job.transfer.kind] += job.transfer.bytes
        running_ways = GaugeMetricFamily("gproc_transfers", "Large transfers that run, by kind.", labels=["kind"])
        way_bytes = GaugeMetricFamily(
            "gproc_transfers_bytes", "Bytes of these that have come, on all nodes together.", labels=["kind"]
        )
        for kind in TRANSFER_KINDS:
            running_ways.add_metric([kind], ways[kind])
            way_bytes.add_metric([kind], here[kind])
        yield running_ways
        yield way_bytes
        failed = sum(1 for job in self._look.jobs if job.returncode)
        yield GaugeMetricFamily("gproc_jobs_failed", "Jobs on record that did not end with status 0.", value=failed)
        load = GaugeMetricFamily("gproc_node_load1", "Load average of a node over a minute.", labels=["node", "host"])
        running = GaugeMetricFamily("gproc_node_jobs", "Jobs that run on a node.", labels=["node", "host"])
        for node in tree.nodes:
            running.add_metric([node.node, node.host], node.jobs)
            if node.load is not None:
                load.add_metric([node.node, node.host], node.load)
        yield load
        yield running
        if tree.counts is not None:
            yield from _counters(tree.counts)


def _counters(counts: MasterCounts) -> Iterator[Metric]:
    yield CounterMetricFamily("gproc_jobs_begun", "Jobs that began.", value=counts.jobs)
    yield CounterMetricFamily("gproc_jobs_refused", "Requests for jobs that did not begin.", value=counts.refused)
    yield CounterMetricFamily("gproc_jobs_with_program", "Jobs that had something to send.", value=counts.programs)
    yield SummaryMetricFamily(
        "gproc_transfer_seconds", "Programs and files that the master had to fetch from a client.",
        count_value=counts.transfers, sum_value=counts.transfer_s,
    )  # fmt: skip
    yield CounterMetricFamily("gproc_faults", "Faults of nodes.", value=counts.faults)
    traffic = CounterMetricFamily(
        "gproc_bytes", "Bytes of the master's connections, without TLS.", labels=["peer", "direction"]
    )
    traffic.add_metric(["client", "received"], counts.from_clients_bytes)
    traffic.add_metric(["client", "sent"], counts.to_clients_bytes)
    traffic.add_metric(["node", "received"], counts.from_nodes_bytes)
    traffic.add_metric(["node", "sent"], counts.to_nodes_bytes)
    yield traffic


def text_of(look: Look) -> bytes:
    registry = CollectorRegistry()
    registry.register(_OneLook(look))
    return generate_latest(registry)
