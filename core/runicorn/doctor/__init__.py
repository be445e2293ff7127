"""What could keep Runicorn from working here, each with advice: for `runicorn doctor`."""

from runicorn.doctor.examination import examine
from runicorn.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
