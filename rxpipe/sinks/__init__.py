"""Sinks of events and pictures: image files, the log, learning records."""
