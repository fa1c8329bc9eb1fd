"""Entry of the dashboard: page configuration and navigation, nothing else. Start it with ``streamlit run app.py``."""

from brainviz.ui.navigation import enter, run

run(enter())
