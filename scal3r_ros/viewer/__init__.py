"""The map in a browser, live or finished, drawn by viser."""
