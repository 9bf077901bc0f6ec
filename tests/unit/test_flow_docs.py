"""Each Python example in docs/flows.md is shipped code, or can be imported."""

import ast
import re
import textwrap

import pytest
from prefect import Flow, Task

from server.settings import ROOT

BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/flows.md").read_text(), re.DOTALL)
SHIPPED = [path.read_text() for path in sorted((ROOT / "flows").rglob("*.py"))]


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.splitlines()[0].strip())
def test_an_example_is_shipped_or_can_be_imported(block: str) -> None:
    if any(block in text for text in SHIPPED):
        return
    # An example may break rules of a linter, but every name that it uses has to exist.
    defined = {"__name__": "flows.example"}
    exec(compile(ast.parse(textwrap.dedent(block)), "docs/flows.md", "exec"), defined)  # noqa: S102
    assert any(isinstance(each, Flow | Task) or callable(each) for each in defined.values())


def test_examples_are_found() -> None:
    assert len(BLOCKS) == 4
