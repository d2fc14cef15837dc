"""Orders of rows: every row once, the same again for the same seed, another for another."""

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from openklear.training.schedule import (
    Place,
    batches_ahead,
    mixed_batch,
    permutation,
    problem_batch,
    rows_hash,
    token_batches,
)

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


def iterations(size, batch, seed, count):
    """The problems of so many iterations in a row."""
    place, found = Place(), []
    for _ in range(count):
        chosen, place = problem_batch(size, batch, seed, "rl", place)
        found.append(chosen)
    return found


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_an_rl_epoch_has_no_problem_twice(size, batch, seed):
    if batch > size:
        return
    per_epoch = size // batch
    found = iterations(size, batch, seed, 2 * per_epoch)
    for epoch in (found[:per_epoch], found[per_epoch:]):
        taken = [i for b in epoch for i in b]
        assert len(set(taken)) == len(taken) == per_epoch * batch


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_an_iteration_is_a_slice_of_its_epochs_order(size, batch, seed):
    """The form that counts iterations: epoch and position of iteration i by division."""
    if batch > size:
        return
    for number, chosen in enumerate(iterations(size, batch, seed, 7)):
        epoch, position = divmod(number, size // batch)
        assert chosen == permutation(size, seed, "rl", epoch)[position * batch : (position + 1) * batch]


DOMAINS = st.lists(st.sampled_from(["math", "code", "logic"]), min_size=12, max_size=60)


def mixed(domains, counts, seed, count):
    """The problems of so many mixed iterations in a row."""
    places, found = {}, []
    for number in range(count):
        chosen, places = mixed_batch(domains, counts, seed, "rl", number, places)
        found.append(chosen)
    return found


@given(DOMAINS, st.integers(1, 3), st.integers(1, 2), st.integers(0, 9))
def test_a_mix_draws_each_domain_in_fixed_numbers_and_by_epochs_of_its_own(domains, some, others, seed):
    counts = {"math": some, "code": others}
    have = Counter(domains)
    if have["math"] < some or have["code"] < others:
        return
    iterations = have["math"] // some
    batches = mixed(domains, counts, seed, iterations)
    for batch in batches:
        assert Counter(domains[i] for i in batch) == counts
        assert len(set(batch)) == len(batch)
    taken = [i for i in itertools.chain.from_iterable(batches) if domains[i] == "math"]
    assert len(set(taken)) == len(taken) == iterations * some  # an epoch of mathematics holds no problem twice
    without = [one if one == "math" else "logic" for one in domains]  # no other domain decides which are drawn
    for batch, alone in zip(batches, mixed(without, {"math": some}, seed, iterations), strict=True):
        assert sorted(alone) == sorted(i for i in batch if domains[i] == "math")


def test_the_order_of_a_mix_is_drawn_so_that_mini_batches_are_mixed():
    domains = ["code"] * 40 + ["math"] * 40
    orders = [[domains[i] for i in batch] for batch in mixed(domains, {"code": 4, "math": 4}, 0, 10)]
    assert len({tuple(order) for order in orders}) > 5
    assert any(order[:4] != ["code"] * 4 for order in orders)


def test_left_over_problems_differ_between_epochs():
    seen = set(itertools.chain.from_iterable(iterations(10, 9, 0, 20)))
    assert seen == set(range(10))


@given(LENGTHS, st.integers(1, 200), st.integers(1, 200), st.integers(1, 3), st.data())
def test_with_another_batch_size_the_rows_to_come_are_those_not_seen(lengths, old, new, epochs, data):
    """Steps of one size to some place, then of another: every row of every epoch exactly once, in its order."""
    first = list(batches_ahead(lengths, old, 3, epochs))
    done = data.draw(st.integers(0, len(first)))
    place = Place()
    for batch in first[:done]:
        place = place.after(len(batch), len(lengths))
    rest = list(batches_ahead(lengths, new, 3, epochs, place))
    rows = [i for b in first[:done] + rest for i in b]
    assert rows == [i for epoch in range(epochs) for i in permutation(len(lengths), 3, "sft", epoch)]
    assert list(batches_ahead(lengths, old, 3, epochs, place)) == first[done:], "a resumed run has the steps it had"
    for batch in rest:
        assert len(batch) == 1 or sum(lengths[i] for i in batch) <= new


@given(st.integers(2, 30), st.integers(1, 9), st.integers(1, 9), st.integers(0, 6))
def test_with_another_number_of_problems_an_epoch_still_has_none_twice(size, old, new, done):
    if max(old, new) > size:
        return
    place, seen = Place(), []
    for number in range(done + 10):
        chosen, after = problem_batch(size, old if number < done else new, 0, "rl", place)
        epoch = after.epoch if after.offset else after.epoch - 1
        seen.append((epoch, chosen))
        place = after
    for epoch in {epoch for epoch, _ in seen}:
        taken = [i for e, chosen in seen if e == epoch for i in chosen]
        assert len(set(taken)) == len(taken)


def test_a_hash_of_rows_tells_order_seed_and_border_apart():
    one = rows_hash(0, [b"ab", b"c"])
    assert one == rows_hash(0, iter([b"ab", b"c"]))
    assert len({one, rows_hash(1, [b"ab", b"c"]), rows_hash(0, [b"c", b"ab"]), rows_hash(0, [b"a", b"bc"])}) == 4
