"""Files that pages show: the icon is a file of our own because Streamlit would fetch a named one from the internet."""

from pathlib import Path

ICON = Path(__file__).parent / "icon.png"
