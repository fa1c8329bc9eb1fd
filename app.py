"""Entry of the dashboard: page configuration and navigation, nothing else. Start it with ``streamlit run app.py``."""

from brainviz.ui.errors import errors_shown
from brainviz.ui.navigation import enter

page = enter()
with errors_shown():
    page.run()
