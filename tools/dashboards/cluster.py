"""What the dashboard of a cluster shows. A node is a pod."""

from __future__ import annotations

from tools.dashboards.form import Dashboard, Panel, Row, Variable, lines, number

#: What queries choose: the cluster's pods, or the whole of it, for what its head alone tells.
PODS = 'job="manta",namespace="$namespace",manta_cluster="$cluster",pod=~"$pod"'
ALL = 'job="manta",namespace="$namespace",manta_cluster="$cluster"'

#: Resources that have no panel of their own, and parts of the object store that do not overlap.
OTHERS = 'resource!~"CPU|memory|object_store_memory",state="used"'
STATES = 'state=~"capacity|pinned|evictable|unsealed|lent"'


def _rate(metric: str, by: str, chosen: str = PODS) -> str:
    return f"sum by ({by}) (rate({metric}{{{chosen}}}[$__rate_interval]))"


def _sum(metric: str, by: str, more: str = "") -> str:
    chosen = f"{PODS},{more}" if more else PODS
    return f"sum by ({by}) ({metric}{{{chosen}}})"


def _share(metric: str, used: str, total: str) -> str:
    return f"sum({metric}{{{PODS},{used}}}) / sum({metric}{{{PODS},{total}}})"


def _quantiles(title: str, metric: str, about: str = "", chosen: str = PODS) -> Panel:
    queries = tuple(
        (f"histogram_quantile({share}, {_rate(f'{metric}_bucket', 'le', chosen)})", name)
        for share, name in (("0.5", "p50"), ("0.95", "p95"), ("0.99", "p99"))
    )
    return Panel(title, queries, "s", about)


NOW = Row(
    "Now",
    (
        number("Nodes", f'sum(manta_nodes{{{ALL},state="ALIVE"}})', about="That are alive, for control."),
        number(
            "CPUs taken",
            _share("manta_resources", 'resource="CPU",state="used"', 'resource="CPU",state="total"'),
            "percentunit",
            "Of the logical CPUs, which tasks and actors ask for.",
        ),
        number(
            "Object store in use",
            _share("manta_object_store_bytes", 'state="used"', 'state="capacity"'),
            "percentunit",
        ),
        number("Tasks running", f'sum(manta_tasks{{{PODS},state="RUNNING"}})'),
        number("Actors alive", f'sum(manta_actors{{{ALL},state="ALIVE"}})'),
        number("Jobs running", f'sum(manta_jobs{{{ALL},state="RUNNING"}})'),
    ),
)

CPU_AND_MEMORY = Row(
    "CPU and memory",
    (
        lines(
            "CPUs in use, by node",
            _rate("manta_process_cpu_seconds_total", "pod"),
            "{{pod}}",
            about="As the kernel counts: workers, and our own processes.",
            stacked=True,
        ),
        lines(
            "CPUs taken, by node",
            _sum("manta_resources", "pod", 'resource="CPU",state="used"'),
            "{{pod}}",
            about="Logical ones: what tasks and actors asked for.",
            stacked=True,
        ),
        lines(
            "Memory in use, by node",
            _sum("manta_process_resident_bytes", "pod"),
            "{{pod}}",
            "bytes",
            "Of processes; pages that several share are counted in each.",
            stacked=True,
        ),
        lines(
            "CPUs in use, by component",
            _rate("manta_process_cpu_seconds_total", "component"),
            "{{component}}",
            stacked=True,
        ),
        lines(
            "Other resources taken",
            _sum("manta_resources", "resource", OTHERS),
            "{{resource}}",
            about="GPUs, and resources of your own.",
        ),
        lines(
            "Memory in use, by component",
            _sum("manta_process_resident_bytes", "component"),
            "{{component}}",
            "bytes",
            stacked=True,
        ),
        lines(
            "Processes ended for want of memory, by node",
            _rate("manta_memory_kills_total", "pod"),
            "{{pod}}",
            "ops",
            "By the raylet, or by the kernel.",
            stacked=True,
        ),
    ),
)

