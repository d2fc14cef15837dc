import pytest
from tests.attacks.arena import Arena
from tests.attacks.corpus import SECRET

from openklear.errors import VerifierError
from openklear.verifiers.pool import WorkerLost
from openklear.verifiers.walls import Boxes


@pytest.fixture(scope="module")
def arena(request, tmp_path_factory):
    """A judge at the level of isolation that the test names; whatever it leaves is a failure of the last test."""
    try:
        Boxes("rlimits", 2**28, request.param).start().close()
    except (WorkerLost, OSError, VerifierError) as error:
        pytest.skip(f"this host does not give {request.param}: {error}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", None)
        patch.setenv(SECRET, "must not be seen")
        made = Arena(request.param, tmp_path_factory.mktemp("attacks"))
        yield made
        made.close()
        assert made.complaints == []
