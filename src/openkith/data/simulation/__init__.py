"""Degraded test sets out of any trial list: noise, a second talker after, across or over the one who is tested.

One file for each test utterance and scenario, and a trial list for each scenario, as Lin et al., "Neural Scoring"
(arXiv 2410.16428) evaluate. The modules::

    mixing      two signals into one, for each scenario: arrays in, arrays out
    planning    who is mixed with whom, and how: drawn from the seed and the file's name alone
    making      one file: what was planned, read, mixed and written
    folder      the folder of a run: its journal, its tables and lists
    running     all files, with as many processes as there are cores, and after a kill from where it stopped
"""

from openkith.data.simulation.mixing import Mixture
from openkith.data.simulation.planning import SCENARIOS, SimulationOptions
from openkith.data.simulation.running import SimulationSummary, simulate

__all__ = ["SCENARIOS", "Mixture", "SimulationOptions", "SimulationSummary", "simulate"]
