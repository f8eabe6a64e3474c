"""Statistics other than a batch's: running averages by every framework's convention, and those of all rows, exactly."""

from bnbench.running.average import RunningStatistics
from bnbench.running.conventions import CONVENTIONS, Convention
from bnbench.running.exact import population
from bnbench.running.identification import Identification, identify

__all__ = ["CONVENTIONS", "Convention", "Identification", "RunningStatistics", "identify", "population"]
