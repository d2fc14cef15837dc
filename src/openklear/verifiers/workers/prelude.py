"""Names that functions are written with and data sets take for granted: `List`, `inf`, `heappush`, `ListNode`.

LeetCode's and LiveCodeBench's own judges put them before a program. None hides a built-in (math.pow, operator.abs).
"""

from __future__ import annotations

import bisect
import builtins
import cmath
import collections
import copy
import datetime
import decimal
import fractions
import functools
import heapq
import io
import itertools
import json
import math
import operator
import random
import re
import statistics
import string
import sys
import time
import typing
from typing import Any

from . import nodes

_MODULES = (
    *(bisect, cmath, collections, copy, datetime, decimal, fractions, functools, heapq, io, itertools, json, math),
    *(operator, random, re, statistics, string, sys, time, typing),
)
_OPENED = (
    *(sys, io, json, datetime, random, statistics, re, copy, string),
    *(operator, itertools, functools, collections, heapq, bisect, math, typing),
)
"""Modules whose names may be used alone; of two with a name, the later."""


def _public(module: Any) -> list[str]:
    return getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]


MODULES: dict[str, Any] = {module.__name__: module for module in _MODULES}
NAMES: dict[str, Any] = {}
for _module in _OPENED:
    NAMES |= {name: getattr(_module, name) for name in _public(_module) if not hasattr(builtins, name)}
NAMES |= nodes.CLASSES | nodes.BUILD | nodes.COMPARE | MODULES
"""Everything that a program which is called may use without importing it."""
