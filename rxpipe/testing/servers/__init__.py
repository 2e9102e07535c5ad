"""Servers to test against: real HTTP on a loopback port; one folder for each kind."""
