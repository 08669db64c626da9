"""The namespace of the metrics, which keeps the stacks of an account and region apart."""

import json

import pytest

from meterstone.edge.metrics import embedded

NOW = 1_700_000_000_123_456


@pytest.mark.parametrize(
    ("variable", "namespace"),
    [(None, "Meterstone"), ("Meterstone/meterstone-dev", "Meterstone/meterstone-dev")],
    ids=["of no stack", "of a stack"],
)
def test_a_line_s_metrics_are_the_stack_s_own(
    monkeypatch: pytest.MonkeyPatch, variable: str | None, namespace: str
) -> None:
    monkeypatch.delenv("POWERTOOLS_METRICS_NAMESPACE", raising=False)
    if variable is not None:
        monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", variable)
    line = embedded(NOW, {"EventsCounted": 3, "RecordsQuarantined": 0})
    assert json.loads(json.dumps(line)) == {
        "_aws": {
            "Timestamp": 1_700_000_000_123,
            "CloudWatchMetrics": [
                {
                    "Namespace": namespace,
                    "Dimensions": [["service"]],
                    "Metrics": [
                        {"Name": "EventsCounted", "Unit": "Count"},
                        {"Name": "RecordsQuarantined", "Unit": "Count"},
                    ],
                }
            ],
        },
        "EventsCounted": 3,
        "RecordsQuarantined": 0,
    }
