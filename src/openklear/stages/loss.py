"""The stages `loss-MODEL-NAME` of a study: the loss of a model on the responses of held-out demonstrations.

It reads the rows that a stage `prepare` of their own left and encodes them as `sft` does, cut at sft.max_tokens. Leaves
losses.jsonl ({id, loss, tokens}: -log pi in nats per token, the mean over the response's tokens, in fp32 or better) and
dropped.jsonl (rows that the template or the model cannot take, with their reason). Rows are taken one at a time, so
that a loss does not depend on its neighbours: after a kill the next attempt goes on with the first row that has none.
"""

from __future__ import annotations

import math

import torch
from transformers import PreTrainedModel

from openklear import progress
from openklear.data.store import prepared, stored_demonstrations
from openklear.durable.files import append_jsonl, read_whole_jsonl, write_jsonl_atomic
from openklear.errors import DataError, NonFinite, RowRefused
from openklear.models.chat import EncodedDemonstration
from openklear.models.loading import LoadedModel, load_model
from openklear.models.logprobs import sequence_logprobs
from openklear.rollout.wording import PLAIN, wordings
from openklear.run.context import StageContext
from openklear.training.demonstrations import Loss, encode_row, within
from openklear.training.sizes import stage_dtype

LOSSES, DROPPED = "losses.jsonl", "dropped.jsonl"

Rows = list[tuple[str, EncodedDemonstration]]
"""(id, ids and mask) of each, in the order of the prepared rows."""


def run(context: StageContext) -> None:
    """Leave the loss of context.inputs["model"] on the demonstrations of context.inputs["prepare"].

    DataError where none of them can be encoded, NonFinite where the model gives a response no finite loss.
    """
    loaded = load_model(context.inputs["model"] / "model", dtype=stage_dtype(context.recipe, context.directory))
    rows, dropped = _encoded(context, loaded)
    write_jsonl_atomic(context.directory / DROPPED, dropped)
    if dropped:
        told = f"{len(dropped)} of {len(rows) + len(dropped)} rows have no loss"
        progress.say(f"{context.name}: {told}; the first: {dropped[0]['reason']} ({dropped[0]['where']})")
    if not rows:
        raise DataError(f"{context.name}: no held-out row can be encoded; raise the measure's max_tokens, or fix them")
    path = context.directory / LOSSES
    done = read_whole_jsonl(path)
    write_jsonl_atomic(path, done)  # without a line that a loss of power left half written
    with progress.task(context.name, len(rows), "rows", done=len(done)) as advance:
        for name, row in rows[len(done) :]:
            loss, tokens = response_loss(loaded.model, row), int(row.loss_mask.sum())
            if not math.isfinite(loss):
                raise NonFinite(f"{context.name}: the loss of {name} is {loss}; train with a smaller learning_rate")
            append_jsonl(path, {"id": name, "loss": loss, "tokens": tokens})
            advance()


def response_loss(model: PreTrainedModel, row: EncodedDemonstration) -> float:
    """The mean of -log pi over the masked tokens of a row (T,), in nats: what SFT's loss is of that row alone."""
    ids = torch.as_tensor(row.ids, dtype=torch.int64, device=model.device)[None]  # (1, T)
    mask = torch.as_tensor(row.loss_mask, device=model.device)[None]
    with torch.no_grad():
        logprobs, _ = sequence_logprobs(model, ids, mask, entropy=False)
    return -float(logprobs.double().sum()) / int(row.loss_mask.sum())


def _encoded(context: StageContext, loaded: LoadedModel) -> tuple[Rows, list[Loss]]:
    """The rows as SFT would train them, and those that it could not."""
    settings, words = context.recipe.sft, wordings(context.recipe)
    assert settings is not None, "the study gives the stage a recipe with [sft], which says how long rows may be"
    rows: Rows = []
    dropped: list[Loss] = []
    for demo in stored_demonstrations(prepared(context.inputs["prepare"]).demonstrations):
        try:
            whole = encode_row(loaded, demo, words.get(demo.problem.source, PLAIN))
            rows.append((demo.problem.id, within(whole, settings, loaded.longest)))
        except RowRefused as error:
            dropped.append({"where": demo.where, "reason": str(error)})
    return rows, dropped
