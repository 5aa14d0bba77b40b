"""Records of run folders as they were in schema 1."""

from __future__ import annotations

from typing import Any

# Names of runtimes that are others now.
_RUNTIMES = {
    "onnxruntime_cpu": "onnxruntime_plain",
    "onnxruntime_cpu_optimised": "onnxruntime",
}


def from_schema_1(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a record in the terms of today, changed in place.

    It had `equal` and `caught_mutant` in place of `verified.status`, and other runtimes.
    """
    for entry in content.get("results", ()):
        verified = entry["verified"]
        different = "undecided" if verified["detail"].startswith("undecided") else "different"
        verified["status"] = "equal" if verified["equal"] else different
        for real in entry["real"]:
            real["runtime"] = _RUNTIMES.get(real["runtime"], real["runtime"])
    return content
