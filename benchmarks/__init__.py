"""Figures that anyone can repeat."""
