"""Lets the tests of each backend import what all of them share, `stages`."""
