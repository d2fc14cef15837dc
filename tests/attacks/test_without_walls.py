import pytest
from tests.attacks import crowds, walls


@pytest.mark.parametrize("arena", ["rlimits"], indirect=True)
@pytest.mark.parametrize("attack", [a for a in (*walls.ATTACKS, *crowds.ATTACKS) if a.plain], ids=str)
def test_what_needs_no_walls_holds_without_them(arena, attack):
    arena.run(attack)
    found, arena.complaints[:] = list(arena.complaints), []
    assert found == []
