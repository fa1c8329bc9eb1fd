"""Streamlit parts that pages share: pickers, forms, run controls, downloads, the brain; nothing here computes."""
