"""The brain viewer as AppTest sees it: the plan that a page sends it, and what it tells the page."""

from __future__ import annotations

import json
from typing import Any

from streamlit.testing.v1 import AppTest


def plan_of(at: AppTest) -> dict[str, Any]:
    """Return what the brain viewer is to draw."""
    (component,) = at.get("bidi_component")
    plan: dict[str, Any] = json.loads(component.proto.json)
    return plan


def tell(at: AppTest, **told: Any) -> None:
    """Have the browser tell the server, as the component's `setStateValue` does."""
    (component,) = at.get("bidi_component")
    states = at._tree.get_widget_states()
    widget = states.widgets.add()
    widget.id, widget.json_value = component.proto.id, json.dumps(told)
    at._run(states)
    assert not at.exception, [error.message for error in at.exception]
