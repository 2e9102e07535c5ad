"""The stages, each an Rx operator on artifacts."""
