"""What the dashboard of the operator shows. Each pod of it tells the same of clusters, so the largest is taken."""

from __future__ import annotations

from tools.dashboards.form import Dashboard, Row, lines, number

JOB = 'job="manta-operator"'


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{JOB}}}[$__rate_interval]))"


def _late(metric: str, by: str) -> str:
    return f"histogram_quantile(0.95, {_rate(f'{metric}_bucket', f'le, {by}')})"


def _clusters(metric: str, by: str, more: str = "") -> str:
    """A number of each cluster: what its operators say, once."""
    chosen = f"{JOB},{more}" if more else JOB
    return f"max by (namespace, manta_cluster, {by}) ({metric}{{{chosen}}})"


CONDITION, WORKERS = "manta_operator_cluster_condition", "manta_operator_cluster_workers"
READY, READY_WORKERS = 'condition="Ready"', 'state="ready"'

NOW = Row(
    "Now",
    (
        number("Clusters", f"max(manta_operator_clusters{{{JOB}}})"),
        number("Clusters ready", f"sum({_clusters(CONDITION, 'condition', READY)})"),
        number("Workers ready", f"sum({_clusters(WORKERS, 'group', READY_WORKERS)})"),
        number("Leaders", f"sum(manta_operator_leader{{{JOB}}})", about="One, but for a moment."),
        number("Clusters tied to", f"sum(manta_operator_control_links{{{JOB}}})"),
        number("Objects that are due", f"sum(manta_operator_queue_length{{{JOB}}})"),
    ),
)

CLUSTERS = Row(
    "Clusters",
    (
        lines("Clusters by condition", f"sum by (condition) ({_clusters(CONDITION, 'condition')})", "{{condition}}"),
        lines("Workers by state", f"sum by (state) ({_clusters(WORKERS, 'group, state')})", "{{state}}"),
        lines(
            "Restarts of heads' containers",
            f"max by (namespace, manta_cluster) (manta_operator_cluster_head_restarts{{{JOB}}})",
            "{{namespace}}/{{manta_cluster}}",
        ),
        lines(
            "How long pods take, by stage (p95)",
            _late("manta_operator_pod_seconds", "stage"),
            "{{stage}}",
            "s",
            "From the creation until scheduled, from there until running, and until ready.",
        ),
        lines("Events", _rate("manta_operator_events_total", "reason"), "{{reason}}", "ops"),
        lines(
            "Writes that failed",
            _rate("manta_operator_action_failures_total", "kind, reason"),
            "{{kind}} {{reason}}",
            "ops",
        ),
    ),
)

RECONCILING = Row(
    "Reconciling",
    (
        lines(
            "Looks at objects, by how they ended",
            _rate("manta_operator_reconciles_total", "controller, result"),
            "{{controller}} {{result}}",
            "ops",
        ),
        lines(
            "How long a look takes (p95)",
            _late("manta_operator_reconcile_seconds", "controller"),
            "{{controller}}",
            "s",
        ),
        lines(
            "How long objects are due until a look (p95)",
            _late("manta_operator_queue_seconds", "controller"),
            "{{controller}}",
            "s",
        ),
        lines(
            "Objects that are due",
            f"sum by (controller) (manta_operator_queue_length{{{JOB}}})",
            "{{controller}}",
        ),
        lines("Who leads", f"sum by (pod) (manta_operator_leader{{{JOB}}})", "{{pod}}", stacked=True),
        lines(
            "Objects in memory",
            f"max by (resource) (manta_operator_cached_objects{{{JOB}}})",
            "{{resource}}",
        ),
    ),
)

API_SERVER = Row(
    "The API server",
    (
        lines(
            "Requests",
            _rate("manta_operator_api_calls_total", "verb, resource"),
            "{{verb}} {{resource}}",
            "reqps",
            stacked=True,
        ),
        lines("Requests, by answer", _rate("manta_operator_api_calls_total", "code"), "{{code}}", "reqps"),
        lines("How long it takes to answer (p95)", _late("manta_operator_api_call_seconds", "verb"), "{{verb}}", "s"),
        lines(
            "Lists, watches and failures of either, since the start",
            f"sum by (resource, what) (manta_operator_reads{{{JOB}}})",
            "{{resource}} {{what}}",
        ),
        lines(
            "For how long it cannot be read",
            f"max by (resource) (manta_operator_unread_seconds{{{JOB}}})",
            "{{resource}}",
            "s",
        ),
    ),
)

DASHBOARD = Dashboard(
    file="operator.json",
    uid="manta-operator",
    title="Manta / Operator",
    about="The operator: the clusters it looks after, how soon it does so, and what it asks of the API server.",
    variables=(),
    rows=(NOW, CLUSTERS, RECONCILING, API_SERVER),
)
