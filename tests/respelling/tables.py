"""The two tables, filled: importing the modules of the kinds writes them."""

from tests.respelling import around, mistakes, parts, slips, spelling, worth
from tests.respelling.kinds import MUTATIONS, RESPELLINGS

__all__ = ["MUTATIONS", "RESPELLINGS", "around", "mistakes", "parts", "slips", "spelling", "worth"]
