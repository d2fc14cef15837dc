"""What grading while sampling saves: seconds of sampling and grading an iteration, overlapped and one after the other.

    python benchmarks/overlap.py --output runs/overlap

Trains recipes/quickstart.toml through SFT (once; a finished run is reused) and collects the rollouts of iterations of
both phases with that model, in turn both ways. The rollouts and verdicts of the two ways must be the same.
"""

import argparse
import statistics
import time
from contextlib import ExitStack
from pathlib import Path

from openklear import progress
from openklear.data.store import prepared, read_problems
from openklear.models.loading import load_model
from openklear.models.numerics import set_up
from openklear.recipe.load import load_recipe
from openklear.rollout.collect import Collector, Sampling
from openklear.rollout.encoding import encode_problems
from openklear.rollout.open import open_sampler
from openklear.rollout.protocol import Sampler, Supports
from openklear.run.pipeline import run_pipeline
from openklear.run.plan import select, stages
from openklear.training.schedule import Place, problem_batch
from openklear.training.validation import for_domains
from openklear.verifiers.judge import Judge, Limits

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.toml"


class AllAtTheEnd:
    """A sampler that tells of its completions when the last one has ended: nothing is left to overlap with."""

    version = 0

    def __init__(self, engine: Sampler) -> None:
        self.engine = engine

    @property
    def supports(self) -> Supports:
        return self.engine.supports

    def publish(self, model, version: int) -> None:
        self.engine.publish(model, version)

    def close(self) -> None:
        self.engine.close()

    def sample(self, requests, on_progress=None, on_completion=None, until=None):
        completions = self.engine.sample(requests, on_progress)
        for index, completion in enumerate(completions):
            on_completion(index, completion)
        return completions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("runs/overlap"))
    parser.add_argument("--iterations", type=int, default=9)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    recipe = load_recipe(RECIPE)
    run_pipeline(recipe, arguments.output, stage_list=select(stages(recipe), "sft"))
    set_up(recipe.threads)
    progress.quiet(True)
    loaded = load_model(arguments.output / "sft" / "model")
    every = read_problems(prepared(arguments.output / "prepare").problems)
    engine = open_sampler(recipe.engine, loaded)
    print("| phase | rollouts an iteration | overlapped, s | one after the other, s | saved, s |\n|" + "---|" * 5)
    assert recipe.rl is not None
    for phase in recipe.rl.phase:
        problems, _ = encode_problems(loaded, for_domains(every, phase.domains), phase.max_prompt_tokens)
        sampling = Sampling(phase.group_size, phase.temperature, 1.0, phase.max_completion_tokens)
        seconds: dict[str, list[float]] = {"overlapped": [], "after": []}
        place = Place()
        with ExitStack() as stack:
            for number in range(arguments.iterations + 1):
                chosen, place = problem_batch(
                    len(problems), phase.problems_per_iteration, recipe.seed, "overlap", place
                )
                found = {}
                for way in ("overlapped", "after") if number % 2 else ("after", "overlapped"):
                    # A judge of its own each time, started before the clock: nobody profits from the other's verdicts.
                    judge = stack.enter_context(Judge(Limits(workers=arguments.workers)))
                    judge.isolation()
                    sampler: Sampler = engine if way == "overlapped" else AllAtTheEnd(engine)
                    collector = Collector(loaded, sampler, judge, recipe.seed)
                    start = time.perf_counter()
                    groups = collector.collect(
                        [problems[i] for i in chosen], sampling, phase.reward, purpose="overlap", iteration=number
                    )
                    if number:  # the first warms the caches up
                        seconds[way].append(time.perf_counter() - start)
                    found[way] = [(r.text, r.verdict.outcome, r.verdict.reason) for g in groups for r in g.rollouts]
                    judge.close()
                assert found["overlapped"] == found["after"], "overlap changed a result"
        medians = {way: statistics.median(times) for way, times in seconds.items()}
        saved = medians["after"] - medians["overlapped"]
        rollouts = phase.problems_per_iteration * phase.group_size
        print(f"| {phase.name} | {rollouts} | {medians['overlapped']:.2f} | {medians['after']:.2f} | {saved:.2f} |")


if __name__ == "__main__":
    main()
