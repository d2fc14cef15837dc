"""What a stage sets aside, the collector does not go through; all else is collected as ever."""

import gc
import weakref

from openklear.training.memory import release, settled


class Ring:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.me = self


def test_collections_pass_over_what_is_loaded():
    with settled():
        assert gc.get_freeze_count() > 10_000, "all modules"
        assert len(gc.get_objects()) < 1000
    assert gc.get_freeze_count() == 0


def test_what_was_set_aside_and_is_left_is_freed_after_the_stage():
    ring = Ring()
    left = weakref.ref(ring)
    with settled():
        del ring
        release()
        assert left() is not None
    release()
    assert left() is None


def test_what_comes_after_is_collected():
    with settled():
        left = weakref.ref(Ring())
        release()
        assert left() is None
