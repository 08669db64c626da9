"""Metrics inside a log line, for functions that answer no request: CloudWatch's embedded metric format.

CloudWatch reads the numbers out of the line, so that no call is made for them. The functions that answer requests
write theirs with Powertools, which takes longer to import.
"""

import os
from typing import Any

from meterstone.usage.instant import SECOND

_MILLISECOND = SECOND // 1000


def namespace() -> str:
    """Return the namespace of the stack's metrics. Stacks in one account and region have one each."""
    return os.environ.get("POWERTOOLS_METRICS_NAMESPACE", "Meterstone")


def embedded(now: int, numbers: dict[str, int], unit: str = "Count", /, **dimensions: str) -> dict[str, Any]:
    """Return the fields of a log line that make metrics of ``numbers``, of one unit, at the instant ``now``.

    The line's own field ``service`` is a dimension of each metric, as are the ``dimensions``.

    >>> line = embedded(1_700_000_000_000_000, {"UncountedEvents": 3}, reason="code")
    >>> line["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
    [['service', 'reason']]
    >>> line["reason"], line["UncountedEvents"]
    ('code', 3)
    """
    described = {
        "Namespace": namespace(),
        "Dimensions": [["service", *dimensions]],
        "Metrics": [{"Name": name, "Unit": unit} for name in numbers],
    }
    return {
        "_aws": {"Timestamp": now // _MILLISECOND, "CloudWatchMetrics": [described]},
        **dimensions,
        **numbers,
    }
