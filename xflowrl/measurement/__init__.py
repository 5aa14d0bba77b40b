"""What graphs cost: price lists, operators timed alone, and whole models executed for real."""

from xflowrl.measurement.analytic import roofline
from xflowrl.measurement.compare import RUNTIMES, RealMeasurement
from xflowrl.measurement.cost_model import CostModel
from xflowrl.measurement.device import cpu_name, device_lock
from xflowrl.measurement.estimated import estimated
from xflowrl.measurement.op_database import default_path

__all__ = [
    "RUNTIMES",
    "CostModel",
    "RealMeasurement",
    "cpu_name",
    "default_path",
    "device_lock",
    "estimated",
    "roofline",
]
