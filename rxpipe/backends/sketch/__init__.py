"""The embedded backend: a drawing program, not a model."""