OBJECT_STORE = Row(
    "Object store",
    (
        lines(
            "In use, by node",
            _sum("manta_object_store_bytes", "pod", 'state="used"'),
            "{{pod}}",
            "bytes",
            stacked=True,
        ),
        lines(
            "By state",
            _sum("manta_object_store_bytes", "state", STATES),
            "{{state}}",
            "bytes",
            "Pinned: somebody refers to it. Evictable: copies that go when room is needed.",
        ),
        lines(
            "Who waits",
            _sum("manta_object_store_waiting", "for"),
            "for {{for}}",
            about="For room to create, or for objects to get.",
        ),
        lines("Objects, by node", _sum("manta_object_store_objects", "pod"), "{{pod}}", stacked=True),
        lines("What happened to objects", _rate("manta_object_store_events_total", "event"), "{{event}}", "ops"),
        lines(
            "Bytes from other nodes, by node",
            _rate("manta_transfer_bytes_total", "pod", f'{PODS},direction="in"'),
            "{{pod}}",
            "Bps",
            "Of objects that are fetched, as they come.",
            stacked=True,
        ),
        lines(
            "Bytes to other nodes, by node",
            _rate("manta_transfer_bytes_total", "pod", f'{PODS},direction="out"'),
            "{{pod}}",
            "Bps",
            "A node that sends far more than others has what they all read.",
            stacked=True,
        ),
        _quantiles("How long objects of other nodes take to come", "manta_transfer_seconds"),
    ),
)

TASKS = Row(
    "Tasks",
    (
        lines("Tasks running, by node", _sum("manta_tasks", "pod", 'state="RUNNING"'), "{{pod}}", stacked=True),
        lines(
            "Tasks and actors that wait",
            _sum("manta_scheduler_queue", "kind"),
            "{{kind}}",
            about="Infeasible: they ask for more than any node has.",
            stacked=True,
        ),
        lines(
            "Tasks that ended",
            _rate("manta_tasks_ended_total", "state"),
            "{{state}}",
            "ops",
            "Calls of actors too.",
        ),
        _quantiles("How long tasks run", "manta_task_execution_seconds"),
        _quantiles("From a wish for a worker to the worker", "manta_scheduling_seconds"),
        _quantiles("Start of a worker", "manta_worker_start_seconds"),
        lines("Workers by state", _sum("manta_workers", "state"), "{{state}}", stacked=True),
        lines("What the schedulers did", _rate("manta_scheduler_events_total", "event"), "{{event}}", "ops"),
        lines("Workers lent out, by node", _sum("manta_leases", "pod"), "{{pod}}", stacked=True),
    ),
)

ACTORS = Row(
    "Actors, jobs and nodes",
    (
        lines("Actors by state", f'sum by (state) (manta_actors{{{ALL},state!="DEAD"}})', "{{state}}", stacked=True),
        lines(
            "Actors and leases, by node",
            _sum("manta_workers", "pod", 'state="busy"'),
            "{{pod}}",
            about="Workers that are an actor, or lent out for tasks.",
            stacked=True,
        ),
        lines(
            "Actors started, by node",
            f'sum by (pod) (rate(manta_scheduler_events_total{{{PODS},event="actor_started"}}[$__rate_interval]))',
            "{{pod}}",
            "ops",
        ),
        lines("Nodes by state", f"sum by (state) (manta_nodes{{{ALL}}})", "{{state}}"),
        lines("Jobs by state", f"sum by (state) (manta_jobs{{{ALL}}})", "{{state}}"),
    ),
)

HEAD = Row(
    "Head and wires",
    (
        lines("Calls that control took", _rate("manta_grpc_calls_total", "method", ALL), "{{method}}", "ops"),
        _quantiles("From a call of control to its answer", "manta_grpc_seconds", chosen=f'{ALL},container="control"'),
        lines("What waits in control", f"sum by (for) (manta_control_queue{{{ALL}}})", "{{for}}"),
        lines(
            "Drivers outside",
            f"sum by (state) (manta_gateway_sessions{{{ALL}}})",
            "{{state}}",
            about="Their sessions at the gateway.",
        ),
        lines(
            "Bytes through the gateway", _rate("manta_gateway_bytes_total", "direction", ALL), "{{direction}}", "Bps"
        ),
        lines(
            "Requests at the dashboard", _rate("manta_dashboard_requests_total", "status", ALL), "{{status}}", "reqps"
        ),
        lines("Processes on the channel", _sum("manta_channel_connections", "role"), "{{role}}"),
        lines("Frames on the channel", _rate("manta_channel_frames_total", "type"), "{{type}}", "ops"),
    ),
)

DASHBOARD = Dashboard(
    file="cluster.json",
    uid="manta-cluster",
    title="Manta / Cluster",
    about="One MantaCluster: what its nodes have and use, what runs on them and what waits. A node is a pod.",
    variables=(
        Variable("namespace", "Namespace", 'label_values(manta_node_info{job="manta"}, namespace)'),
        Variable(
            "cluster", "Cluster", 'label_values(manta_node_info{job="manta",namespace="$namespace"}, manta_cluster)'
        ),
        Variable("pod", "Node", f"label_values(manta_node_info{{{ALL}}}, pod)"),
    ),
    rows=(NOW, CPU_AND_MEMORY, OBJECT_STORE, TASKS, ACTORS, HEAD),
)
