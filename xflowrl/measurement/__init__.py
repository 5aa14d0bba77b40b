"""What graphs cost: price lists, operators timed alone, and whole models executed for real."""

from xflowrl.measurement.compare import RealMeasurement
from xflowrl.measurement.device import device_lock
from xflowrl.measurement.estimated import estimated
from xflowrl.measurement.hybrid import hybrid
from xflowrl.measurement.latency import latency_ms
from xflowrl.measurement.objective import Objective
from xflowrl.measurement.real import as_real, real
from xflowrl.measurement.roofline import roofline
from xflowrl.measurement.runtimes import RUNTIMES, Runtime, open_runtime

__all__ = [
    "RUNTIMES",
    "Objective",
    "RealMeasurement",
    "Runtime",
    "as_real",
    "device_lock",
    "estimated",
    "hybrid",
    "latency_ms",
    "open_runtime",
    "real",
    "roofline",
]
