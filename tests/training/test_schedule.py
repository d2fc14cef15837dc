"""Orders of rows: every row once, the same again for the same seed, another for another."""

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from openklear.training.schedule import mixed_batch, permutation, problem_batch, token_batches

LENGTHS = st.lists(st.integers(1, 50), min_size=1, max_size=60)


@given(LENGTHS, st.integers(1, 200), st.integers(0, 5))
def test_an_epoch_takes_every_row_once_within_the_budget(lengths, budget, epoch):
    batches = token_batches(lengths, budget, seed=3, epoch=epoch)
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or sum(lengths[i] for i in batch) <= budget
    for first, second in itertools.pairwise(batches):
        assert sum(lengths[i] for i in first) + lengths[second[0]] > budget  # no step is closed early


def test_orders_depend_on_seed_purpose_and_epoch():
    reference = permutation(100, 0, "sft", 0)
    assert reference == permutation(100, 0, "sft", 0)
    for other in (permutation(100, 1, "sft", 0), permutation(100, 0, "rl-math", 0), permutation(100, 0, "sft", 1)):
        assert other != reference
        assert sorted(other) == list(range(100))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_an_rl_epoch_has_no_problem_twice(size, batch, seed):
    if batch > size:
        return
    per_epoch = size // batch
    epochs = [[problem_batch(size, batch, seed, "rl", e * per_epoch + i) for i in range(per_epoch)] for e in range(2)]
    for epoch in epochs:
        taken = [i for b in epoch for i in b]
        assert len(set(taken)) == len(taken) == per_epoch * batch


DOMAINS = st.lists(st.sampled_from(["math", "code", "logic"]), min_size=12, max_size=60)


@given(DOMAINS, st.integers(1, 3), st.integers(1, 2), st.integers(0, 9))
def test_a_mix_draws_each_domain_in_fixed_numbers_and_by_epochs_of_its_own(domains, some, others, seed):
    counts = {"math": some, "code": others}
    have = Counter(domains)
    if have["math"] < some or have["code"] < others:
        return
    iterations = have["math"] // some
    batches = [mixed_batch(domains, counts, seed, "rl", iteration) for iteration in range(iterations)]
    for batch in batches:
        assert Counter(domains[i] for i in batch) == counts
        assert len(set(batch)) == len(batch)
    taken = [i for i in itertools.chain.from_iterable(batches) if domains[i] == "math"]
    assert len(set(taken)) == len(taken) == iterations * some  # an epoch of mathematics holds no problem twice
    without = [one if one == "math" else "logic" for one in domains]  # no other domain decides which are drawn
    for iteration, batch in enumerate(batches):
        alone = mixed_batch(without, {"math": some}, seed, "rl", iteration)
        assert sorted(alone) == sorted(i for i in batch if domains[i] == "math")


def test_the_order_of_a_mix_is_drawn_so_that_mini_batches_are_mixed():
    domains = ["code"] * 40 + ["math"] * 40
    orders = [[domains[i] for i in mixed_batch(domains, {"code": 4, "math": 4}, 0, "rl", n)] for n in range(10)]
    assert len({tuple(order) for order in orders}) > 5
    assert any(order[:4] != ["code"] * 4 for order in orders)


def test_left_over_problems_differ_between_epochs():
    seen = {i for iteration in range(20) for i in problem_batch(10, 9, 0, "rl", iteration)}
    assert seen == set(range(10))
