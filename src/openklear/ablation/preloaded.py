"""Imported once by the server from which the processes of a study are forked: each then has torch in no time.

Nothing is computed here. Threads of a parent do not live on in a fork, so none may be started before.
"""

# ruff: noqa: E402
from openklear.progress import hush_imports

hush_imports()

import openklear.ablation.worker
import openklear.stages.base
import openklear.stages.evaluate
import openklear.stages.loss
import openklear.stages.prepare
import openklear.stages.rl
import openklear.stages.sft  # noqa: F401
