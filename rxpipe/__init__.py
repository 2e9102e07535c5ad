"""Reactive image-generation pipelines."""
