"""Shapes, data and timing for measurements."""
