"""One flow or deployment is wrong, and the others run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.faults.claims import works
from tests.faults.test_files import MISTAKE, up
from tests.stack import complete

if TYPE_CHECKING:
    from tests.faults.conftest import Measured
    from tests.faults.ground import Ground

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
DEPLOYMENT = """
  - name: added
    entrypoint: flows/added.py:added
    work_pool:
      name: default
      job_variables: {env: {OF_ITS_OWN: "1"}}
"""
FLOW = "import os\nfrom prefect import flow\n{line}\n\n@flow\ndef {name}() -> None:\n    pass\n"


@pytest.mark.parametrize(
    ("line", "name"),
    [("import no_such_module", "added"), ("", "another")],
    ids=["does not import", "is not there"],
)
@pytest.mark.fault(
    "a flow does not import, or is not in its file",
    promises=[7],
    bound="`up` names it and exits with 2; all other deployments run",
)
def test_a_wrong_flow_keeps_nobody_else_down(
    expendable: Ground, measured: Measured, line: str, name: str
) -> None:
    expendable.stack.down()
    add(expendable, FLOW.format(line=line, name=name))
    code, said = up(expendable, measured)
    assert code == MISTAKE, said
    assert "added" in said, said
    works(expendable)


@pytest.mark.fault(
    "a flow reads a variable of its deployment's own when it is imported",
    promises=[7],
    bound="`up` exits with 0; its run is Completed",
)
def test_a_flow_is_imported_with_its_deployments_own_variables(
    expendable: Ground, measured: Measured
) -> None:
    expendable.stack.down()
    add(expendable, FLOW.format(line="assert os.environ['OF_ITS_OWN'] == '1'", name="added"))
    code, said = up(expendable, measured)
    assert code == 0, said
    with expendable.stack.client() as client:
        complete(client, "added/added")


def add(ground: Ground, flow: str) -> None:
    """Declare one more deployment, of this flow."""
    ground.stack.edit("prefect.yaml", lambda text: text.rstrip() + "\n" + DEPLOYMENT)
    (ground.stack.root / "flows/added.py").write_text(flow)
